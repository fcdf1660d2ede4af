"""The store: built once, whole or not at all, by however many processes."""

import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from filelock import FileLock, Timeout
from hypothesis import given
from hypothesis import strategies as st

from secmi_exp import store as store_module
from secmi_exp.configuration.general import General
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.store import MANIFEST, SCRATCH, Damaged, Key, Place, Store, check, wait_for
from secmi_exp.store.listed import listed
from secmi_exp.testing import compose_config
from tests.support.store_entries import KEY, OTHER, write


def test_an_entry_is_built_once(tmp_path: Path) -> None:
    builds: list[Path] = []

    def build(workspace: Path) -> None:
        builds.append(workspace)
        write("x", workspace)

    first, second = Store(tmp_path).get_or_build(KEY, build), Store(tmp_path).get_or_build(KEY, build)
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
    entry = store.get_or_build(KEY, lambda workspace: write("content", workspace))
    file = entry.path / ("content.txt" if damage != "manifest" else MANIFEST)
    if damage == "missing":
        file.unlink()
    else:
        file.write_text("conten" if damage == "truncated" else "cOntent")
    with pytest.raises(Damaged):
        check(entry.path)
    mended = store.get_or_build(KEY, lambda workspace: write("content", workspace))
    assert not mended.reused
    assert "is damaged" in caplog.text
    check(mended.path)


def test_numbers_that_no_manifest_could_hold_are_in_a_key_by_their_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secmi_exp.store.listed.MOST_LISTED", 3)
    short, long, other = (listed(np.array(numbers)) for numbers in ([5, 6, 7], [5, 6, 7, 8], [5, 6, 7, 9]))
    assert short == [5, 6, 7]
    assert isinstance(long, str)
    assert long != other


def test_a_failed_build_leaves_no_entry_but_its_workspace(tmp_path: Path) -> None:
    def fail(workspace: Path) -> None:
        write("half", workspace)
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        Store(tmp_path).get_or_build(KEY, fail)
    assert not (tmp_path / "thing").exists()

    def go_on(workspace: Path) -> None:
        assert (workspace / "content.txt").read_text() == "half"
        write("whole", workspace)

    assert (Store(tmp_path).get_or_build(KEY, go_on).path / "content.txt").read_text() == "whole"


def test_a_build_that_fails_before_it_wrote_anything_leaves_nothing(tmp_path: Path) -> None:
    def fail(workspace: Path) -> None:
        raise UserError("refused")

    with pytest.raises(UserError):
        Store(tmp_path).get_or_build(KEY, fail)
    assert list((tmp_path / "work").iterdir()) == []


def _slow_build(root: Path, builds: Path) -> None:
    def build(workspaces: dict[str, Path]) -> None:
        with builds.open("a") as file:
            file.write("x" * len(workspaces))
        time.sleep(0.5)
        for workspace in workspaces.values():
            write("x", workspace)

    Store(root).get_or_build_all([KEY, OTHER], build)


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


def test_what_another_process_has_made_meanwhile_is_checked_once_and_without_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, other = Store(tmp_path), Store(tmp_path)
    held, checked_under_lock = list[Store](), list[bool]()
    locked = Store._locked

    @contextmanager
    def noted(self: Store, key: Place, *, wait: bool = True) -> Iterator[None]:
        if self is waiting:
            other.get_or_build(KEY, partial(write, "x"))
        with locked(self, key, wait=wait):
            held.append(self)
            yield
            held.remove(self)

    def checked(*arguments: Any, **keywords: Any) -> object:
        checked_under_lock.append(waiting in held)
        return check(*arguments, **keywords)

    monkeypatch.setattr(Store, "_locked", noted)
    monkeypatch.setattr(store_module, "check", checked)
    assert waiting.get_or_build(KEY, partial(write, "y")).reused
    assert checked_under_lock == [False, False]  # by the one who made it, and by the one who waited


