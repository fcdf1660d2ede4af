"""Membership that is stated twice is compared, wherever the second statement comes from."""

from pathlib import Path

import numpy as np
import pytest

from secmi_exp.data.membership import Statement, refuse_contradiction
from secmi_exp.errors import UserError
from tests.support.captioned import image_files, loaded

NAMES = [f"{row}.png" for row in range(6)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six images, three lists of them: half members by their column, all of them, and none."""
    image_files(tmp_path, NAMES)
    for name, members in {"half": 3, "all": 6, "none": 0}.items():
        rows = [f"{image},{row < members}" for row, image in enumerate(NAMES)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["path,is_member", *rows]))
    return tmp_path


def test_statements_that_agree_are_no_mistake() -> None:
    said = np.array([True, False])
    refuse_contradiction(Statement("one", said), Statement("the other", said.copy()), ["a", "b"], "mend it")


@pytest.mark.parametrize(
    ("members", "holdout", "sentence"),
    [
        (
            "half",
            "none",
            r"dataset\.members and its column is_member disagree on 3 of 6 .* first of them 3\.png",
        ),
        (
            "all",
            "half",
            r"dataset\.holdout and its column is_member disagree on 3 of 6 .* first of them 0\.png",
        ),
        ("none", "all", r"\(a member by dataset\.members, a hold-out by its column is_member\): give the list as"),
    ],
)
def test_lists_whose_own_column_contradicts_the_side_are_refused(
    root: Path, members: str, holdout: str, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        loaded(root, members=root / f"{members}.csv", holdout=root / f"{holdout}.csv")


def test_lists_whose_own_column_says_the_same_are_taken(root: Path) -> None:
    images = loaded(root, members=root / "all.csv", holdout=root / "none.csv")
    assert images.is_member is not None
    assert images.is_member.tolist() == [True] * 6 + [False] * 6
