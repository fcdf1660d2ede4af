"""The command line: quick help, and every mistake told in one sentence with a non-zero exit."""

import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from secmi_exp.errors import UserError
from tests.support.commands import REPOSITORY, SMOKE, Command, Refused, training
from tests.support.runs import run_here


@pytest.fixture(scope="module")
def torch_s() -> float:
    """Seconds of a process that imports torch and does nothing."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.monotonic() - started


@pytest.mark.parametrize("arguments", [["--help"], ["+attack=nn", "--cfg", "job"]], ids=["help", "cfg"])
def test_help_and_configuration_answer_before_torch_would_be_there(
    secmi: Command, arguments: list[str], torch_s: float
) -> None:
    fastest = math.inf
    for _ in range(3):
        started = time.monotonic()
        finished = secmi(*arguments)
        fastest = min(fastest, time.monotonic() - started)
        assert finished.returncode == 0, finished.stderr
        if fastest < torch_s:
            break
    assert fastest < torch_s


def test_help_names_every_group_and_choice_and_imports_no_torch(secmi: Command) -> None:
    shown = secmi("--help", PYTHONVERBOSE="1")
    assert "import 'hydra'" in shown.stderr
    assert "import 'torch'" not in shown.stderr
    for group in (REPOSITORY / "conf").iterdir():
        if group.is_dir() and group.name != "hydra":
            assert f"{group.name}: {', '.join(sorted(file.stem for file in group.glob('*.yaml')))}" in shown.stdout


def complaint(command: Command, *arguments: str) -> str:
    finished = command(*arguments)
    assert finished.returncode != 0
    assert "Traceback" not in finished.stderr, finished.stderr
    assert finished.stdout == ""
    (sentence,) = [line for line in finished.stderr.splitlines() if line.startswith("secmi_exp: ")]
    return sentence


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["dataset=imagenet"], ["no dataset 'imagenet'", "digits"]),
        (["+attack=lira"], ["no attack 'lira'", "loss, monte_carlo_set, nn"]),
        (["+attck=nn"], ["no key 'attck'", "did you mean attack?"]),
        (["attack=nn"], ["+attack=", "loss, monte_carlo_set, nn"]),
        (["+attack=nn", "attack.tsec=5"], ["no key 'tsec' in attack", "did you mean t_sec?", "t_max"]),
        (["sead=5"], ["no key 'sead'", "did you mean seed?", "dataset"]),
        (["split.members.more=5"], ["split.members holds a value"]),
        (["+attack=stat", "attack.t_sec=[1"], ["can't be read"]),
    ],
)
def test_mistakes_in_composing_are_told_at_once(refused: Refused, arguments: list[str], parts: list[str]) -> None:
    told = refused(*arguments)
    assert "Traceback" not in told
    (sentence,) = [line for line in told.splitlines() if line.startswith("secmi_exp: ")]
    assert all(part in sentence for part in parts), sentence


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["+attack=stat", "attack.t_sec=soon"], ["t_sec='soon'", "valid integer"]),
        (["+attack=stat", "attack.t_sec=25"], ["attack.t_sec=25", "multiple of", "attack.k=10", "20 and 30"]),
        (["+attack=stat", "attack.t_sec=1000"], ["attack.t_sec=1000", "at most 990"]),
        (["+attack=nn", "attack.scorers.nn.small=null"], ["network=auto and small=null", "network=resnet18"]),
        (["+attack=nn", "attack.scorers.nn.lr=-1"], ["attack.scorers.nn.lr=-1", "greater than 0"]),
        (["split.members=0"], ["empty side"]),
        (["split.members=1700", "split.holdouts=200"], ["1700 members and 200 hold-outs", "has 1797 samples"]),
        (["split.members=null", "split.ratio=1.5"], ["split.ratio=1.5", "less than 1"]),
        (["dataset.channels=2"], ["dataset.channels=2", "1 or 3"]),
        (["dataset.crop=circle"], ["dataset.crop", "circle"]),
        (["target.network.norm_num_groups=7"], ["diffusers refuses target.network"]),
        (["trainer.accelerator=cuda", "target.max_steps=1"], ["trainer.accelerator=cuda", "choose cpu or auto"]),
        (["evaluation.bootstrap_rounds=0"], ["evaluation.bootstrap_rounds=0", "greater than 0"]),
        (["+evaluation.rounds=5"], ["evaluation.rounds=5"]),
        (["seed=-1"], ["seed=-1"]),
        (["tags=5"], ["tags=5", "valid list"]),
        (["target.schedule.num_train_timesteps=many"], ["num_train_timesteps='many'", "valid integer"]),
        (["+attack=nn", "attack.maps=[0]"], ["attack.maps", "greater than 0"]),
        (["+attack=nn", "attack.maps=[25]"], ["attack.maps=25", "multiple of"]),
        (["paths.store=/dev/null/store"], ["/dev/null/store", "can't be written", "paths.store"]),
    ],
)  # fmt: skip
def test_bad_values_are_told_before_anything_is_computed(
    tmp_path: Path, arguments: list[str], parts: list[str]
) -> None:
    with pytest.raises(UserError) as raised:
        run_here(tmp_path, *arguments)
    assert all(part in str(raised.value) for part in parts), raised.value
    kept = {path.parent.name for path in tmp_path.glob("store/*/*/")}
    assert kept <= {"images"}  # which are decoded before a split of them can be checked


def test_bad_values_end_the_command_like_other_mistakes(refused: Refused) -> None:
    told = refused("+attack=stat", "attack.t_sec=25", "logger=none", *SMOKE)
    assert "Traceback" not in told
    (sentence,) = [line for line in told.splitlines() if line.startswith("secmi_exp: ")]
    assert "attack.t_sec=25 is not a multiple" in sentence


@pytest.mark.slow
def test_training_that_diverges_stops_the_run_and_keeps_what_was_saved(secmi: Command) -> None:
    arguments = [
        "logger=none",
        *SMOKE,
        "target.optimizer.lr=1e18",
        "target.warmup_steps=50",
        "target.checkpoint_every=1",
    ]
    sentence = complaint(secmi, *arguments)
    assert "training diverged" in sentence
    assert "lower the learning rate" in sentence
    kept = [*(secmi.folder / "outputs/store").glob("work/target-*/scratch/checkpoints/*.ckpt")]
    assert kept
    for checkpoint in kept:
        weights = torch.load(checkpoint, weights_only=True)["current_model_state"]
        assert all(torch.isfinite(weight).all() for weight in weights.values())
    assert not any((secmi.folder / "outputs/store").glob("target/*"))


def test_a_folder_that_cannot_be_written_is_named(secmi: Command) -> None:
    assert "/dev/null/out" in complaint(secmi, "paths.output=/dev/null/out")


@pytest.mark.slow
def test_an_outage_of_wandb_costs_nothing_but_the_upload(secmi: Command) -> None:
    finished = secmi(
        "+attack=stat", "logger.timeout_s=5", *SMOKE,
        WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY="0" * 40,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert "going on offline" in finished.stderr
    assert (finished.folder / "results.json").exists()
    assert [*finished.folder.glob("wandb/offline-run-*")]


@pytest.mark.slow
def test_a_wheel_runs_from_an_empty_folder_and_takes_further_configs(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "-w",
        str(tmp_path),
        str(REPOSITORY),
    ]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    site, empty, own = tmp_path / "site", tmp_path / "empty", tmp_path / "own"
    unpack = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", str(site), str(wheel)]
    subprocess.run(unpack, check=True)
    empty.mkdir()
    (own / "dataset").mkdir(parents=True)
    (own / "dataset/first_digits.yaml").write_text("defaults: [digits, _self_]\nname: first_digits\n")
    command = Command(empty)
    command.environment["PYTHONPATH"] = str(site)
    finished = command("+attack=stat", "dataset=first_digits", "logger=none", *SMOKE, "--config-dir", str(own))
    assert finished.returncode == 0, finished.stderr
    assert "first_digits" in finished.stdout
    assert (site / "secmi_exp/conf/config.yaml").exists()
    command.module = [str(site / "bin/secmi-exp")]
    assert "digits, first_digits" in command("--help", "--config-dir", str(own)).stdout


@pytest.mark.slow
def test_control_c_ends_with_a_sentence_and_the_next_run_continues(secmi: Command) -> None:
    arguments = ["logger=none", *SMOKE, "target.checkpoint_every=5"]
    with secmi.running(training, *arguments, "target.max_steps=100000") as process:
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; the same command continues where it was" in stderr
    assert "Traceback" not in stderr
    assert stdout == ""