def test_the_longer_a_process_waits_for_a_lock_the_more_rarely_it_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many jobs as there may be wait for one entry, and each attempt is a message to a file server."""
    now, tried = 0.0, []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    class Held:
        def acquire(self, timeout: float) -> None:
            tried.append(now)
            if now < 3600:
                raise Timeout("held")

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    wait_for(cast(FileLock, Held()))
    assert tried[0] < 0.1  # an entry that is made in no time is waited for no longer
    assert tried[-1] < 3603
    assert len(tried) < 2600  # where twenty attempts a second would be 72,000


def test_only_what_is_missing_of_several_is_built(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.get_or_build(KEY, lambda workspace: write("x", workspace))
    asked: list[str] = []

    def build(workspaces: dict[str, Path]) -> None:
        asked.extend(workspaces)
        for workspace in workspaces.values():
            write("y", workspace)

    entries = store.get_or_build_all([KEY, OTHER], build)
    assert asked == [OTHER.digest]
    assert [entry.reused for entry in entries] == [True, False]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"can't be written .* set paths.store"):
        Store(tmp_path / "file" / "store")


def test_a_build_killed_between_manifest_and_rename_is_adopted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    entry = store.get_or_build(KEY, lambda workspace: write("x", workspace))
    workspace = tmp_path / "work" / f"thing-{KEY.digest}"
    entry.path.rename(workspace)
    (workspace / SCRATCH).mkdir()

    def unwanted(workspace: Path) -> None:
        raise AssertionError("built again")

    adopted = store.get_or_build(KEY, unwanted)
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

    entry = store.get_or_build(KEY, build)
    check(entry.path)
    assert sorted(path.name for path in entry.path.iterdir()) == ["content.txt", MANIFEST]


def test_what_a_kill_has_left_of_json_being_written_is_no_part_of_the_entry(tmp_path: Path) -> None:
    store = Store(tmp_path)
    workspace = tmp_path / "work" / f"thing-{KEY.digest}"
    workspace.mkdir(parents=True)
    for name in (MANIFEST, "queries.json"):
        (workspace / f".{name}.partial").write_text('{"half')
    entry = store.get_or_build(KEY, lambda workspace: write("x", workspace))
    check(entry.path)
    assert sorted(path.name for path in entry.path.iterdir()) == ["content.txt", MANIFEST]


def test_what_is_found_is_built_by_nobody_and_what_is_discarded_is_gone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.find(KEY) is None
    entry = store.get_or_build(KEY, partial(write, "done"))
    found = store.find(KEY)
    assert found
    assert (found.path, found.reused) == (entry.path, True)
    content = (entry.path / "content.txt").open()
    store.discard(KEY)
    store.discard(KEY)
    assert store.find(KEY) is None
    assert content.read() == "done"  # whoever has it open keeps it


def swap(one: Path, other: Path) -> None:
    between = one.with_name("between")
    one.rename(between)
    other.rename(one)
    between.rename(other)


def built(store: Store, *keys: Key) -> list[Path]:
    """Entries whose content tells their key."""
    return [store.get_or_build(key, partial(write, str(key.config))).path for key in keys]


def test_entries_that_lie_in_each_others_place_are_computed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    paths = built(store, KEY, OTHER)
    swap(*paths)
    assert store.find(KEY) is None
    assert [path.read_text() for path in (entry / "content.txt" for entry in built(store, KEY, OTHER))] == [
        str(KEY.config), str(OTHER.config),
    ]  # fmt: skip
    assert f"The store's {KEY} is damaged (it holds {OTHER} instead): computing it again." in caplog.text
    assert f"The store's {OTHER} is damaged (it holds {KEY} instead): computing it again." in caplog.text


def test_an_entry_that_was_copied_over_one_of_another_kind_is_computed_again(tmp_path: Path) -> None:
    store, sibling = Store(tmp_path), Key("sibling", 1, {"a": 1}, files=("content.txt",))
    one, other = built(store, KEY, sibling)
    shutil.rmtree(one)
    shutil.copytree(other, one)
    entry = store.get_or_build(KEY, partial(write, "right"))
    assert (entry.reused, (entry.path / "content.txt").read_text()) == (False, "right")


FILE = {"bytes": 1, "sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}  # of an x


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "lists no content.txt"),
        ({"another.txt": FILE}, "lists no content.txt"),
        ({"content.txt": FILE, "../outside.txt": FILE}, "lists '../outside.txt', which lies outside of the entry"),
        ({"content.txt": FILE, "/etc/hostname": FILE}, "lists '/etc/hostname', which lies outside of the entry"),
        ({"content.txt": FILE, "folder": FILE}, "folder is missing"),
        ([], "can't be read, or is none"),
        ({"content.txt": []}, "can't be read, or is none"),
        ({"content.txt": {"bytes": "many", "sha256": ""}}, "can't be read, or is none"),
    ],
)
def test_a_manifest_that_lists_the_wrong_files_is_damage(
    tmp_path: Path, files: object, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    entry = store.get_or_build(KEY, partial(write, "x")).path
    (entry / "folder").mkdir()
    for name in ("another.txt", "../outside.txt"):
        (entry / name).write_text("x")
    content = json.loads((entry / MANIFEST).read_text())
    (entry / MANIFEST).write_text(json.dumps(content | {"files": files}))
    mended = store.get_or_build(KEY, partial(write, "mended"))
    assert (mended.reused, (mended.path / "content.txt").read_text()) == (False, "mended")
    assert why in caplog.text


@pytest.mark.parametrize(
    "content",
    ["[]", "null", "3", "{}", "[" * 100_000, '{"key": 1, "seconds": 0, "files": {}}', '{"key": {"kind": "a"}}'],
)
def test_what_is_no_manifest_is_damage(tmp_path: Path, content: str) -> None:
    store = Store(tmp_path)
    entry = store.get_or_build(KEY, partial(write, "x")).path
    (entry / MANIFEST).write_text(content)
    assert store.find(KEY) is None
    assert not store.get_or_build(KEY, partial(write, "x")).reused
    assert store.find(KEY)


def test_a_file_in_the_place_of_an_entry_is_damage(tmp_path: Path) -> None:
    store = Store(tmp_path)
    entry = store.get_or_build(KEY, partial(write, "x")).path
    shutil.rmtree(entry)
    entry.write_text("a file")
    assert not store.get_or_build(KEY, partial(write, "x")).reused
    check(entry, KEY)


def test_a_build_must_leave_what_its_key_names_and_a_key_must_name_something(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(RuntimeError, match=rf"The build of {KEY} has left no content.txt"):
        store.get_or_build(KEY, lambda workspace: (workspace / "contents.txt").touch())
    assert store.find(KEY) is None
    assert store.get_or_build(KEY, partial(write, "x")).path.is_dir()  # and goes on after the mistake is mended
    with pytest.raises(RuntimeError, match="names no files"):
        store.get_or_build(Key("thing", 1, {"a": 3}), partial(write, "x"))


def test_what_changes_while_it_is_sealed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from secmi_exp.store import manifest

    def write_and_damage(path: Path, content: Json) -> None:
        path.write_text(json.dumps(content))
        write("y", path.parent)

    monkeypatch.setattr(manifest, "write_json", write_and_damage)
    with pytest.raises(RuntimeError, match=r"What was built for .* is not what was sealed: content.txt has changed"):
        Store(tmp_path).get_or_build(KEY, partial(write, "x"))


@pytest.mark.parametrize("mistake", ["another's", "changed"])
def test_a_finished_workspace_that_is_damaged_is_not_continued(
    tmp_path: Path, mistake: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    entry, other = built(store, KEY, OTHER)
    workspace = tmp_path / "work" / f"thing-{KEY.digest}"
    (other if mistake == "another's" else entry).rename(workspace)
    if mistake == "changed":
        (workspace / "content.txt").write_text("flipped")
    shutil.rmtree(entry, ignore_errors=True)

    def build(folder: Path) -> None:
        assert not (folder / "content.txt").exists()
        write("right", folder)

    assert (store.get_or_build(KEY, build).path / "content.txt").read_text() == "right"
    assert "What a killed run has left of" in caplog.text


def test_the_manifest_tells_what_an_entry_rests_on_and_no_digest_depends_on_it(tmp_path: Path) -> None:
    trained = Key("target", 1, {"steps": 3}, {"members": "contents"}, files=("*",))
    walked = Key("trajectory", 1, {"k": 10}, {"target": trained})
    scores = Key("scores", 1, {}, {"measured": walked}, files=("content.txt",), label="stat")
    assert scores.digest == Key("scores", 1, {}, {"measured": walked.digest}).digest
    manifest = check(Store(tmp_path).get_or_build(scores, partial(write, "x")).path, scores)
    assert manifest.key.inputs == {"measured": walked.digest}
    assert {digest: key.config for digest, key in manifest.made_from.items()} == {
        walked.digest: {"k": 10}, trained.digest: {"steps": 3},
    }  # fmt: skip


def test_a_store_remembers_what_it_handed_out_and_when_it_was_used(tmp_path: Path) -> None:
    first, inner = Store(tmp_path), Key("inner", 1, {}, files=("content.txt",))

    def build(workspace: Path) -> None:
        first.get_or_build(inner, partial(write, "x"))
        write("x", workspace)

    entry = first.get_or_build(KEY, build).path
    os.utime(entry / MANIFEST, (1, 1))
    second = Store(tmp_path)
    second.get_or_build(KEY, build)
    assert list(first.used.values()) == list(second.used.values()) == [KEY]
    assert time.time() - (entry / MANIFEST).stat().st_mtime < 100


def test_an_entry_that_is_removed_while_it_is_checked_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(path: Path) -> str:
        raise FileNotFoundError(path)

    store = Store(tmp_path)
    store.get_or_build(KEY, partial(write, "x"))
    monkeypatch.setattr(store.digests, "digest", gone)
    assert store.find(KEY) is None


def test_files_outside_of_the_store_are_read_whole_or_when_they_have_changed() -> None:
    assert General.from_config(compose_config()).store.verify == "changed"
    assert General.from_config(compose_config("store.verify=always")).store.verify == "always"
    with pytest.raises(UserError, match=r"store.verify='never' can't be used: .* 'changed' or 'always'"):
        General.from_config(compose_config("store.verify=never"))
