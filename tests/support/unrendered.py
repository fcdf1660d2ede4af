"""Figures that are composed and not rendered, for tests that look at what else is written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from PIL import Image

from secmi_exp.reporting import drawing


def save_a_pixel(path: Path, *arguments: object, **options: object) -> None:
    """Save a picture in a figure's place."""
    Image.new("RGB", (1, 1)).save(path)


@contextmanager
def unrendered_figures() -> Iterator[None]:
    """Leave out the layout and the rendering, which take most of the time."""
    with patch.object(drawing, "save", lambda figure, layout, path: save_a_pixel(path)):
        yield
