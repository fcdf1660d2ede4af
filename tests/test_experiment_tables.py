"""What experiments/README.md shows is what its result files hold."""

from pathlib import Path

import pytest

from experiments.tables import markdown
from tests.conftest import REPOSITORY


@pytest.mark.parametrize("file", sorted((REPOSITORY / "experiments/results").glob("*.csv")), ids=lambda file: file.stem)
def test_a_table_shows_its_file(file: Path) -> None:
    assert markdown(file) in (REPOSITORY / "experiments/README.md").read_text(encoding="utf-8")
