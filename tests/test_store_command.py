"""`python -m secmi_exp.store`: what it lists, shows, verifies and removes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from secmi_exp.store import MANIFEST, Key, Store, file_digest
from secmi_exp.store.__main__ import main
from tests.support.store_entries import leaving

TARGET = Key("target", 2, {"steps": 3, "name": "größer"}, {"members": "a" * 64}, files=("weights.bin",))
WALK = Key("trajectory", 1, {"k": 10}, {"target": TARGET})
SCORES = Key("scores", 1, {"rows": [1, 2]}, {"measured": WALK}, files=("scores.npy",))
DAY = 86400


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store of a target of 2,000 bytes and scores of it."""
    store = Store(tmp_path / "store")
    store.get_or_build(TARGET, leaving("weights.bin", bytes(2000)))
    store.get_or_build(SCORES, leaving("scores.npy", b"12"))
    return store.root


Run = Callable[..., str]


@pytest.fixture
def run(root: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command's standard output, and standard error where it fails."""

    def command(*arguments: str, status: int = 0) -> str:
        try:
            main([*arguments, "--store", str(root)])
            ended = 0
        except SystemExit as error:
            ended = int(error.code or 0)
        assert ended == status
        out, err = capsys.readouterr()
        return err or out

    return command


def unused_for(entry: Path, seconds: float) -> None:
    """As if it had last been used then."""
    for path in (*entry.rglob("*"), entry):
        os.utime(path, (time.time() - seconds,) * 2)


def test_entries_are_listed_with_size_age_and_time(root: Path, run: Run) -> None:
    unused_for(root / f"target/{TARGET.digest}", 3.5 * DAY)
    head, scores, target, last = run("ls").splitlines()
    assert head.split() == ["kind", "key", "size", "last", "used", "took"]
    assert scores.split()[:2] == ["scores", SCORES.digest]
    assert target.split()[:2] == ["target", TARGET.digest]
    assert target.split()[-4:] == ["3", "d", "0.0", "s"]
    assert last.startswith("2 entries, ")
    (root / f"work/scores-{'0' * 32}").mkdir()
    assert run("ls").splitlines()[-1].endswith("; 1 unfinished, 0 B.")
    assert run("ls", "--kind", "target").splitlines()[-1].startswith("1 entry, ")
    assert "no entry of the kind states in" in run("ls", "--kind", "states", status=1)


@pytest.mark.parametrize("form", ["{0.digest}", "{0.kind}/{0.digest}", "{0}", "outputs/store/{0.kind}/{0.digest}/"])
def test_an_entry_is_shown_by_whatever_names_it(run: Run, form: str) -> None:
    told = run("show", form.format(TARGET))
    assert told.startswith(f"target/{TARGET.digest}\n")
    assert 'version: 2\nsteps: 3\nname: "größer"\ninputs:\n' in told
    assert f"  members: {'a' * 64}, by its content; no entry of this store\n" in told
    assert "  weights.bin: 2.0 kB, sha256 " in told
    assert f"computed from it:\n  scores/{SCORES.digest}\n" in told


def test_inputs_lead_on_to_entries_through_keys_that_are_none(root: Path, run: Run) -> None:
    told = run("show", f"scores/{SCORES.digest[:6]}")
    assert f"  measured: trajectory/{WALK.digest}, which is no entry of this store:\n" in told
    assert f"      target: target/{TARGET.digest}\n" in told
    assert "computed from it: nothing in this store\n" in told
    run("gc", "--older-than", "0s")  # what is gone is still told
    Store(root).get_or_build(SCORES, leaving("scores.npy", b"12"))
    told = run("show", SCORES.digest)
    assert f"      target: target/{TARGET.digest}, which is no entry of this store:\n" in told
    assert "        steps: 3\n" in told


def test_files_of_an_entry_are_recognised_as_inputs(root: Path, run: Run) -> None:
    weights = root / f"target/{TARGET.digest}/weights.bin"
    noise = Key("values", 1, {}, {"unet/weights.bin": file_digest(weights)}, files=("values.npy",))
    Store(root).get_or_build(noise, lambda workspace: (workspace / "values.npy").touch())
    assert f"  unet/weights.bin: weights.bin of target/{TARGET.digest}\n" in run("show", noise.digest)
    assert f"  values/{noise.digest}\n" in run("show", TARGET.digest).partition("computed from it:")[2]


def test_what_names_no_entry_or_several_is_refused_in_a_sentence(root: Path, run: Run) -> None:
    assert "There is no entry zzz in" in run("show", "zzz", status=1)
    assert f"There is no entry scores/{TARGET.digest} in" in run("show", f"scores/{TARGET.digest}", status=1)
    both = run("show", "", status=1)
    assert f"scores/{SCORES.digest} and target/{TARGET.digest}" in both
    assert "give more of its digits" in both
    (root / f"target/{TARGET.digest}" / MANIFEST).write_text("[]")
    assert "is damaged" in run("show", TARGET.digest, status=1)
    assert "damaged" in run("ls")


@pytest.mark.parametrize("damage", ["flipped", "swapped", "other kind", "no files"])
def test_damage_is_named_and_ends_with_status_1(root: Path, run: Run, damage: str) -> None:
    assert run("verify").endswith("all whole.\n")
    target, scores = root / f"target/{TARGET.digest}", root / f"scores/{SCORES.digest}"
    match damage:
        case "flipped":
            (target / "weights.bin").write_bytes(bytes(1999) + b"1")
            why = "weights.bin has changed"
        case "swapped":
            target.rename(root / "between")
            scores.rename(target)
            why = f"it holds {SCORES} instead"
        case "other kind":
            target.rename(root / f"scores/{TARGET.digest}")
            target = root / f"scores/{TARGET.digest}"
            why = f"it holds {TARGET} instead"
        case _:
            manifest = json.loads((target / MANIFEST).read_text())
            (target / MANIFEST).write_text(json.dumps(manifest | {"files": {}}))
            why = f"{MANIFEST} lists no files"
    told = run("verify", status=1)
    assert f"{target.parent.name}/{target.name} is damaged: {why}." in told
    assert "1 of them damaged" in told


def test_what_nobody_has_used_for_long_is_removed(root: Path, run: Run) -> None:
    target, scores = root / f"target/{TARGET.digest}", root / f"scores/{SCORES.digest}"
    old, new = (root / f"work/scores-{digit * 32}" for digit in "01")
    for workspace in (old, new):
        (workspace / "scratch").mkdir(parents=True)
        (workspace / "scratch/step.ckpt").touch()
    (root / "work/notes").mkdir()
    for path in (target, old, root / "work/notes"):
        unused_for(path, 31 * DAY)
    told = run("gc", "--older-than", "30d", "--dry-run")
    assert f"Would remove target/{TARGET.digest} (2" in told
    assert told.splitlines()[-1].startswith("2 to be removed, 2.")
    assert target.is_dir()
    assert run("gc", "--older-than", "30d").splitlines()[-1].startswith("2 removed, 2.")
    assert (target.exists(), old.exists()) == (False, False)
    assert scores.is_dir()
    assert new.is_dir()
    assert (root / "work/notes").is_dir()  # none of the store's
    assert run("gc", "--older-than", "4w").splitlines() == ["0 removed, 0 B."]


def test_reuse_counts_as_use_and_what_is_being_built_stays(root: Path, run: Run) -> None:
    target = root / f"target/{TARGET.digest}"
    unused_for(target, 31 * DAY)
    Store(root).get_or_build(TARGET, lambda workspace: None)
    assert run("gc", "--older-than", "30d") == "0 removed, 0 B.\n"
    unused_for(target, 31 * DAY)
    with FileLock(root / f"locks/target-{TARGET.digest}.lock"):
        assert f"In use: target/{TARGET.digest}" in run("gc", "--older-than", "30d")
    assert target.is_dir()


def test_mistakes_end_in_a_sentence_and_nothing_is_made(
    root: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--older-than=1m is no duration" in run("gc", "--older-than", "1m", status=1)
    for command in (["ls"], ["gc", "--older-than=1d"]):
        with pytest.raises(SystemExit):
            main([*command, "--store", str(tmp_path / "elsewhere")])
        assert "There is no store in" in capsys.readouterr().err
    assert not (tmp_path / "elsewhere").exists()


def test_it_starts_without_anything_heavy(tmp_path: Path) -> None:
    script = "import sys, secmi_exp.store.__main__; print(*{'torch', 'numpy', 'hydra', 'pydantic'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout.split() == []
