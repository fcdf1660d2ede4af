"""What tests of figures share."""

from typing import Any

import pytest
from matplotlib.figure import Figure


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
