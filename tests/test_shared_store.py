"""A store that several users share: readable for all, usable without writing, on file systems of any kind."""

import errno
import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf.errors import OmegaConfBaseException
from safetensors.torch import save_file

from secmi_exp.configuration.command_errors import explain
from secmi_exp.configuration.paths import refuse_empty
from secmi_exp.errors import UserError
from secmi_exp.store import MANIFEST, Store, check
from secmi_exp.testing import compose_config
from tests.support.commands import CONF, NN, REPOSITORY, SMOKE, SmokeRun
from tests.support.private_mounts import read_only, run_mounted
from tests.support.store_entries import KEY, OTHER, write


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize(("mask", "mode", "folder_mode"), [(0o022, 0o644, 0o755), (0o002, 0o664, 0o775)])
def test_all_that_an_entry_holds_has_the_mode_that_the_umask_gives(
    tmp_path: Path, mask: int, mode: int, folder_mode: int
) -> None:
    (given := tmp_path / "given.bin").touch(mode=0o400)

    def build(workspace: Path) -> None:
        (workspace / "unet").mkdir(mode=0o700)
        save_file({"x": torch.zeros(3)}, workspace / "unet/x.safetensors")  # by way of a private temporary file
        shutil.copy2(given, workspace / "unet")
        write("x", workspace)

    with umask(mask):
        path = Store(tmp_path / "store").get_or_build(KEY, build).path
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in (path, *path.rglob("*"))}
    assert modes == {
        path.name: folder_mode, "unet": folder_mode,
        MANIFEST: mode, "content.txt": mode, "x.safetensors": mode, "given.bin": mode,
    }  # fmt: skip


def tree(folder: Path) -> dict[str, tuple[float, ...]]:
    """All that is told by the names, times and modes below a folder."""
    found = {str(path): path.lstat() for path in (folder, *folder.rglob("*"))}
    return {path: (each.st_mtime_ns, each.st_ctime_ns, each.st_mode, each.st_size) for path, each in found.items()}


PROGRAM = """
from pathlib import Path
from secmi_exp.errors import UserError
from secmi_exp.store import Key, Store
KEY, OTHER = (Key("thing", 1, {{"a": a}}, files=("content.txt",)) for a in (1, 2))
store = Store(Path("{}"))
print(store.get_or_build(KEY, None).reused)
try:
    store.get_or_build_all([KEY, OTHER], None)
except UserError as error:
    print(error)
"""


def test_a_complete_store_that_is_read_only_is_used_without_writing(tmp_path: Path) -> None:
    Store(tmp_path).get_or_build(KEY, partial(write, "x"))
    shutil.rmtree(tmp_path / "locks")
    before = tree(tmp_path)
    ended = run_mounted(read_only(tmp_path), PROGRAM.format(tmp_path))
    assert ended.returncode == 0, ended.stderr
    reused, told = ended.stdout.splitlines()
    assert reused == "True"
    assert told.startswith(f"{OTHER} must be computed, and {tmp_path}/work of the store is read-only: ")
    assert "or set paths.store, or the environment variable SECMI_STORE, to a folder elsewhere" in told
    assert tree(tmp_path) == before


