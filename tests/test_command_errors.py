"""What Hydra itself fails at ends in one sentence, whatever it raises; HYDRA_FULL_ERROR=1 shows where it was raised."""

from pathlib import Path

import pytest

from secmi_exp.configuration.command_errors import explain
from secmi_exp.configuration.setting_errors import naming
from secmi_exp.errors import UserError
from secmi_exp.formatting import LONGEST_SENTENCE, one_sentence, shown
from tests.support.commands import CONF, Refused


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        # of the issue
        (["--resolve"], ["write --cfg job --resolve"]),
        (["hydra.run.dir=/proc/x"], ["'/proc/x'", "hydra.run.dir"]),
        (["dataset='${'"], ["dataset='${'", "can't be used"]),
        (["hydra/job_logging=disabled", "trainer.devices=0"], ["trainer.devices=0"]),
        (["hydra/hydra_logging=disabled", "trainer.devices=0"], ["trainer.devices=0"]),
        # of the same kinds
        (["hydra.run.dir=taken"], ["taken", "File exists"]),
        (["-m", "hydra.sweep.dir=/proc/x", "seed=1,2"], ["'/proc/x'", "hydra.sweep.dir"]),
        (["hydra.output_subdir=/proc/x"], ["/proc/x"]),
        (["hydra.job_logging.root.level=BOGUS"], ["hydra.job_logging", "BOGUS"]),
        (["hydra.verbose=3"], ["hydra.verbose"]),
        (["hydra.job.name=a/b"], ["hydra.job_logging"]),
        (["paths.runs=null"], ["paths.runs is empty"]),
        (["--run", "--multirun"], ["--run and --multirun"]),
        (["--info", "bogus"], ["--info", "bogus"]),
        (["--bogus"], ["--bogus", "--help"]),
        (["-c", "x"], ["--cfg", "'x'"]),
        (["-sc"], ["install=bash"]),
        (["--experimental-rerun", "/dev/null"], ["--experimental-rerun"]),
        (["--config-name", "x"], ["no configuration 'x'", "--config-name"]),
        (["--config-dir", "/nope"], ["/nope"]),
        (["="], ["'='", "KEY=VALUE"]),
        ([""], ["''", "KEY=VALUE"]),
        (["dataset=" + "x" * 20000], ["xxxxx", "…", "File name too long"]),
        (["seed=\udcff"], [r"\udcff", "UTF-8"]),
        (["a=" + "[" * 10000], ["'a=[[[[", "…", "too deeply"]),
        (["+attack=pia", "experiment=latent_digits"], ["write attack=pia without +"]),
        (["+dataset=lfw"], ["dataset is chosen already, by default or", "write dataset=lfw without +"]),
        (["+attack=stat", "t_sec=50"], ["no key 't_sec' at the top level (did you mean attack.t_sec?)"]),
        (["+attack=stat", "+t_sec=50"], ["no key 't_sec' at the top level (did you mean attack.t_sec?)"]),
        (["name=x"], ["no key 'name' at the top level: choose one of"]),  # several groups have one
        (["~seed"], ["seed has been left out"]),
        (
            ["experiment=smoke", "target=diffusers", "target.path=x"],
            ["target.max_steps=60 (set by experiment=smoke)", "leave experiment=smoke out"],
        ),
        (["experiment=smoke", "target=diffusers", "target.path=x", "target.max_steps=60"], ["this name, leave it out"]),
        (["experiment=smoke", "split=indices", "split.path=x"], ["split.members=64 (set by experiment=smoke)"]),
        (["-m", "experiment=prompts", "target=ddpm_small"], ["no key 'prompt'", "experiment=prompts sets it"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_command_that_cannot_start_ends_in_one_sentence(
    refused: Refused, tmp_path: Path, arguments: list[str], parts: list[str]
) -> None:
    (tmp_path / "taken").touch()
    told = refused(*arguments)
    assert "Traceback" not in told
    (sentence,) = [line for line in told.splitlines() if line.startswith("secmi_exp: ")]
    assert all(part in sentence for part in parts), sentence
    assert len(sentence) < 700


def test_the_traceback_is_shown_on_request(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    told = refused("seed=-1")
    assert "Traceback" in told
    assert "pydantic_core._pydantic_core.ValidationError" in told
    assert told.splitlines()[-1].startswith("secmi_exp: seed=-1 can't be used")


def test_what_nobody_has_foreseen_is_quoted_and_not_guessed_at() -> None:
    with (
        pytest.raises(UserError, match=r"of attack can't be used \(KeyError: 'x'; HYDRA_FULL_ERROR=1 shows"),
        naming("attack"),
    ):
        dict[str, int]()["x"]
    sentence = explain(ZeroDivisionError("by zero"), [], CONF)
    assert sentence is not None
    assert "ZeroDivisionError: by zero; HYDRA_FULL_ERROR=1 shows where" in sentence


class Unspeakable(Exception):
    """Fails at being told, as exceptions do that hold what the user gave."""

    def __str__(self) -> str:
        raise RecursionError("maximum recursion depth exceeded")


def test_explaining_never_fails() -> None:
    told = explain(Unspeakable(), ["dataset='${'", "=", "[" * 5000, "\udcff"], CONF)
    assert told is not None
    assert "Unspeakable" in told


def test_values_are_shown_on_one_line_and_cut() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert len(shown(deep)) < 130
    assert len(shown(10**10000)) < 130
    assert (shown(None), shown(True), shown("a\nb")) == ("null", "true", r"'a\nb'")
    assert one_sentence("a\nb\x1b[1m\udcff") == r"a b\x1b[1m\udcff"
    assert len(one_sentence("x" * 10**6)) == LONGEST_SENTENCE
