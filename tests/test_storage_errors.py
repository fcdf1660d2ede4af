"""Errors of the file system, by whatever library raised, become sentences that name the right folder."""

import errno
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import save_file

from secmi_exp.errors import UserError
from secmi_exp.files import arrays, storage_errors
from secmi_exp.files.arrays import create_array
from secmi_exp.files.log_files import LogFile
from secmi_exp.files.storage_errors import StorageLocation, explain_storage_errors, storage_sentence
from secmi_exp.reporting.terminal import terminal
from tests.support.private_mounts import run_mounted, small
from tests.support.processes import largest_file


def store_at(folder: Path) -> StorageLocation:
    return StorageLocation("the store", folder, "paths.store")


NUMBERS = np.random.default_rng(0).random(50_000)

WRITERS: dict[str, Callable[[Path], object]] = {
    "torch": lambda path: torch.save(torch.from_numpy(NUMBERS), path),
    "safetensors": lambda path: save_file({"x": torch.from_numpy(NUMBERS)}, path),
    "npy": lambda path: np.save(path, NUMBERS),
    "npz": lambda path: np.savez(path, NUMBERS),
    "parquet": lambda path: pa.parquet.write_table(pa.table({"x": NUMBERS}), path),
    "text": lambda path: path.write_text("x" * 400_000, encoding="utf-8"),
    "reserved": lambda path: create_array(path, NUMBERS.shape, NUMBERS.dtype),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_whatever_library_writes_the_sentence_names_the_folder_and_the_limit(
    tmp_path: Path, write: Callable[[Path], object]
) -> None:
    with (
        pytest.raises(UserError) as raised,
        largest_file(20_000),
        explain_storage_errors(store_at(tmp_path)),
    ):
        write(tmp_path / "file")
    told = str(raised.value)
    assert told.startswith(f"The store {tmp_path} can't take a file larger than 20.0 kB, this process's limit")
    assert "or set paths.store to a folder elsewhere; the same command then continues" in told
    assert "\n" not in told


@pytest.mark.slow
def test_a_full_disk_is_told_with_what_is_needed_and_free_whatever_library_writes(tmp_path: Path) -> None:
    program = f"""
import sys; from pathlib import Path
from tests.test_storage_errors import WRITERS, store_at, explain_storage_errors, UserError
for name, write in WRITERS.items():
    try:
        with explain_storage_errors(store_at(Path({str(tmp_path)!r}))):
            write(Path({str(tmp_path)!r}) / "file")
    except UserError as error:
        print(name, error)
    for file in Path({str(tmp_path)!r}).iterdir():
        file.unlink()
"""
    ended = run_mounted(small(tmp_path, "100k"), program)
    assert ended.returncode == 0, ended.stderr
    told = dict(line.split(" ", 1) for line in ended.stdout.splitlines())
    assert told.keys() == WRITERS.keys()
    assert all(sentence.startswith(f"The store {tmp_path} has no room left (") for sentence in told.values()), told
    assert "where 400.1 kB are needed and 102.4 kB are free" in told["reserved"]


def raising(number: int, *names: str | None) -> OSError:
    return OSError(number, os.strerror(number), *([names[0], None, names[1]] if len(names) == 2 else names))


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "has no room left (No space left on device), where .* are free: make room there, or set paths"),
        (errno.EDQUOT, "has used up its disk quota (Disk quota exceeded)"),
        (errno.EFBIG, "can't take a file larger than its file system allows (File too large)"),
        (errno.ENOLCK, "is on a file system without file locks (No locks available): have it mounted with locks"),
        (errno.EOPNOTSUPP, "is on a file system without file locks (Operation not supported)"),
        (errno.EROFS, "can't be written or read (Read-only file system)"),
        (errno.EACCES, "can't be written or read (Permission denied)"),
        (errno.EIO, "has failed (Input/output error): check its disk or its connection"),
        (errno.ESTALE, "has failed (Stale file handle)"),
        (errno.EMFILE, "can't be used (Too many open files): raise the limit of open files"),
    ],
)
def test_each_error_is_told_with_what_to_do(tmp_path: Path, number: int, told: str) -> None:
    sentence = storage_sentence(raising(number), store_at(tmp_path))
    assert sentence
    for part in told.split(".*"):
        assert f"The store {tmp_path} " in sentence
        assert part in sentence