def test_an_entry_that_this_user_may_not_write_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.get_or_build(KEY, partial(write, "x"))
    before = tree(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK)  # for root, everything is writable
    assert store.get_or_build(KEY, partial(write, "y")).reused
    assert tree(tmp_path) == before
    with pytest.raises(UserError, match=rf"{OTHER} must be computed, and .*/work of the store is read-only"):
        store.get_or_build(OTHER, partial(write, "y"))
    assert tree(tmp_path) == before


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that other users can enter, as pytest's aren't."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="nobody else can be asked")
def test_another_user_reads_the_store_of_one_and_is_told_what_must_be_computed(open_folder: Path) -> None:
    def build(workspace: Path) -> None:
        save_file({"x": torch.zeros(3)}, workspace / "content.txt")

    Store(open_folder / "store").get_or_build(KEY, build)
    before = tree(open_folder)
    program = PROGRAM.format(str(open_folder / "store"))
    user = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", sys.executable, "-c", program]
    ended = subprocess.run(user, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    reused, told = ended.stdout.splitlines()
    assert reused == "True"
    assert told.startswith(f"{OTHER} must be computed, and {open_folder}/store/work of the store is read-only: ")
    assert tree(open_folder) == before


@pytest.mark.parametrize("aim", ["nowhere", "a circle", "a damaged entry", "a file"])
def test_a_link_in_the_place_of_an_entry_is_damage_and_what_it_leads_to_stays(tmp_path: Path, aim: str) -> None:
    store = Store(tmp_path / "store")
    path = store.get_or_build(KEY, partial(write, "x")).path
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    if aim == "nowhere":
        shutil.rmtree(elsewhere)
    elif aim == "a damaged entry":
        write("changed", elsewhere)
    elif aim == "a file":
        shutil.rmtree(elsewhere)
        elsewhere.write_text("a file")
    path.symlink_to(path if aim == "a circle" else elsewhere)
    mended = store.get_or_build(KEY, partial(write, "mended"))
    assert (mended.reused, mended.path.is_symlink()) == (False, False)
    assert (mended.path / "content.txt").read_text() == "mended"
    assert not any((tmp_path / "store/work").iterdir())
    if aim == "a damaged entry":
        assert (elsewhere / "content.txt").read_text() == "changed"
    if aim == "a file":
        assert elsewhere.read_text() == "a file"


def test_an_entry_that_was_moved_and_linked_is_reused(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    path = store.get_or_build(KEY, partial(write, "x")).path
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert store.get_or_build(KEY, partial(write, "y")).reused


def failing_locks(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_in_a_sentence(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        failing_locks(number, patched)
        with pytest.raises(UserError, match=rf"The store {tmp_path} is on a file system without file locks"):
            Store(tmp_path).get_or_build(KEY, partial(write, "x"))
    assert not Store(tmp_path).get_or_build(KEY, partial(write, "x")).reused


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("operation", ["os.rename", "os.mkdir", "secmi_exp.store.manifest.write_json", "build"])
def test_whatever_fails_in_the_store_is_a_sentence_and_continues_later(
    tmp_path: Path, number: int, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    store = Store(tmp_path)
    with monkeypatch.context() as patched:
        if operation != "build":
            patched.setattr(operation, fail)
        with pytest.raises(UserError, match=rf"^The store {tmp_path} has "):
            store.get_or_build(KEY, fail if operation == "build" else partial(write, "x"))
    assert not any(tmp_path.glob("thing/*/"))
    path = store.get_or_build(KEY, partial(write, "x")).path
    check(path, KEY)
    assert not any((tmp_path / "work").iterdir())


def test_an_empty_environment_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECMI_STORE", "SECMI_DATA"):
        monkeypatch.setenv(name, "")
    paths = compose_config("paths.output=out").paths
    assert (paths.store, paths.data) == ("out/store", "data")
    monkeypatch.setenv("SECMI_STORE", "kept")
    assert paths.store == "kept"


@pytest.mark.parametrize(("key", "value"), [("store", ""), ("data", "null"), ("output", "null"), ("runs", "")])
def test_an_empty_path_is_refused(key: str, value: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [f"paths.{key}={value}"], return_hydra_config=True)

    def begin() -> None:
        str(config.hydra.run.dir)  # which Hydra reads before a run begins
        refuse_empty(config)

    with pytest.raises((UserError, OmegaConfBaseException)) as raised:
        begin()
    assert explain(raised.value, [], CONF) == f"paths.{key} is empty: name a folder, or leave the setting out."


@pytest.mark.slow
def test_a_run_that_has_everything_works_on_a_read_only_store(smoke: SmokeRun, tmp_path: Path) -> None:
    store = smoke.command.folder / "outputs/store"
    program = "import sys; from secmi_exp.__main__ import main; sys.argv[0] = 'secmi_exp'; main()"
    arguments = ["logger=none", f"paths.store={store}", f"paths.output={tmp_path}"]
    before = tree(store)
    ended = run_mounted(read_only(store), program, *NN, *arguments, timeout=240)
    assert ended.returncode == 0, ended.stderr
    assert tree(store) == before
    found = [json.loads((Path(folder) / "results.json").read_text()) for folder in (
        ended.stdout.splitlines()[-1], smoke.finished.folder,
    )]  # fmt: skip
    assert found[0]["metrics"] == found[1]["metrics"]
    other = run_mounted(read_only(store), program, "+attack=pia", *SMOKE, *arguments, timeout=240)
    assert other.returncode == 1
    assert "Traceback" not in other.stderr
    assert "must be computed, and" in other.stderr.splitlines()[-1]
    assert tree(store) == before
