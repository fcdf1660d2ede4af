"""Images of one's own: every mode and size, folders and lists, broken files, and mistakes told in a sentence."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from secmi_exp.data.image_folder import ImageFolder
from secmi_exp.data.images import ImageSet
from secmi_exp.errors import UserError
from secmi_exp.store import Store
from tests.support.published import crops
from tests.support.runs import MEMORIZING, run_here


def folder_of(path: Path, n: int, seed: int = 0, size: int = 40) -> list[Path]:
    path.mkdir(parents=True)
    for i, pixels in enumerate(crops(n, size, size, seed)):
        Image.fromarray(pixels).save(path / f"{i:03d}.png")
    return sorted(path.iterdir())


def dataset(**fields: object) -> ImageFolder:
    defaults: dict[str, object] = {
        "name": "own", "source": "", "licence": "", "path": None, "members": None, "holdout": None, "image_size": 16,
        "channels": 3, "crop": "square", "horizontal_flip": False, "on_error": "stop", "caption_column": "text",
        "caption": "first", "seed": 0,
    }  # fmt: skip
    return ImageFolder(**(defaults | fields))  # type: ignore[arg-type]


def loaded(root: Path, **fields: object) -> ImageSet:
    return dataset(**fields).load(Store(root / "store"), progress_bar=False)


def test_any_mode_size_format_and_depth_is_read(tmp_path: Path) -> None:
    source = Image.fromarray(crops(1, 50, 70)[0])
    deep = tmp_path / "images/a/b"
    deep.mkdir(parents=True)
    files = {
        "images/rgb.jpg": source,
        "images/gray.jpeg": source.convert("L"),
        "images/a/palette.png": source.convert("P"),
        "images/a/alpha.PNG": source.convert("RGBA"),
        "images/a/b/ink.jpg": source.convert("CMYK"),
        "images/a/b/bits.png": source.convert("1"),
        "images/a/b/small.webp": source.resize((5, 9)),
        "images/a/b/deep.png": Image.fromarray(np.asarray(source.convert("L")).astype(np.uint16) * 257),
    }
    for name, image in files.items():
        image.save(tmp_path / name)
    (tmp_path / "images/notes.txt").write_text("not an image")
    images = loaded(tmp_path, path=tmp_path / "images")
    assert list(images.ids) == sorted(name.removeprefix("images/") for name in files)
    assert images.pixels.shape == (8, 3, 16, 16)
    by_name = dict(zip(images.ids, images.pixels.astype(int), strict=True))
    gray = by_name["a/b/deep.png"]
    assert np.abs(gray - by_name["gray.jpeg"]).mean() < 3  # sixteen bits come down to eight, not clipped to white
    assert np.abs(by_name["rgb.jpg"] - by_name["a/b/ink.jpg"]).mean() < 10


def test_crop_decides_between_the_middle_and_all_of_an_image(tmp_path: Path) -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255
    (tmp_path / "images").mkdir()
    Image.fromarray(wide).save(tmp_path / "images/wide.png")
    assert (loaded(tmp_path, path=tmp_path / "images", crop="square").pixels == 255).all()
    squeezed = loaded(tmp_path, path=tmp_path / "images", crop=None).pixels
    assert squeezed.min() == 0
    assert squeezed.max() == 255


def test_folders_of_members_and_holdouts_state_the_membership(tmp_path: Path) -> None:
    folder_of(tmp_path / "A", 3, seed=1)
    folder_of(tmp_path / "B/nested", 2, seed=2)
    images = loaded(tmp_path, members=tmp_path / "A", holdout=tmp_path / "B")
    assert images.is_member is not None
    assert images.is_member.tolist() == [True, True, True, False, False]
    assert images.ids[0] == "members/000.png"
    assert images.ids[-1] == "holdout/nested/001.png"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_list_names_images_and_may_state_the_membership(tmp_path: Path, suffix: str) -> None:
    folder_of(tmp_path / "images", 4)
    table = {"path": ["images/002.png", "images/000.png", "images/003.png"], "is_member": [1, 0, 1]}
    file = tmp_path / f"list{suffix}"
    if suffix == ".csv":
        rows = [",".join(table), *(f"{path},{member}" for path, member in zip(*table.values(), strict=True))]
        file.write_text("\n".join(rows))
    else:
        pq.write_table(pa.table(table), file)
    images = loaded(tmp_path, path=file)
    assert list(images.ids) == table["path"]
    assert images.is_member is not None
    assert images.is_member.tolist() == [True, False, True]
    ordered = loaded(tmp_path, path=tmp_path / "images")
    assert (images.pixels == ordered.pixels[[2, 0, 3]]).all()


def test_a_changed_mind_about_the_membership_is_heeded(tmp_path: Path) -> None:
    folder_of(tmp_path / "images", 2)
    for first, second in ((1, 0), (0, 1)):
        (tmp_path / "list.csv").write_text(f"path,is_member\nimages/000.png,{first}\nimages/001.png,{second}\n")
        images = loaded(tmp_path, path=tmp_path / "list.csv")
        assert images.is_member is not None
        assert images.is_member.tolist() == [first, second]


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-200])


def no_image(file: Path) -> None:
    file.write_text("hello")


@pytest.mark.parametrize("damage", [truncated, no_image])
def test_a_broken_image_stops_the_run_and_is_named_or_is_left_out_and_counted(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    files = folder_of(tmp_path / "images", 6)
    damage(files[2])
    with pytest.raises(UserError, match=r"002\.png can't be read") as raised:
        loaded(tmp_path, path=tmp_path / "images")
    assert str(files[2]) in str(raised.value)
    assert not [*tmp_path.glob("store/images/*"), *tmp_path.glob("store/work/*")]
    images = loaded(tmp_path, path=tmp_path / "images", on_error="skip")
    assert list(images.unreadable) == [2]
    assert images.readable.tolist() == [True, True, False, True, True, True]
    assert "1 of 6 images can't be read and are left out" in caplog.text
    with pytest.raises(UserError, match=r"002\.png can't be read"):  # what is kept with a gap doesn't pass for whole
        loaded(tmp_path, path=tmp_path / "images")


def test_an_image_too_large_to_be_honest_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_of(tmp_path / "images", 1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match="decompression bomb"):
        loaded(tmp_path, path=tmp_path / "images")


def test_a_changed_file_is_decoded_again_and_an_unchanged_folder_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    files = folder_of(tmp_path / "images", 3)
    before = loaded(tmp_path, path=tmp_path / "images")
    (tmp_path / "images").rename(tmp_path / "moved")
    assert (loaded(tmp_path, path=tmp_path / "moved").pixels == before.pixels).all()
    assert caplog.text.count("Decoding") == 1
    (tmp_path / "moved" / files[1].name).write_bytes((tmp_path / "moved" / files[0].name).read_bytes())
    after = loaded(tmp_path, path=tmp_path / "moved")
    assert (after.pixels[1] == before.pixels[0]).all()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "here: none of them"),
        ({"members": "A"}, "here: dataset.members=A"),
        ({"path": "A", "holdout": "A"}, "here: dataset.path=A, dataset.holdout=A"),
        ({"path": "missing"}, "There is no folder .*missing"),
        ({"path": "empty"}, "There are no images in .*empty"),
        ({"path": "missing.csv"}, "The list .*missing.csv can't be read"),
        ({"path": "bad.csv"}, "has the columns file, and none named path"),
        ({"path": "twice.csv"}, "names 1 images more than once"),
        ({"path": "gone.csv"}, r"gone.png can't be read \(there is no such file\): .* dataset.on_error=skip"),
        ({"path": "unsure.csv"}, "is_member is empty in line 3 of unsure.csv"),
        ({"path": "vague.csv"}, "is_member is 'perhaps' in line 2 of vague.csv, where true, false, 1 or 0 is needed"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder_of(Path("A"), 2)
    Path("empty").mkdir()
    Path("bad.csv").write_text("file\nA/000.png\n")
    Path("twice.csv").write_text("path\nA/000.png\nA/000.png\n")
    Path("gone.csv").write_text("path\nA/gone.png\n")
    Path("unsure.csv").write_text("path,is_member\nA/000.png,true\nA/001.png,\n")
    Path("vague.csv").write_text("path,is_member\nA/000.png,perhaps\n")
    with pytest.raises(UserError, match=sentence):
        loaded(tmp_path, **fields)


def test_whole_path_with_stated_sides_a_broken_image_and_duplicates(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    members = folder_of(tmp_path / "A", 12, seed=1)
    holdouts = folder_of(tmp_path / "B", 14, seed=2)
    holdouts[3].write_bytes(members[5].read_bytes())
    truncated(holdouts[0])
    arguments = ["dataset=image_folder", f"dataset.members={tmp_path}/A", f"dataset.holdout={tmp_path}/B"]
    arguments += ["dataset.on_error=skip", "dataset.image_size=16"]
    arguments += ["split.attack_train=0.5", "split.members=null", "split.holdouts=null"]
    folder = run_here(tmp_path, "+attack=stat", "attack.t_sec=20", "attack.t_max=20", *arguments, base=MEMORIZING)
    split = json.loads((folder / "results.json").read_text())["split"]
    assert (split["members"], split["holdouts"]) == (12, 13)
    assert split["unreadable"] == 1
    assert split["holdouts_equal_to_a_member"] == 1
    assert split["share_of_dataset"] == pytest.approx(25 / 26)
    assert "the first of them: holdout/003.png" in caplog.text
    scores = pq.read_table(folder / "scores.parquet").to_pydict()
    for name, is_member in zip(scores["id"], scores["is_member"], strict=True):
        assert name.startswith("members/" if is_member else "holdout/")
