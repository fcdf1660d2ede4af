"""What tests of figures share."""

from collections.abc import Iterator
from typing import Any

import pytest
from matplotlib.figure import Figure

from tests.support.unrendered import unrendered_figures


@pytest.fixture
def unrendered() -> Iterator[None]:
    """The figures of this test are composed and not rendered."""
    with unrendered_figures():
        yield


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, as they were drawn."""
    figures: list[Figure] = []
    save = Figure.savefig

    def record(self: Figure, *arguments: Any, **more: Any) -> None:
        figures.append(self)
        save(self, *arguments, **more)

    monkeypatch.setattr(Figure, "savefig", record)
    return figures
