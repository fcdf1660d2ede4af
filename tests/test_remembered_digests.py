"""Digests of large files: remembered until the file changes, and never believed against the file itself."""

import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from secmi_exp.store import Damaged, Store, check, file_digest, remembered_digests
from secmi_exp.store.__main__ import main
from secmi_exp.store.remembered_digests import FileState, RememberedDigests
from tests.support.store_entries import KEY, write

LONG_AGO = 1_600_000_000


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a few bytes are remembered, however young they are."""
    monkeypatch.setattr(remembered_digests, "LARGE", 3)
    monkeypatch.setattr(remembered_digests, "SETTLED_NS", 0)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read."""
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return file_digest(path)

    monkeypatch.setattr(remembered_digests, "file_digest", counted)
    return read


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"weights")
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def rewritten(file: Path, content: bytes) -> None:
    """Change a file in place, and give it its old modification time again."""
    before = file.stat()
    with file.open("r+b") as opened:
        opened.write(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(file: Path) -> None:
    """Put another file of the same size and times in its place."""
    other = file.with_name("other")
    other.write_bytes(b"Weights")
    os.utime(other, (LONG_AGO, LONG_AGO))
    other.replace(file)


def only_record(store: Store) -> Path:
    (record,) = store.digests.folder.iterdir()
    return record


def test_a_large_file_is_read_once(tmp_path: Path, file: Path, reads: list[Path]) -> None:
    digests = {Store(tmp_path / "store").file_digest(file) for _ in range(3)}
    assert (digests, len(reads)) == ({file_digest(file)}, 1)


def test_small_files_are_read_each_time(tmp_path: Path, reads: list[Path]) -> None:
    (small := tmp_path / "small").write_bytes(b"abc")
    store = Store(tmp_path / "store")
    assert store.file_digest(small) == store.file_digest(small)
    assert len(reads) == 2
    assert not store.digests.folder.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.write_bytes(b"Weights"),
        lambda file: rewritten(file, b"Weights"),  # the time of status change tells it
        replaced,
    ],
)
def test_a_change_is_seen(tmp_path: Path, file: Path, change: Callable[[Path], None]) -> None:
    store = Store(tmp_path / "store")
    store.file_digest(file)
    change(file)
    assert store.file_digest(file) == file_digest(file)


def test_what_no_status_tells_is_found_by_always(tmp_path: Path, file: Path) -> None:
    store = Store(tmp_path / "store")
    old = store.file_digest(file)
    rewritten(file, b"Weights")
    # As on a file system without a time of status change, or with the clock set back: the state is the old one.
    store.digests._write(FileState.of(file, file.stat()), old)
    assert store.file_digest(file) == old
    assert Store(tmp_path / "store", verify="always").file_digest(file) == file_digest(file) != old


def test_a_file_that_was_changed_just_now_is_not_remembered(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered_digests, "SETTLED_NS", 2 * 10**9)
    store = Store(tmp_path / "store")
    store.file_digest(file)  # its modification time is old, that of its status change is not
    assert not store.digests.folder.exists()


def test_a_file_that_changes_while_it_is_read_is_not_remembered(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(path: Path) -> str:
        digest = file_digest(path)
        path.write_bytes(b"Weights")
        return digest

    monkeypatch.setattr(remembered_digests, "file_digest", slow)
    store = Store(tmp_path / "store")
    store.file_digest(file)
    assert not store.digests.folder.exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:40],
        lambda text: "[" * 100_000,
        lambda text: text.replace("weights.safetensors", "another"),
        lambda text: json.dumps(json.loads(text) | {"sha256": "0" * 64}),
        lambda text: json.dumps(json.loads(text) | {"sha256": None}),
        lambda text: json.dumps(list(json.loads(text))),
    ],
)
def test_a_damaged_record_is_not_believed(
    tmp_path: Path, file: Path, reads: list[Path], damage: Callable[[str], str]
) -> None:
    store = Store(tmp_path / "store")
    store.file_digest(file)
    record = only_record(store)
    record.write_text(damage(whole := record.read_text()))
    assert store.file_digest(file) == file_digest(file)
    assert (len(reads), record.read_text()) == (2, whole)


def test_links_to_a_file_share_its_record_and_a_renamed_file_is_read_again(
    tmp_path: Path, file: Path, reads: list[Path]
) -> None:
    store = Store(tmp_path / "store")
    (link := tmp_path / "link").symlink_to(file)
    assert store.file_digest(file) == store.file_digest(link)
    assert len(reads) == 1
    store.file_digest(file.rename(tmp_path / "elsewhere"))
    assert len(reads) == 2


def test_a_store_that_cannot_be_written_remembers_nothing(tmp_path: Path, file: Path, reads: list[Path]) -> None:
    store = Store(tmp_path / "store")
    store.digests.folder.write_text("")  # no folder can be made there, whoever tries
    assert store.file_digest(file) == store.file_digest(file) == file_digest(file)
    assert len(reads) == 2


def _ask(root: Path, file: Path) -> None:
    for _ in range(20):
        assert Store(root).file_digest(file) == file_digest(file)
        for record in (root / "digests").iterdir():
            record.unlink(missing_ok=True)


def test_processes_remember_the_same_file_at_once(tmp_path: Path, file: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_ask, args=(tmp_path / "store", file)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0


def test_entries_are_read_once_and_by_verify_and_always(tmp_path: Path, reads: list[Path]) -> None:
    store = Store(tmp_path)
    entry = store.get_or_build(KEY, lambda workspace: write("content", workspace)).path
    for _ in range(3):
        assert store.find(KEY)
    assert len(reads) == 1
    content, record = entry / "content.txt", only_record(store)
    rewritten(content, b"CONTENT")
    store.digests._write(FileState.of(content, content.stat()), json.loads(record.read_text())["sha256"])
    assert store.find(KEY)  # what no status tells
    assert Store(tmp_path, verify="always").find(KEY) is None
    with pytest.raises(Damaged):
        check(entry)
    with pytest.raises(SystemExit, match="1"):
        main(["verify", "--store", str(tmp_path)])


def test_a_wrong_digest_damages_no_entry(tmp_path: Path) -> None:
    store = Store(tmp_path)
    entry = store.get_or_build(KEY, lambda workspace: write("content", workspace)).path
    content = entry / "content.txt"
    store.digests._write(FileState.of(content, content.stat()), "0" * 64)
    assert store.find(KEY)


def test_gc_removes_what_is_remembered_of_files_that_are_gone(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "store")
    (other := tmp_path / "other").write_bytes(b"another")
    store.file_digest(file)
    kept = only_record(store)
    store.file_digest(other)
    (store.digests.folder / ".left.json.partial").write_text("")
    other.unlink()
    for dry, said in (["--dry-run"], "Would remove"), ([], "Removed"):
        main(["gc", "--older-than", "1d", *dry, "--store", str(store.root)])
        assert f"{said} 2 remembered digests of files" in capsys.readouterr().out
    assert only_record(store) == kept
    main(["ls", "--store", str(store.root)])
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 entries")


def test_a_file_that_is_not_there_is_no_remembered_one(tmp_path: Path, file: Path) -> None:
    digests = RememberedDigests(tmp_path)
    digests.digest(file)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        digests.digest(file)
