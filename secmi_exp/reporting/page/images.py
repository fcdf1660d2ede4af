"""Figures of the runs' directories inside the page: made smaller, each once, as many as the page has room for."""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from secmi_exp.errors import first_line
from secmi_exp.files.regular import read_regular
from secmi_exp.reporting.entries import Entry

BUDGET = 5_000_000
"""Characters of all images of a page."""
WIDEST = 1200
"""Pixels; a figure of a run has 810 or 1,530."""
MOST_PIXELS = 2**25
"""Of an image, before it is made smaller; a figure of a run has some millions."""
MOST_BYTES = 2**26
"""Of its file."""
MOST = 40
"""Images of one kind."""


@dataclass(frozen=True)
class EmbeddedImage:
    """An image inside the page."""

    source: str
    """A data URI."""
    width: int
    height: int
    names: list[str]
    """Entries whose runs have this very image."""


@dataclass
class Gallery:
    """Images of one kind."""

    subject: str
    """What they show, for those who don't see them."""
    images: list[EmbeddedImage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Sentences about images that are missing."""


@dataclass
class Album:
    """Images that a page contains, within its budget."""

    left: int = BUDGET
    """Characters that may still be used."""

    def gallery(self, entries: Iterable[Entry], file_name: str, subject: str) -> Gallery | None:
        """Embed one kind of figure of all runs; None if no run has it.

        Args:
            entries: the ones that come first are embedded first.
            file_name: the figure's in the runs' directories.
            subject: what it shows.
        """
        contents = _read_distinct(entries, file_name)
        if not contents:
            return None
        gallery, left_out = Gallery(subject), 0
        for content, names in contents.items():
            if len(gallery.images) == MOST:
                left_out += 1
                continue
            try:
                source, size = _embed(content)
            except (OSError, ValueError, Image.DecompressionBombError) as error:
                reason = first_line(error)[:120]
                gallery.notes.append(f"{file_name} of {', '.join(names)} can't be read: {reason}.")
                continue
            if len(source) > self.left:
                left_out += 1
                continue
            self.left -= len(source)
            gallery.images.append(EmbeddedImage(source, *size, names))
        if left_out:
            gallery.notes.append(
                f"{left_out} more {'is' if left_out == 1 else 'are'} left out, of lower AUC, to keep the page small: "
                f"{file_name} in the runs' directories."
            )
        return gallery


def _read_distinct(entries: Iterable[Entry], file_name: str) -> dict[bytes, list[str]]:
    """Return content → names of the entries whose runs have it; unreadable files are left out."""
    contents: dict[bytes, list[str]] = {}
    seen: set[Path] = set()
    for entry in entries:
        path = entry.run.folder / file_name
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        try:
            content = read_regular(path, MOST_BYTES)
        except OSError:
            continue
        contents.setdefault(content, []).append(entry.name)
    return contents


def _embed(content: bytes) -> tuple[str, tuple[int, int]]:
    """Return a data URI, and width and height."""
    with Image.open(io.BytesIO(content), formats=["PNG"]) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise ValueError(f"it has {opened.width}×{opened.height} pixels, and is no figure")
        image = opened.convert("RGB")
    image.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    image.save(encoded, "WEBP", quality=82, method=3)
    return f"data:image/webp;base64,{base64.b64encode(encoded.getvalue()).decode('ascii')}", image.size
