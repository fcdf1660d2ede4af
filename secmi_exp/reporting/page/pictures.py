"""Figures of the runs' directories inside the page: made smaller, each once, as many as the page has room for."""

import base64
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from secmi_exp.errors import first_line
from secmi_exp.regular_files import read_regular
from secmi_exp.reporting.page.entries import Entry
from secmi_exp.reporting.page.markup import Html, element, empty, joined

BUDGET = 5_000_000
"""Characters that all pictures of a page may take."""
WIDEST = 1200
"""Pixels; a figure of a run has 810 or 1,530."""
MOST_PIXELS = 2**25
"""Of a picture, before it is made smaller; a figure of a run has some millions."""
MOST_BYTES = 2**26
"""Of its file."""
MOST = 40
"""Pictures of one kind."""
OPEN = 4
"""Pictures that are shown before the others are asked for."""


@dataclass
class Album:
    """Pictures that a page has taken in, and what it had no room for."""

    left: int = BUDGET
    """Characters that may still be used."""

    def gallery(self, entries: Iterable[Entry], name: str, subject: str) -> Html | None:
        """One kind of figure of all runs, the leading ones first; runs with the very same figure share it.

        Args:
            entries: whose runs may have it.
            name: of its file.
            subject: what it shows, for those who don't see it.
        """
        sheets = _sheets(entries, name)
        if not sheets:
            return None
        figures: list[Html] = []
        lacking: list[str] = []
        left_out = 0
        for sheet in sheets:
            if len(figures) == MOST:
                left_out += 1
                continue
            try:
                source, size = _embedded(sheet.content)
            except (OSError, ValueError, Image.DecompressionBombError) as error:
                lacking.append(f"{name} of {', '.join(sheet.names)} can't be read: {first_line(error)[:120]}.")
                continue
            if len(source) > self.left:
                left_out += 1
                continue
            self.left -= len(source)
            figures.append(_figure(sheet, source, size, subject))
        if left_out:
            lacking.append(
                f"{left_out} more {'is' if left_out == 1 else 'are'} left out, of lower AUC, to keep the page small: "
                f"{name} in the runs' directories."
            )
        notes = [element("p", sentence, class_="quiet") for sentence in lacking]
        more = figures[OPEN:]
        folded = element(
            "details", element("summary", f"{len(more)} more, of lower AUC"), element("div", *more, class_="pictures")
        )
        return joined([element("div", *figures[:OPEN], class_="pictures"), folded if more else None, *notes])


@dataclass
class _Sheet:
    content: bytes
    names: list[str] = field(default_factory=list)


def _sheets(entries: Iterable[Entry], name: str) -> Sequence[_Sheet]:
    sheets: dict[bytes, _Sheet] = {}
    seen: set[Path] = set()
    for entry in entries:
        path = entry.run.folder / name
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        try:
            content = read_regular(path, MOST_BYTES)
        except OSError:
            continue
        sheets.setdefault(hashlib.sha256(content).digest(), _Sheet(content)).names.append(entry.name)
    return list(sheets.values())


def _embedded(content: bytes) -> tuple[str, tuple[int, int]]:
    """A data URI, and width and height."""
    with Image.open(io.BytesIO(content), formats=["PNG"]) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise ValueError(f"it has {opened.width}×{opened.height} pixels, and is no figure")
        image = opened.convert("RGB")
    image.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    image.save(encoded, "WEBP", quality=82, method=3)
    return f"data:image/webp;base64,{base64.b64encode(encoded.getvalue()).decode('ascii')}", image.size


def _figure(sheet: _Sheet, source: str, size: tuple[int, int], subject: str) -> Html:
    first, *others = sheet.names
    shared = f" The same for {', '.join(others)}." if others else ""
    caption = element("figcaption", element("strong", first), shared)
    image = empty("img", src=source, width=size[0], height=size[1], alt=f"{subject}: {first}")
    return element("figure", image, caption)
