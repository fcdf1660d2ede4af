"""Image files of every kind of pixel, made byte by byte where Pillow writes none."""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 8
GRAY = np.linspace(0, 255, SIDE * SIDE).reshape(SIDE, SIDE).round().astype(np.uint8)
"""From black to white."""
COLOUR = np.stack([GRAY, GRAY[::-1], GRAY.T], axis=-1)


def tiff(data: bytes, bits: Sequence[int], *, photometric: int = 1, kind: int = 1, extra: int | None = None) -> bytes:
    """An uncompressed TIFF file.

    Args:
        data: of its pixels, little-endian.
        bits: of each sample of a pixel.
        photometric: 0: white is zero, 1: black is zero, 2: RGB.
        kind: of the samples, 1: unsigned, 2: signed, 3: floating-point.
        extra: what the last sample is, 1: transparency that the colours were multiplied by, 2: transparency.
    """
    short, long = 3, 4
    n = len(bits)
    tags = {256: SIDE, 257: SIDE, 259: 1, 262: photometric, 277: n, 278: SIDE, 279: len(data), 339: kind}
    tags |= {} if extra is None else {338: extra}
    offset = 8 + 2 + 12 * (len(tags) + 2) + 4
    tags |= {258: offset if n > 2 else sum(each << 16 * place for place, each in enumerate(bits)), 273: offset + 2 * n}
    content = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    for tag in sorted(tags):
        kept = long if tag in (273, 279) or (tag == 258 and n > 2) else short
        content += struct.pack("<HHII", tag, short if tag == 258 else kept, n if tag == 258 else 1, tags[tag])
    return content + struct.pack(f"<I{n}H", 0, *bits) + data


def png(data: NDArray[np.uint16], colour_type: int) -> bytes:
    """A PNG file of 16 bits a sample: 2: RGB, 4: gray with transparency."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in data)
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, colour_type, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def twelve_bits() -> bytes:
    """GRAY with 12 bits a pixel, packed."""
    values = np.rint(GRAY.astype(float) * 4095 / 255).astype(int).ravel()
    bits = "".join(f"{value:012b}" for value in values)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def with_orientation(file: Path, pixels: NDArray[np.uint8], orientation: int) -> Path:
    """Save an image that states an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"lossless": True} if file.suffix == ".webp" else {}
    Image.fromarray(pixels).save(file, exif=exif, **options)
    return file
