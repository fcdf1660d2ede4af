"""Image files of other formats and pixel types: read rightly, or counted and named, never black or without a word."""

import io
from pathlib import Path

import datasets
import numpy as np
import PIL
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from packaging.version import Version
from PIL import Image

from secmi_exp.data.captions import CaptionChoice
from secmi_exp.data.image_folder import find_samples
from secmi_exp.data.image_formats import open_image
from secmi_exp.data.preprocessing import Preprocessing
from secmi_exp.errors import UserError
from secmi_exp.run_warnings import RunWarning, collect_warnings
from tests.support.captioned import loaded
from tests.support.image_files import COLOUR, GRAY, SIDE, png, tiff, twelve_bits, with_orientation
from tests.support.published import crops

FIRST = CaptionChoice("text", "first", 0)


def prepared(content: bytes, channels: int = 3) -> NDArray[np.int64]:
    """What models see of an image file of 8×8 pixels, [C, 8, 8]."""
    with open_image(io.BytesIO(content)) as image:
        return Preprocessing(SIDE, channels, None)(image).astype(np.int64)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


DEEP = GRAY.astype("<u2") * 257
GRAYS = {
    "PNG of 16 bits": saved(Image.fromarray(DEEP), "PNG"),
    "PNG of 16 bits with transparency": png(np.stack([DEEP, DEEP[::-1]], axis=-1), 4),
    "TIFF of 16 bits": saved(Image.fromarray(DEEP), "TIFF"),
    "TIFF of 16 bits, big-endian": saved(Image.fromarray(DEEP.astype(">u2")), "TIFF", compression="tiff_lzw"),
    "TIFF of 16 bits, white is zero": tiff((65535 - DEEP).astype("<u2").tobytes(), [16], photometric=0),
    "TIFF of 12 bits": tiff(twelve_bits(), [12]),
    "TIFF of 8 bits, white is zero": tiff((255 - GRAY).tobytes(), [8], photometric=0),
    "PNG with transparency": saved(Image.merge("LA", [Image.fromarray(GRAY)] * 2), "PNG"),
    "TIFF with transparency": tiff(np.stack([GRAY, GRAY[::-1]], axis=-1).tobytes(), [8, 8], extra=2),
    "TIFF multiplied by its transparency": tiff(
        np.stack([GRAY, np.full_like(GRAY, 255)], axis=-1).tobytes(), [8, 8], extra=1
    ),
    "BMP": saved(Image.fromarray(GRAY), "BMP"),
    "GIF": saved(Image.fromarray(GRAY), "GIF"),
}


@pytest.mark.parametrize("kind", GRAYS)
@pytest.mark.parametrize("channels", [1, 3])
def test_gray_of_every_depth_is_what_it_is_in_8_bits(kind: str, channels: int) -> None:
    if kind == "TIFF multiplied by its transparency" and Version(PIL.__version__) < Version("13"):
        pytest.skip("Pillow before 13 can't read it, so that it is refused as other formats are")
    assert (prepared(GRAYS[kind], channels) == np.stack([GRAY] * channels)).all()


