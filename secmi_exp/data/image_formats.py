"""Which image files are read, and what a pixel of each type is in 8 bits."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from secmi_exp.files.regular import refuse_irregular

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""Pillow's names of the formats that are read. It gets them whenever an image is opened: otherwise it would start
Ghostscript for a file that is EPS, whatever the file's name."""
EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
"""Suffixes of the files that a folder is searched for, in lower case."""
UNREAD_EXTENSIONS = (
    ".apng", ".arw", ".avif", ".avifs", ".cr2", ".cr3", ".dcm", ".dib", ".dng", ".eps", ".exr", ".hdr", ".heic",
    ".heif", ".hif", ".ico", ".j2k", ".jp2", ".jpf", ".jpx", ".jxl", ".mpo", ".nef", ".orf", ".pbm", ".pcx", ".pfm",
    ".pgm", ".pnm", ".ppm", ".ps", ".psd", ".qoi", ".raf", ".raw", ".rw2", ".svg", ".svgz", ".tga", ".xcf",
)  # fmt: skip
"""Suffixes of images in formats that are not read."""
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation → what turns such an image upright; 1 is upright."""
LONGEST_SIDE = 2**20
"""Pixels of a file's image; Pillow takes memory for each row, however short."""
STRAIGHT_ALPHA = {"La": "LA", "RGBa": "RGBA"}
"""Modes whose colours are multiplied by their transparency → those where they aren't."""
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
"""TIFF's tags."""
WHITE_IS_ZERO, SIGNED = 0, 2
"""Values of the latter two."""


def open_image(source: str | Path | BinaryIO) -> Image.Image:
    """An image's header; Pillow decodes it when the pixels are asked for.

    Raises:
        UnidentifiedImageError: for content of another format than `FORMATS`, whatever its name.
        OSError: where there is no such file, it can't be read, or is a pipe or the like.
        ValueError: for a side longer than `LONGEST_SIDE`; Pillow itself refuses more than 179 million pixels.
    """
    if isinstance(source, str | Path):
        refuse_irregular(source)
    try:
        image = Image.open(source, formats=FORMATS)
    except UnidentifiedImageError as error:  # whose own words are a path, or the address of a buffer
        formats = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise UnidentifiedImageError(f"cannot identify its content as {formats}") from error
    if max(image.size) > LONGEST_SIDE:
        image.close()
        raise ValueError(f"it has {image.width} columns and {image.height} rows, and {LONGEST_SIDE} at most are read")
    return image


def has_several_frames(image: Image.Image) -> bool:
    """Whether it is an animation or has several pages, of which the first is taken.

    JPEG files as phones take them, with a depth map or a preview behind the photograph, don't count.
    """
    return bool(getattr(image, "is_animated", False)) and image.format != "MPO"


def exif_orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 … 8; 1 where it states none, or something else. Decodes the image.

    Pillow turns TIFF images upright itself when it decodes them, so that theirs is 1.
    """
    image.load()
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # by the kind of damage; the pixels don't depend on it
        return 1
    return orientation if orientation in TRANSPOSITIONS else 1


def with_8_bits(image: Image.Image, mode: str) -> Image.Image:
    """An image in mode L or RGB. Transparency is ignored, as `Image.convert` and so the usual trainers do.

    Args:
        image: in any mode.
        mode: L (ITU-R 601 luma) or RGB.

    Raises:
        ValueError: for signed, 32-bit and floating-point pixels, of which nobody knows what is black and what white.
    """
    if isinstance(image, TiffImageFile):
        refuse_signed(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):  # Pillow 10 has I for PNG
        image = from_16_bits(image)
    if image.mode[0] in "IF":
        kind = "32-bit integers" if image.mode[0] == "I" else "floating-point numbers"
        raise ValueError(f"its pixels are {kind}, whose black and white nobody knows: save it with 8 or 16 bits")
    if image.mode in STRAIGHT_ALPHA:
        image = image.convert(STRAIGHT_ALPHA[image.mode])
    return image if image.mode == mode else image.convert(mode)


def from_16_bits(image: Image.Image) -> Image.Image:
    """Gray of 16 bits, or of as many as a TIFF file states, as 8 bits: 0 stays 0, the greatest value becomes 255."""
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    greatest = 2 ** tags.get(BITS_PER_SAMPLE, (16,))[0] - 1
    values = np.arange(2**16) * (255 / greatest)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:  # which Pillow heeds for 8 bits and fewer
        values = 255 - values
    return Image.fromarray(np.rint(values).astype(np.uint8)[np.asarray(image)])


def refuse_signed(image: TiffImageFile) -> None:
    """Refuse a TIFF file of signed pixels, which Pillow takes for unsigned ones where they have 8 bits.

    Raises:
        ValueError: for signed ones.
    """
    if SIGNED in image.tag_v2.get(SAMPLE_FORMAT, ()):
        raise ValueError("its pixels are signed integers, whose black and white nobody knows: save it unsigned")
