"""What the pages show is what the result files hold; every experiment can be run again, at the paper's scale too."""

import json
import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from experiments import drawings, kept, reproduce
from experiments.reproduce import EXPERIMENTS, FIGURES, PAGES, PROVENANCE, quoted, renewed
from experiments.tables import BOUNDS, attacks, markdown, scorers
from secmi_exp.evaluation.roc import Roc
from tests.support.commands import CONF, SmokeRun

PRESETS = [name for name, experiment in EXPERIMENTS.items() if experiment.arguments[0].startswith("experiment=")]
ONE_SIZE = {"prompts", "faces", "mnist", "dp_audit", "many_run_audit"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_the_pages_show_the_results_that_were_kept(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert renewed(text) == text
    assert "<!-- results: " in text


def test_every_experiment_has_results_a_table_and_its_figures() -> None:
    text = PAGES[0].read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- results: (\w+) -->", text)) == set(EXPERIMENTS)
    assert set(json.loads(PROVENANCE.read_text(encoding="utf-8"))) == set(EXPERIMENTS)
    for name, experiment in EXPERIMENTS.items():
        for ending in experiment.figures:
            assert (FIGURES / f"{name}{ending}.png").is_file()
            assert f"(figures/{name}{ending}.png)" in text


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [*overrides], return_hydra_config=True)


@pytest.mark.parametrize("scale", ["laptop", pytest.param("paper", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_sweeps_from_and_to_what_exists_at_either_scale(name: str, scale: str) -> None:
    preset = EXPERIMENTS[name].arguments[0]
    config = composed(preset, f"scale={scale}")
    if name not in ONE_SIZE:
        assert config.dataset.name == {"laptop": "digits", "paper": "cifar10"}[scale]
        assert config.target.name == {"laptop": "ddpm_small", "paper": "ddpm"}[scale]
    ends = []
    for setting, values in (config.hydra.sweeper.params or {}).items():
        (swept,) = OverridesParser.create().parse_overrides([f"{setting}={values}"])
        first, *_, last = swept.sweep_string_iterator()
        ends.append([f"{setting}={value}" for value in (first, last)])
    for overrides in zip(*ends, strict=True):
        composed(preset, f"scale={scale}", *overrides)


def test_a_kept_run_gives_its_roc_and_its_table_again(
    smoke: SmokeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "RESULTS", tmp_path)
    kept.keep_run(smoke.finished.folder, "smoke")
    told = json.loads((smoke.finished.folder / "results.json").read_text(encoding="utf-8"))
    scored = drawings.scorers("smoke")
    for scorer, found in (("nn", told), ("stat", told["others"]["stat"])):
        assert Roc.from_scores(scored[scorer].scores, scored[scorer].is_member).auc == pytest.approx(
            found["metrics"]["auc"]
        )
    assert scorers(kept.read_run("smoke")).splitlines()[2].startswith("| SecMI_stat | ")
    for draw in reproduce.RUN.values():
        draw("smoke", tmp_path / "figure.png")
        (tmp_path / "figure.png").unlink()


def test_no_attack_refutes_the_epsilon_that_was_spent() -> None:
    (private,) = (row for row in kept.read_rows(kept.table("dp_sgd")) if row["epsilon_spent"])
    assert 0 <= float(private["epsilon_refuted"]) < float(private["epsilon_spent"])


@pytest.mark.parametrize("name", ["undefended_audit", "dp_audit"])
def test_abstention_raises_the_bound_of_a_recorded_target_and_no_bound_exceeds_what_was_spent(name: str) -> None:
    rows = kept.read_rows(kept.table(name))
    assert any(float(row["epsilon_abstaining"]) > float(row["epsilon_one_run"]) for row in rows)
    assert all(float(row[bound]) < float(row["epsilon_spent"] or "inf") for row in rows for bound in BOUNDS)


def test_a_table_has_what_was_swept_and_its_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "RESULTS", tmp_path)
    (tmp_path / "sweep.csv").write_text(
        "job,attack,split.members,auc,auc_low,auc_high,asr,asr_low,asr_high,accuracy_calibrated,accuracy_calibrated_low,"
        "accuracy_calibrated_high,tpr_at_1pct_fpr,denoising_loss,denoising_loss_low,denoising_loss_high,epsilon_spent,"
        "queries_per_sample\n"
        "0,stat,64,0.9,0.8,0.95,0.8,0.7,0.85,0.75,0.7,0.8,,0.1,0.05,0.15,,4\n"
        "1,stat,128,0.8,0.7,0.9,0.7,0.65,0.8,0.7,0.6,0.75,,0.2,0.15,0.25,8.0,4\n"
    )
    assert markdown("sweep").splitlines() == [
        "| split.members | AUC | ASR | accuracy, calibrated | loss on hold-outs | ε spent | queries |",
        "|---|---|---|---|---|---|---|",
        "| 64 | 0.900 [0.800, 0.950] | 0.800 [0.700, 0.850] | 0.750 [0.700, 0.800] | 0.100 [0.050, 0.150] | ∞ | 4 |",
        "| 128 | 0.800 [0.700, 0.900] | 0.700 [0.650, 0.800] | 0.700 [0.600, 0.750] | 0.200 [0.150, 0.250] | 8 | 4 |",
    ]


def test_attacks_of_several_contests_say_which() -> None:
    row = {"contest": "lfw", "attack": "nn", "queries_per_sample": "4", "seconds": "1.26", "p_holm": "", "auc": "0.5"}
    title, _, only = attacks([row]).splitlines()
    assert title.startswith("| contest | attack | AUC |")
    assert only == "| lfw | nn | 0.500 | not resolved | not resolved | not resolved | 4 | 1.3 | best |"


def test_commands_can_be_pasted() -> None:
    assert quoted("attack.t_sec=range(10,101,10)") == '"attack.t_sec=range(10,101,10)"'
    assert quoted("experiment=attacks") == "experiment=attacks"