PALETTE = Image.fromarray(COLOUR).quantize(64)
COLOURS = {
    "PNG of 16 bits": (png(COLOUR.astype(np.uint16) * 257, 2), COLOUR),
    "TIFF of 16 bits": (tiff((COLOUR.astype("<u2") * 257).tobytes(), [16] * 3, photometric=2), COLOUR),
    "TIFF": (saved(Image.fromarray(COLOUR), "TIFF"), COLOUR),
    "BMP": (saved(Image.fromarray(COLOUR), "BMP"), COLOUR),
    "CMYK": (saved(Image.fromarray(COLOUR).convert("CMYK"), "TIFF"), COLOUR),
    "GIF": (saved(PALETTE, "GIF"), np.asarray(PALETTE.convert("RGB"))),
    "palette with transparency": (
        saved(PALETTE, "PNG", transparency=bytes(range(64))), np.asarray(PALETTE.convert("RGB")),
    ),
    "black and white": (saved(Image.fromarray(GRAY).convert("1"), "PNG"), np.stack(
        [np.asarray(Image.fromarray(GRAY).convert("1").convert("L"))] * 3, axis=-1
    )),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Palette images")
@pytest.mark.parametrize("kind", COLOURS)
def test_colours_of_every_kind_are_what_they_are_in_8_bits(kind: str) -> None:
    content, expected = COLOURS[kind]
    assert (prepared(content) == expected.transpose(2, 0, 1)).all()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (saved(Image.fromarray(GRAY.astype(np.float32)), "TIFF"), "floating-point numbers, whose black and white"),
        (tiff(GRAY.astype("<u4").tobytes(), [32]), "32-bit integers, whose black and white"),
        (tiff(GRAY.astype("<i2").tobytes(), [16], kind=2), "signed integers"),
        (tiff(GRAY.tobytes(), [8], kind=2), "signed integers"),
    ],
)
def test_pixels_without_a_black_and_a_white_are_refused(content: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        prepared(content)


def folder_of_formats(folder: Path) -> list[str]:
    folder.mkdir()
    names = ["a.png", "b.bmp", "c.tif", "d.TIFF", "e.gif", "f.jfif", "g.jpe", "h.webp"]
    for name, pixels in zip(names, crops(len(names), 24, 24), strict=True):
        kind = {".jfif": "JPEG", ".jpe": "JPEG"}.get(Path(name).suffix)
        Image.fromarray(pixels).save(folder / name, kind)
    return names


def test_every_format_of_the_list_is_read_and_others_are_counted_and_named(tmp_path: Path) -> None:
    names = folder_of_formats(tmp_path / "images")
    for name in ("x.heic", "y.HEIC", "z.avif"):
        (tmp_path / "images" / name).write_bytes(b"\0\0\0\x18ftyp")
    with collect_warnings() as warnings:
        images = loaded(tmp_path, path=tmp_path / "images")
    assert list(images.ids) == names
    assert not images.unreadable
    assert [(warning.code, warning.count) for warning in warnings] == [("images_not_read", 3)]
    assert "(2 .heic, 1 .avif; the first of them x.heic)" in warnings[0].sentence


def test_images_beside_tables_of_images_are_counted(tmp_path: Path) -> None:
    folder_of_formats(tmp_path / "images")
    cell = {"bytes": GRAYS["BMP"], "path": None}
    pq.write_table(pa.table({"image": [cell, cell]}), tmp_path / "images/data.parquet")
    with collect_warnings() as warnings:
        assert len(find_samples(tmp_path / "images", FIRST).ids()) == 2
    assert [(warning.code, warning.count) for warning in warnings] == [("images_beside_tables_not_read", 8)]


@pytest.mark.parametrize("content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", b"\0\0\0\x18ftypheic"])
def test_content_of_another_format_is_refused_whatever_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    cells = {"image": [{"bytes": content, "path": None}, {"bytes": None, "path": "a.png"}]}
    pq.write_table(pa.table(cells), tmp_path / "table.parquet")
    images = loaded(tmp_path, path=tmp_path / "table.parquet", on_error="skip")
    assert list(images.unreadable) == [0, 1]
    (tmp_path / "table.parquet").unlink()
    with pytest.raises(UserError, match=r"a.png can't be read \(cannot identify its content as JPEG, PNG, WEBP, BMP"):
        loaded(tmp_path, path=tmp_path)


def test_animations_are_counted(tmp_path: Path) -> None:
    folder_of_formats(tmp_path / "images")
    frames = [Image.fromarray(pixels) for pixels in crops(3, 24, 24)]
    for name in ("x.gif", "y.tif", "z.webp"):
        frames[0].save(tmp_path / "images" / name, save_all=True, append_images=frames[1:])
    with collect_warnings() as warnings:
        images = loaded(tmp_path, path=tmp_path / "images")
    assert [(warning.code, warning.count) for warning in warnings] == [("several_frames", 3)]
    assert (images.pixels[-2] == np.asarray(frames[0]).transpose(2, 0, 1)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_an_exif_orientation_is_applied_as_datasets_does(tmp_path: Path, orientation: int, suffix: str) -> None:
    file = with_orientation(tmp_path / f"a{suffix}", crops(1, 24, 16)[0], orientation)
    feature = datasets.Image()
    theirs = np.asarray(feature.decode_example({"path": str(file), "bytes": None})).transpose(2, 0, 1)
    with open_image(file) as image:
        assert (Preprocessing(theirs.shape[1:], 3, None, "apply")(image) == theirs).all()


def codes(warnings: list[RunWarning]) -> list[tuple[str, int | None]]:
    return [(warning.code, warning.count) for warning in warnings]


def test_an_orientation_that_was_not_chosen_is_warned_of_on_every_run(tmp_path: Path) -> None:
    pixels = crops(3, 24, 24)
    for name, turned, orientation in zip(("a.jpg", "b.png", "c.tif"), pixels, (6, 3, 6), strict=True):
        with_orientation(tmp_path / "images" / name, turned, orientation)
    for _ in range(2):  # decoded, then reused
        with collect_warnings() as warnings:
            ignored = loaded(tmp_path, path=tmp_path / "images")
        assert codes(warnings) == [("exif_orientation_not_chosen", 2)]  # Pillow turns TIFF upright whoever reads it
    with collect_warnings() as warnings:
        again = loaded(tmp_path, path=tmp_path / "images", exif="ignore")
        applied = loaded(tmp_path, path=tmp_path / "images", exif="apply")
    assert not warnings
    assert (again.pixels == ignored.pixels).all()
    assert (ignored.pixels[1] == pixels[1].transpose(2, 0, 1)).all()
    assert (applied.pixels[1] == pixels[1][::-1, ::-1].transpose(2, 0, 1)).all()
    assert (applied.pixels[2] == ignored.pixels[2]).all()
    assert len([*tmp_path.glob("store/images/*")]) == 2


def test_a_damaged_exif_costs_no_image(tmp_path: Path) -> None:
    Image.fromarray(crops(1, 24, 24)[0]).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + b"\xff" * 40)
    assert not loaded(tmp_path, path=tmp_path, exif="apply").unreadable
