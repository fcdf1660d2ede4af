"""Captions: which of several a sample gets, which count as none, and that they decide no pixel."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from secmi_exp.data.captions import CaptionChoice
from secmi_exp.data.digits import Digits
from secmi_exp.data.images import Images
from secmi_exp.errors import UserError
from secmi_exp.store import Store
from tests.support.captioned import coco, encoded, image_files, imagefolder, loaded, pictures, table

HERE = Path("table")
NAMES = [f"{i:04d}" for i in range(200)]


def chosen(cells: list[object], names: list[str], which: str = "first", seed: int = 0) -> list[str | None] | None:
    return CaptionChoice("text", which, seed).choose(cells, names, HERE)  # type: ignore[arg-type]


def test_the_first_caption_is_the_first_that_says_anything() -> None:
    cells: list[object] = ["one", ["two", "three"], [" ", None, " four\n"], [], None, "", "\t"]
    assert chosen(cells, NAMES[:7]) == ["one", "two", "four", None, None, None, None]


def test_no_captions_at_all_are_none_altogether() -> None:
    assert chosen([None, "", []], NAMES[:3]) is None


@given(order=st.permutations(range(12)), n=st.integers(1, 12), seed=st.integers(0, 3))
def test_a_random_caption_depends_on_seed_and_id_alone(order: list[int], n: int, seed: int) -> None:
    cells: list[object] = [["a", "b", "c", "d", "e"]] * 12
    whole = chosen(cells, NAMES[:12], "random", seed)
    some = chosen(cells[:n], [NAMES[row] for row in order[:n]], "random", seed)
    assert whole is not None
    assert some == [whole[row] for row in order[:n]]


def test_random_captions_are_spread_and_differ_by_seed() -> None:
    cells: list[object] = [["a", "b", "c", "d", "e"]] * 200
    draws = [chosen(cells, NAMES, "random", seed) for seed in (0, 1)]
    assert draws[0] is not None
    assert all(20 < draws[0].count(caption) < 60 for caption in "abcde")
    assert draws[0] != draws[1]


@pytest.mark.parametrize("cell", [7, 0, 2.5, True, ["a", 7], b"bytes", {"a": "b"}])
def test_a_caption_that_is_no_text_is_refused(cell: object) -> None:
    with pytest.raises(UserError, match=r"The caption of 0000 in table is .*, which is no text"):
        chosen([cell], ["0000"])


def test_lists_of_captions_are_chosen_from_in_every_layout_that_has_them(tmp_path: Path) -> None:
    several = [[f"{row}, {turn}" for turn in range(5)] for row in range(20)]
    made = table([encoded(image) for image in pictures(20)], text=several)
    made.to_parquet(tmp_path / "table.parquet")
    made.save_to_disk(tmp_path / "saved")
    coco(tmp_path / "coco", dict(enumerate(several)))
    names = [f"{row:02d}.png" for row in range(20)]
    image_files(tmp_path / "folder", names)
    imagefolder(tmp_path / "folder", [{"file_name": n, "text": t} for n, t in zip(names, several, strict=True)])
    for name in ("table.parquet", "saved", "coco", "folder"):
        assert loaded(tmp_path, path=tmp_path / name).captions == [captions[0] for captions in several]
        drawn = loaded(tmp_path, path=tmp_path / name, caption="random").captions
        assert drawn is not None
        assert all(caption in captions for caption, captions in zip(drawn, several, strict=True))
        assert len({str(caption)[-1] for caption in drawn}) > 2
        assert loaded(tmp_path, path=tmp_path / name, caption="random", seed=1).captions != drawn


def test_a_column_that_is_not_there_is_missed_where_another_may_hold_captions(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    contents = [encoded(image) for image in pictures(2)]
    for name, columns in {"other": {"caption": ["a", "b"]}, "bare": {}}.items():
        made = table(contents, **columns)
        made.to_parquet(tmp_path / f"{name}.parquet")
        made.save_to_disk(tmp_path / f"{name}-saved")
        image_files(tmp_path / f"{name}-folder", ["a.png", "b.png"])
        rows: list[dict[str, object]] = [{"file_name": "a.png"}, {"file_name": "b.png"}]
        imagefolder(tmp_path / f"{name}-folder", [row | {key: key for key in columns} for row in rows])
    for kind in (".parquet", "-saved", "-folder"):
        assert loaded(tmp_path, path=tmp_path / f"bare{kind}").captions is None
        assert "caption" not in caplog.text
        assert loaded(tmp_path, path=tmp_path / f"other{kind}").captions is None
        assert "has no column text" in caplog.text
        assert "if they are in caption, set dataset.caption_column" in caplog.text
        caplog.clear()
        assert loaded(tmp_path, path=tmp_path / f"other{kind}", caption_column="caption").captions is not None


def test_captions_decide_no_pixel(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    coco(tmp_path / "coco", {row: [f"{row}, {turn}" for turn in range(5)] for row in range(9)})
    first = loaded(tmp_path, path=tmp_path / "coco")
    drawn = loaded(tmp_path, path=tmp_path / "coco", caption="random", seed=3)
    assert first.captions != drawn.captions
    assert caplog.text.count("Decoding") == 1
    rows = np.array([4, 2, 7])
    assert first.select(rows).texts == ["4, 0", "2, 0", "7, 0"]
    assert first.select(rows).digest == drawn.select(rows).digest


def test_captions_stay_behind_when_images_go_to_another_process(tmp_path: Path) -> None:
    coco(tmp_path / "coco", {row: [str(row)] for row in range(4)})
    images = loaded(tmp_path, path=tmp_path / "coco").select(np.array([3, 1]))
    elsewhere = pickle.loads(pickle.dumps(images))  # noqa: S301  (our own)
    assert elsewhere.captions is None
    assert elsewhere.texts == [None, None]
    assert (elsewhere[:] == images[:]).all()
    assert elsewhere.digest == images.digest


def test_images_without_captions_have_no_texts() -> None:
    assert Images.from_pixels(pictures(3)).texts == [None] * 3


def test_digits_say_what_they_show(tmp_path: Path) -> None:
    fields = {"name": "digits", "source": "", "licence": "", "image_size": 8, "channels": 1, "crop": None}
    dataset = Digits(**fields, horizontal_flip=False, on_error="stop")  # type: ignore[arg-type]
    images = dataset.load(Store(tmp_path / "store"), progress_bar=False)
    assert images.captions is not None
    assert len(images.captions) == 1797
    sevens = np.flatnonzero(load_digits().target == 7)
    assert set(images.select(sevens).texts) == {"a handwritten seven"}
    assert len(set(images.captions)) == 10