def test_the_file_that_an_error_names_decides_which_folder_is_told(tmp_path: Path) -> None:
    place = store_at(tmp_path / "store")
    named = storage_sentence(raising(errno.EACCES, str(tmp_path / "store/target/x.json")), place)
    assert named
    assert named.startswith(f"The store {tmp_path}/store can't be written or read (Permission denied, at x.json)")
    elsewhere = storage_sentence(raising(errno.EIO, str(tmp_path / "data/1.png")), place)
    assert elsewhere
    assert elsewhere.startswith(f"The folder {tmp_path}/data has failed")
    copied = storage_sentence(raising(errno.ENOSPC, "/data/from.bin", str(tmp_path / "store/to.bin")), place)
    assert copied
    assert copied.startswith(f"The store {tmp_path}/store has no room left (No space left on device, at to.bin)")


def test_a_full_folder_of_temporary_files_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (temporary := tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(storage_errors, "free_bytes", lambda folder: 0 if folder == temporary else 10**9)
    sentence = storage_sentence(raising(errno.ENOSPC), store_at(tmp_path / "store"))  # of a file without a name
    assert sentence
    assert sentence.startswith(f"The folder of temporary files {temporary} has no room left")
    assert "or set the environment variable TMPDIR to a folder elsewhere" in sentence


@pytest.mark.parametrize(
    "error", [ValueError("shapes differ"), KeyError("errno"), FileNotFoundError(2, "No such file"), RuntimeError("28")]
)
def test_other_errors_stay_what_they_are(error: Exception, tmp_path: Path) -> None:
    assert storage_sentence(error, store_at(tmp_path)) is None
    with pytest.raises(type(error)), explain_storage_errors(store_at(tmp_path)):
        raise error


def test_a_sentence_is_not_told_anew_by_whoever_encloses_it(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"^The store .*/inner "),
        explain_storage_errors(store_at(tmp_path / "outer")),
        explain_storage_errors(store_at(tmp_path / "inner")),
    ):
        raise raising(errno.EDQUOT)


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL])
def test_where_room_cant_be_reserved_zeros_are_written(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: int) -> None:
        raise raising(number)

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    monkeypatch.setattr(arrays, "ZEROS", 1000)
    create_array(tmp_path / "zeros.npy", (300, 7), np.dtype(np.int32))
    assert np.array_equal(np.load(tmp_path / "zeros.npy"), np.zeros((300, 7), np.int32))
    assert (tmp_path / "zeros.npy").stat().st_blocks * 512 >= 300 * 7 * 4


def test_an_array_has_its_room_and_one_that_has_none_leaves_nothing(tmp_path: Path) -> None:
    create_array(tmp_path / "a.npy", (1000, 8), np.dtype(np.float64))
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= 64_000
    with pytest.raises(OSError, match="File too large"), largest_file(1000):
        create_array(tmp_path / "b.npy", (1000, 8), np.dtype(np.float64))
    assert not (tmp_path / "b.npy").exists()


def test_decoding_into_a_full_disk_ends_in_an_exception_and_no_signal(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
import numpy as np
from secmi_exp.data.decoded_rows import ARRAYS, DecodedRows
from secmi_exp.files.storage_errors import storage_sentence
workspace = Path({str(tmp_path)!r}, "w"); (workspace / "scratch").mkdir(parents=True)
image, n = (1, 64, 64), 100
rows = {{name: np.ones((n, *(image if shape is None else shape)), dtype) for name, (shape, dtype) in ARRAYS.items()}}
try:
    DecodedRows(workspace, n, image).append(rows, {{}})
except OSError as error:
    print(storage_sentence(error))
"""
    ended = run_mounted(small(tmp_path, "200k"), program)
    assert ended.returncode == 0, ended
    assert "has no room left (No space left on device, at pixels.npy), where 409.7 kB are needed and " in ended.stdout


def test_a_log_that_cant_be_written_is_given_up_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler, log = LogFile(tmp_path / "run.log"), logging.Logger("test")
    log.addHandler(handler)
    log.info("kept")
    with largest_file(10):
        log.info("lost")
        log.info("lost")
    handler.close()
    assert (tmp_path / "run.log").read_text().startswith("kept\n")
    assert (
        capsys.readouterr().err
        == f"The log {tmp_path}/run.log can't be written ([Errno 27] File too large): the run goes on without it.\n"
    )


def test_standard_output_that_is_full_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(UserError, match=r"Standard output can't be written \(No space left on device\)"):
            terminal().print("a result")
        monkeypatch.undo()
