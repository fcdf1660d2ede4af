"""Decoding: the same in parallel as one by one, continued where it was killed, and opened again without a copy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from secmi_exp.data import decoding, decoding_processes
from secmi_exp.data.decoding_processes import DecodedBatches
from secmi_exp.data.images import ImageSet, pixel_digests
from secmi_exp.data.samples import ArraySamples, ImageFiles
from tests.support.decoded import SMALL, decoded
from tests.support.published import crops


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    (tmp_path / "images").mkdir()
    for i, pixels in enumerate(crops(70, 16, 16)):
        Image.fromarray(pixels).save(tmp_path / f"images/{i:02d}.png")
    (tmp_path / "images/41.png").write_text("no image")
    paths = sorted(map(str, (tmp_path / "images").iterdir()))
    return ImageFiles(paths, [Path(path).name for path in paths])


@pytest.mark.usefixtures("without_tmpdir")
def test_several_processes_give_what_one_gives(
    files: ImageFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = decoded(files, tmp_path / "one")
    monkeypatch.setattr(decoding_processes, "BATCH", 8)
    monkeypatch.setattr(decoding_processes, "SAMPLES_A_WORKER", 1)
    monkeypatch.setattr(decoding_processes, "usable_processors", lambda: 2)
    two = decoded(files, tmp_path / "two")
    assert (one.pixels == two.pixels).all()
    assert (one.digests == two.digests).all()
    assert one.unreadable == two.unreadable
    assert list(two.unreadable) == [41]


def test_large_images_are_decoded_fewer_at_a_time(files: ImageFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_processes, "BATCH_BYTES", 5 * 3 * 8 * 8)
    batches = decoding_processes.decoded_in_order(files, SMALL, 70, 0, False)
    assert [len(batch.pixels) for batch in batches] == [5] * 14


def test_killed_decoding_continues_where_it_was(
    files: ImageFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = decoded(files, tmp_path / "whole")
    monkeypatch.setattr(decoding_processes, "BATCH", 8)
    monkeypatch.setattr(decoding, "SAVE_EVERY_S", 0.0)
    in_order, starts = decoding_processes.decoded_in_order, []

    def killed(samples: Any, preprocessing: Any, n: int, start: int, progress_bar: bool) -> Iterator[Any]:
        starts.append(start)
        for i, batch in enumerate(in_order(samples, preprocessing, n, start, progress_bar)):
            if len(starts) == 1 and i == 6:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(decoding_processes, "decoded_in_order", killed)
    with pytest.raises(KeyboardInterrupt):
        decoded(files, tmp_path / "killed")
    again = decoded(files, tmp_path / "killed")
    assert starts == [0, 48]
    assert (again.pixels == whole.pixels).all()
    assert (again.digests == whole.digests).all()
    assert list(again.unreadable) == [41]


def test_pixels_are_mapped_and_batches_copied(tmp_path: Path) -> None:
    images = decoded(ArraySamples("made", "made", lambda: crops(9, 8, 8)), tmp_path / "made")
    assert isinstance(images.pixels, np.memmap)
    some = images.select(np.array([5, 2, 7]))
    assert some.pixels is images.pixels
    batch = some[1:]
    assert (batch == images.pixels[[2, 7]]).all()
    batch[:] = 0
    assert some[1:].any()
    assert list(images.ids) == [f"made/{row}" for row in range(9)]


def test_digests_name_content_order_and_shape() -> None:
    pixels = crops(6, 8, 8).transpose(0, 3, 1, 2)
    images = ImageSet(pixels, pixel_digests(pixels), ["?"] * 6, {}, None)
    same = ImageSet(pixels[::-1].copy(), pixel_digests(pixels[::-1]), ["?"] * 6, {}, None)
    rows = np.array([1, 4])
    assert images.select(rows).digest == same.select(5 - rows).digest
    assert images.select(rows).digest != images.select(rows[::-1]).digest
    flat = pixels.reshape(6, 3, 4, 16)
    assert (pixel_digests(flat) == images.digests).all()
    assert ImageSet(flat, images.digests, ["?"] * 6, {}, None).select(rows).digest != images.select(rows).digest


def test_a_batch_tells_why_a_sample_could_not_be_read(files: ImageFiles) -> None:
    batch = DecodedBatches(files, SMALL)[slice(40, 43)]
    assert list(batch.unreadable) == [41]
    assert batch.sizes.any(axis=1).tolist() == [True, False, True]
    assert batch.orientations.tolist() == [1, 0, 1]
    assert "cannot identify its content as JPEG, PNG" in batch.unreadable[41]
    assert batch.pixels.reshape(3, -1).any(axis=1).tolist() == [True, False, True]
