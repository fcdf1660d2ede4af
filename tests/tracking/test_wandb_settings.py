"""What W&B is certain to refuse is refused before anything is computed; what it may refuse costs the upload alone."""

import inspect
import os
import signal
from pathlib import Path

import pytest
import wandb

from secmi_exp.configuration.components import Components
from secmi_exp.errors import UserError
from secmi_exp.testing import compose_config
from secmi_exp.tracking.tracker import RunIdentity
from secmi_exp.tracking.wandb_settings import resolve_mode
from secmi_exp.tracking.wandb_tracker import WandbTracker
from tests.support.commands import SMOKE, Command


def refused(*overrides: str) -> str:
    """What is said of these settings when a run's components are made."""
    config = compose_config(*SMOKE, *overrides)
    with pytest.raises(UserError) as refusal:
        Components.from_config(config)
    (sentence,) = str(refusal.value).splitlines()
    return sentence


def test_a_project_with_special_characters_is_refused() -> None:
    sentence = refused("logger.project='a/b:c'")
    assert sentence.startswith("logger.project='a/b:c' can't be used: ")
    assert sentence.endswith("has / and :.")


def test_a_project_that_is_too_long_is_refused() -> None:
    assert "at most 128 characters" in refused(f"logger.project={'p' * 129}")


@pytest.mark.parametrize("tag", ["''", "t" * 65])
def test_a_tag_that_is_empty_or_too_long_is_refused(tag: str) -> None:
    assert refused(f"tags=[fine,{tag}]").startswith("tags.1=")


def test_a_mode_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "logger.mode='foo'" in refused("logger.mode=foo")
    monkeypatch.setenv("WANDB_MODE", "foo")
    assert "WANDB_MODE=foo is none of W&B's modes" in refused()


@pytest.mark.parametrize(("given", "meant"), [("dryrun", "offline"), ("run", "online"), ("shared", "shared")])
def test_other_names_of_modes_are_known(given: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", given)
    assert resolve_mode("auto") == meant


@pytest.mark.skipif(
    "prompt" not in inspect.signature(wandb.login).parameters, reason="older versions find out when a run starts"
)
def test_an_invalid_key_is_told_in_a_line_and_the_run_is_offline(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "x")
    assert resolve_mode("auto") == "offline"
    (line,) = (record.getMessage() for record in caplog.records if record.name.startswith("secmi_exp"))
    assert "can't use its credentials" in line
    assert "40+ characters" in line


def test_where_wandb_cannot_be_started_at_all_the_environment_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**arguments: object) -> None:
        raise wandb.errors.UsageError("no")

    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    monkeypatch.setattr(wandb, "init", refuse)
    run = RunIdentity(folder=tmp_path, name="n", config={}, group=None, job_type="stat", tags=[])
    with pytest.raises(wandb.errors.UsageError):
        WandbTracker(run, project="p", entity=None, mode="offline", timeout_s=1, artifacts=False)
    assert "WANDB_DATA_DIR" not in os.environ


@pytest.mark.slow
def test_a_data_folder_that_cannot_be_written_costs_the_upload_alone(secmi: Command) -> None:
    finished = secmi("+attack=stat", *SMOKE, WANDB_DATA_DIR="/dev/null/data", WANDB_API_KEY="x")
    assert finished.returncode == 0, finished.stderr
    assert "Traceback" not in finished.stderr
    assert finished.stderr.count("Tracking has failed") == 1
    assert {"results.json", "scores.parquet", "roc.png"} <= {path.name for path in finished.folder.iterdir()}


@pytest.mark.slow
def test_a_service_that_is_killed_in_training_costs_the_upload_alone(secmi: Command) -> None:
    process = secmi.start("+attack=stat", *SMOKE)
    assert process.stderr
    assert any("Training ddpm" in line for line in process.stderr)
    (service,) = [
        int(entry.parent.name)
        for entry in Path("/proc").glob("[0-9]*/cmdline")
        if f"--pid\0{process.pid}\0" in command_line(entry)
    ]
    os.kill(service, signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    assert "Traceback" not in stderr
    assert stderr.count("Tracking has failed") == 1
    assert (Path(stdout.splitlines()[-1]) / "results.json").is_file()


def command_line(entry: Path) -> str:
    """Of a process; empty where it has ended meanwhile."""
    try:
        return entry.read_text()
    except OSError:
        return ""
