"""Images are decoded again exactly where their files' contents may have changed, in whatever layout they lie."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from secmi_exp.data.file_fingerprints import SMALL, files_fingerprint
from secmi_exp.data.image_folder import ImageFolder
from secmi_exp.data.images import ImageSet
from secmi_exp.store import Store, Verify
from tests.support.captioned import encoded, image_files, loaded, pictures, pixels_of

DAY = 1_700_000_000
"""The time of modification that a reproducible archive gives all of its files."""


def write_bitmaps(folder: Path, seed: int) -> None:
    """Uncompressed, so that all files have one size, and all are of one time."""
    folder.mkdir(exist_ok=True)
    for number, pixels in enumerate(pictures(3, seed)):
        file = folder / f"{number}.png"
        Image.fromarray(pixels).save(file, compress_level=0)
        os.utime(file, (DAY, DAY))


def write_path_cells(folder: Path) -> None:
    """A Parquet table of images that lie beside it, but for the first."""
    cells = [{"bytes": encoded(pictures(1)[0]), "path": None}, *({"bytes": None, "path": f"{i}.png"} for i in range(3))]
    pq.write_table(pa.table({"image": pa.array(cells)}), folder / "table.parquet")


def write_saved_cells(folder: Path) -> None:
    """The same, saved by datasets, which would copy the images into the cells if it knew that they are such."""
    cells = [{"bytes": None, "path": f"../{i}.png"} for i in range(3)]
    fields = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    datasets.Dataset.from_dict({"image": cells}, datasets.Features({"image": fields})).save_to_disk(folder / "saved")
    described = folder / "saved/dataset_info.json"
    described.write_text(json.dumps(json.loads(described.read_text()) | {"features": {"image": {"_type": "Image"}}}))


LAYOUTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "files": (lambda folder: None, ""),
    "list": (lambda folder: (folder / "list.csv").write_text("path\n0.png\n1.png\n2.png\n"), "list.csv"),
    "parquet": (write_path_cells, "table.parquet"),
    "saved": (write_saved_cells, "saved"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_images_of_the_same_size_and_time_are_decoded(tmp_path: Path, layout: str) -> None:
    folder = tmp_path / "images"
    write_bitmaps(folder, seed=1)
    write, place = LAYOUTS[layout]
    write(folder)
    before = pixels_of(loaded(tmp_path, path=folder / place)).copy()
    write_bitmaps(folder, seed=2)
    after = pixels_of(loaded(tmp_path, path=folder / place))
    assert (before[-3:] == pictures(3, 1)).all()
    assert (after[-3:] == pictures(3, 2)).all()


def test_folders_of_equal_names_sizes_and_times_are_told_apart(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_bitmaps(tmp_path / str(seed), seed)
    one, two = (pixels_of(loaded(tmp_path, path=tmp_path / str(seed))) for seed in (1, 2))
    assert (one != two).any()


def written(file: Path, content: bytes | bytearray) -> Path:
    file.write_bytes(content)
    os.utime(file, (DAY, DAY))
    return file


@pytest.mark.parametrize("size", [10, SMALL, SMALL + 1])
@pytest.mark.parametrize("changed", [0, -1])
def test_where_no_time_tells_of_a_change_the_blocks_at_both_ends_do(
    tmp_path: Path, size: int, changed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Timeless:
        st_mtime_ns = st_ctime_ns = st_ino = 0
        st_size = size

    monkeypatch.setattr(os, "fstat", lambda file: Timeless)
    content = bytearray(np.random.default_rng(0).bytes(size))
    file = written(tmp_path / "a", content)
    before = files_fingerprint([str(file)], "changed")
    assert files_fingerprint([str(written(file, content))], "changed") == before
    content[changed] ^= 1
    assert files_fingerprint([str(written(file, content))], "changed") != before


def test_always_is_the_content_alone_and_changed_knows_a_moved_folder(tmp_path: Path) -> None:
    content = bytearray(np.random.default_rng(0).bytes(4 * SMALL))
    (tmp_path / "folder").mkdir()
    a, b = written(tmp_path / "folder/a", content), written(tmp_path / "b", content)

    def fingerprints(file: Path) -> dict[Verify, str]:
        return {verify: files_fingerprint([str(file)], verify) for verify in ("changed", "always")}

    of_a, of_b = fingerprints(a), fingerprints(b)
    assert of_a["always"] == of_b["always"]
    assert of_a["changed"] != of_b["changed"]
    (tmp_path / "folder").rename(tmp_path / "moved")
    assert fingerprints(tmp_path / "moved/a") == of_a
    content[2 * SMALL] ^= 1
    assert fingerprints(written(b, content))["always"] != of_b["always"]


def test_a_copy_is_known_again_with_always(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    def of(folder: Path) -> ImageSet:
        fields = {"name": "own", "source": "", "licence": "", "members": None, "holdout": None, "image_size": 8}
        rest = {"channels": 3, "crop": None, "horizontal_flip": False, "on_error": "stop", "seed": 0}
        dataset = ImageFolder(path=folder, caption_column="text", caption="first", **fields, **rest)  # type: ignore
        return dataset.load(Store(tmp_path / "store", verify="always"), progress_bar=False)

    for name in ("a", "b"):
        image_files(tmp_path / name, ["0.png", "1.png"])
        of(tmp_path / name)
    assert caplog.text.count("Decoding") == 1
