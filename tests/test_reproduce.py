"""What experiments/README.md shows is what its result files hold, and every experiment can be run again."""

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from experiments.reproduce import EXPERIMENTS, README, quoted, renewed
from experiments.tables import markdown
from tests.conftest import CONF


def test_the_readme_shows_the_results_that_were_kept() -> None:
    text = README.read_text(encoding="utf-8")
    assert renewed(text) == text
    assert set(re.findall(r"<!-- results: (\w+) -->", text)) == set(EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes(name: str) -> None:
    overrides = [argument for argument in EXPERIMENTS[name].arguments if argument != "-m" and "range(" not in argument]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides, return_hydra_config=True)
    swept = config.hydra.sweeper.params or {}
    assert swept or any("range(" in argument for argument in EXPERIMENTS[name].arguments)


def test_a_table_has_what_was_swept_and_its_metrics(tmp_path: Path) -> None:
    file = tmp_path / "summary.csv"
    file.write_text(
        "job,attack,split.members,auc,auc_low,auc_high,asr,asr_low,asr_high,accuracy_calibrated,accuracy_calibrated_low,"
        "accuracy_calibrated_high,tpr_at_1pct_fpr,queries_per_sample\n"
        "0,stat,64,0.9,0.8,0.95,0.8,0.7,0.85,0.75,0.7,0.8,,4\n"
        "1,stat,128,0.8,0.7,0.9,0.7,0.65,0.8,0.7,0.6,0.75,,4\n"
    )
    assert markdown(file).splitlines() == [
        "| split.members | AUC | ASR | accuracy, calibrated | queries |",
        "|---|---|---|---|---|",
        "| 64 | 0.900 [0.800, 0.950] | 0.800 [0.700, 0.850] | 0.750 [0.700, 0.800] | 4 |",
        "| 128 | 0.800 [0.700, 0.900] | 0.700 [0.650, 0.800] | 0.700 [0.600, 0.750] | 4 |",
    ]


def test_commands_can_be_pasted() -> None:
    assert quoted("attack.t_sec=range(10,101,10)") == '"attack.t_sec=range(10,101,10)"'
    assert quoted("experiment=attacks") == "experiment=attacks"
