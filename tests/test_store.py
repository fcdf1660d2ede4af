"""The store: built once, whole or not at all, by however many processes."""

import multiprocessing
import time
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secmi_exp.errors import UserError
from secmi_exp.store import MANIFEST, SCRATCH, Damaged, Key, Store, check

KEY = Key("thing", 1, {"a": 1})


def write(text: str, workspace: Path) -> None:
    (workspace / "content.txt").write_text(text)


def test_an_entry_is_built_once(tmp_path: Path) -> None:
    builds: list[Path] = []

    def build(workspace: Path) -> None:
        builds.append(workspace)
        write("x", workspace)

    first, second = Store(tmp_path).obtain(KEY, build), Store(tmp_path).obtain(KEY, build)
    assert (len(builds), first.reused, second.reused) == (1, False, True)
    assert (second.path / "content.txt").read_text() == "x"


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3)),
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3)),
)
def test_keys_are_equal_exactly_where_their_content_is(a: dict[str, int], b: dict[str, int]) -> None:
    assert (Key("k", 1, a).digest == Key("k", 1, b).digest) == (a == b)
    assert Key("k", 1, a).digest != Key("k", 2, a).digest != Key("k", 2, a, {"input": "d"}).digest


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "manifest"])
def test_damage_is_found_and_mended(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(tmp_path)
    entry = store.obtain(KEY, lambda workspace: write("content", workspace))
    file = entry.path / ("content.txt" if damage != "manifest" else MANIFEST)
    if damage == "missing":
        file.unlink()
    else:
        file.write_text("conten" if damage == "truncated" else "cOntent")
    with pytest.raises(Damaged):
        check(entry.path)
    mended = store.obtain(KEY, lambda workspace: write("content", workspace))
    assert not mended.reused
    assert "is damaged" in caplog.text
    check(mended.path)


def test_a_failed_build_leaves_no_entry_but_its_workspace(tmp_path: Path) -> None:
    def fail(workspace: Path) -> None:
        write("half", workspace)
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        Store(tmp_path).obtain(KEY, fail)
    assert not (tmp_path / "thing").exists()

    def go_on(workspace: Path) -> None:
        assert (workspace / "content.txt").read_text() == "half"
        write("whole", workspace)

    assert (Store(tmp_path).obtain(KEY, go_on).path / "content.txt").read_text() == "whole"


def test_a_build_that_fails_before_it_wrote_anything_leaves_nothing(tmp_path: Path) -> None:
    def fail(workspace: Path) -> None:
        raise UserError("refused")

    with pytest.raises(UserError):
        Store(tmp_path).obtain(KEY, fail)
    assert list((tmp_path / "work").iterdir()) == []


def _slow_build(root: Path, builds: Path) -> None:
    def build(workspaces: dict[str, Path]) -> None:
        with builds.open("a") as file:
            file.write("x" * len(workspaces))
        time.sleep(0.5)
        for workspace in workspaces.values():
            write("x", workspace)

    Store(root).obtain_all([KEY, Key("thing", 1, {"a": 2})], build)


def test_processes_that_want_the_same_entries_build_them_once(tmp_path: Path) -> None:
    builds = tmp_path / "builds"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_slow_build, args=(tmp_path / "store", builds)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert builds.read_text() == "xx"


def test_only_what_is_missing_of_several_is_built(tmp_path: Path) -> None:
    store, other = Store(tmp_path), Key("thing", 1, {"a": 2})
    store.obtain(KEY, lambda workspace: write("x", workspace))
    asked: list[str] = []

    def build(workspaces: dict[str, Path]) -> None:
        asked.extend(workspaces)
        for workspace in workspaces.values():
            write("y", workspace)

    entries = store.obtain_all([KEY, other], build)
    assert asked == [other.digest]
    assert [entry.reused for entry in entries] == [True, False]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"can't be written .* set paths.store"):
        Store(tmp_path / "file" / "store")


def test_a_build_killed_between_manifest_and_rename_is_adopted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    entry = store.obtain(KEY, lambda workspace: write("x", workspace))
    workspace = tmp_path / "work" / f"thing-{KEY.digest}"
    entry.path.rename(workspace)
    (workspace / SCRATCH).mkdir()

    def unwanted(workspace: Path) -> None:
        raise AssertionError("built again")

    adopted = store.obtain(KEY, unwanted)
    check(adopted.path)
    assert not workspace.exists()
    assert not (adopted.path / SCRATCH).exists()


def test_scratch_is_no_part_of_the_entry_and_a_stale_manifest_does_no_harm(tmp_path: Path) -> None:
    store = Store(tmp_path)
    workspace = tmp_path / "work" / f"thing-{KEY.digest}"
    (workspace / SCRATCH).mkdir(parents=True)
    (workspace / MANIFEST).write_text('{"files": {"content.txt": {"bytes": 1, "sha256": "0"}}}')

    def build(workspace: Path) -> None:
        (workspace / SCRATCH / "step.ckpt").touch()
        write("x", workspace)

    entry = store.obtain(KEY, build)
    check(entry.path)
    assert sorted(path.name for path in entry.path.iterdir()) == ["content.txt", MANIFEST]


def test_what_is_found_is_built_by_nobody_and_what_is_discarded_is_gone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.find(KEY) is None
    entry = store.obtain(KEY, partial(write, "done"))
    found = store.find(KEY)
    assert found
    assert (found.path, found.reused) == (entry.path, True)
    content = (entry.path / "content.txt").open()
    store.discard(KEY)
    store.discard(KEY)
    assert store.find(KEY) is None
    assert content.read() == "done"  # whoever has it open keeps it
