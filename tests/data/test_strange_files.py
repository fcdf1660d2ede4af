"""What is read of folders with pipes and links in them, of banners, and of names and captions that aren't Unicode."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Resize

from secmi_exp.configuration.components import component
from secmi_exp.data import image_formats, preprocessing
from secmi_exp.data.image_formats import from_16_bits, open_image
from secmi_exp.data.index_files import read_indices, read_list
from secmi_exp.data.preprocessing import Preprocessing
from secmi_exp.errors import UserError
from secmi_exp.run_warnings import collect_warnings
from secmi_exp.testing import compose_config
from tests.data.hostile_cases import bare, bomb, both
from tests.support.captioned import image_files, imagefolder, loaded
from tests.support.published import crops, photographs, tiny_imagenet
from tests.support.published import loaded as published

NAMES = [f"{i}.png" for i in range(10)]


def test_a_pipe_is_an_image_that_cannot_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "A"
    image_files(folder, NAMES)
    os.mkfifo(folder / "x.png")
    with pytest.raises(UserError, match=r"x\.png can't be read \(it is a named pipe, and no file\): repair it, or"):
        loaded(tmp_path, path=folder)
    assert loaded(tmp_path, path=folder, on_error="skip").unreadable == {10: "it is a named pipe, and no file"}


def test_each_real_folder_is_read_once_whatever_links_lead_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "A"
    image_files(folder, [*NAMES[:4], *(f"sub/{name}" for name in NAMES[4:])])
    (folder / "latest").symlink_to(".")
    (folder / "0-first").symlink_to("sub")  # by its name before the folder itself, which is read all the same
    (folder / "sub/up").symlink_to("..")
    with collect_warnings() as warnings:
        images = loaded(tmp_path, path=folder)
    assert list(images.ids) == [*NAMES[:4], *(f"sub/{name}" for name in NAMES[4:])]
    (warning,) = warnings
    assert warning.code == "folders_linked_again"
    assert "3 links below" in warning.sentence


def test_links_to_folders_and_files_elsewhere_are_followed(tmp_path: Path) -> None:
    image_files(tmp_path / "elsewhere", ["deep/a.png", "b.png"])
    (tmp_path / "A").mkdir()
    (tmp_path / "A/more").symlink_to(tmp_path / "elsewhere/deep")
    (tmp_path / "A/c.png").symlink_to("../elsewhere/b.png")
    with collect_warnings() as warnings:
        assert list(loaded(tmp_path, path=tmp_path / "A").ids) == ["c.png", "more/a.png"]
    assert not warnings


def test_tiny_imagenet_has_each_image_once(tmp_path: Path) -> None:
    n = len(tiny_imagenet(tmp_path, 8))
    (tmp_path / "tiny-imagenet-200/train/n0").symlink_to(".")
    assert len(published("tinyin", tmp_path)) == n


@pytest.mark.parametrize("size", [(3, 200), (200, 3), (5, 90), (120, 7)])
def test_of_a_banner_the_part_that_is_needed_is_resized_alone(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    image = Image.fromarray(photographs()[0]).resize(size)
    whole = np.asarray(Compose([Resize(32), CenterCrop(32)])(image)).transpose(2, 0, 1)
    as_before = Preprocessing(32, 3, "after_resize")(image)
    assert (as_before == whole).all()
    monkeypatch.setattr(preprocessing, "MOST_PIXELS", 0)
    part = Preprocessing(32, 3, "after_resize")(image)
    assert np.abs(part.astype(int) - whole).max() <= 1


def test_columns_are_resized_first_where_rows_would_take_more(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(crops(1, 300, 4)[0])
    before = Preprocessing(32, 3, None)(image)
    monkeypatch.setattr(preprocessing, "MOST_PIXELS", 0)
    assert np.abs(Preprocessing(32, 3, None)(image).astype(int) - before).max() <= 1


def test_an_image_of_millions_of_rows_is_refused_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (2, 40)).save(tmp_path / "x.png")
    monkeypatch.setattr(image_formats, "LONGEST_SIDE", 32)
    with pytest.raises(ValueError, match="it has 2 columns and 40 rows, and 32 at most are read"):
        open_image(tmp_path / "x.png")


def test_16_bits_become_8_as_they_did() -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (64, 64)).astype(np.uint16)
    expected = np.rint(values.astype(np.float64) * (255 / 65535)).astype(np.uint8)
    assert (np.asarray(from_16_bits(Image.fromarray(values))) == expected).all()


def test_sizes_beyond_all_sense_are_refused_before_anything_is_read() -> None:
    config = compose_config("dataset=image_folder")
    for name, value in (("crop", 100_000), ("crop", 0), ("image_size", 100_000), ("image_size", [8, 100_000])):
        with pytest.raises(UserError, match=rf"dataset\.{name}=.* can't be used: .*8192"):
            component(OmegaConf.merge(config, {"dataset": {name: value}}), "dataset")  # type: ignore[arg-type]


def test_names_in_latin_1_have_ids_that_every_format_takes(tmp_path: Path) -> None:
    folder = tmp_path / "A"
    image_files(folder, NAMES[:2])
    (folder / NAMES[0]).rename(os.fsdecode(os.fsencode(folder) + b"/\xe9t\xe9.png"))
    assert list(loaded(tmp_path, path=folder).ids) == ["1.png", "\\udce9t\\udce9.png"]
    (folder / "\\udce9t\\udce9.png").write_bytes(b"")
    with pytest.raises(UserError, match="names 1 images more than once"):
        loaded(tmp_path, path=folder)


def test_a_broken_image_of_such_a_name_is_told_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / "A"
    image_files(folder, NAMES)
    Path(os.fsdecode(os.fsencode(folder) + b"/\xe9.png")).write_bytes(b"broken")
    with pytest.raises(UserError, match=r"A/\\udce9\.png can't be read"):
        loaded(tmp_path, path=folder)
    assert len(loaded(tmp_path, path=folder, on_error="skip").unreadable) == 1


def test_halves_of_characters_in_captions_are_replaced_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / "A"
    image_files(folder, NAMES[:3])
    rows = [{"file_name": "0.png", "text": "\ud83d half"}, {"file_name": "1.png", "text": "\ud83d\ude00 whole"}]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with collect_warnings() as warnings:
        images = loaded(tmp_path, path=folder)
    assert images.captions == ["� half", "😀 whole", None]
    assert [(each.code, each.count) for each in warnings] == [("captions_not_unicode", 1)]


def test_names_that_no_file_can_have_are_images_that_cannot_be_read(tmp_path: Path) -> None:
    image_files(tmp_path, NAMES[:1])
    names = ["0.png", "a\0b.png", "\ud83d.png", "y" * 5000]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps({"path": name}) + "\n" for name in names))
    images = loaded(tmp_path, path=tmp_path / "list.jsonl", on_error="skip")
    reasons = ["no file can have such a name", "no file can have such a name", "File name too long"]
    assert list(images.unreadable.values()) == reasons
    assert images.ids[2] == "\\ud83d.png"


def test_an_array_is_refused_by_its_header(tmp_path: Path) -> None:
    (tmp_path / "rows.npy").write_bytes(bare((10**13,)))
    with pytest.raises(UserError, match=r"rows\.npy lists 10000000000000 rows, but the dataset has 100 samples"):
        read_list(tmp_path / "rows.npy", 100)
    (tmp_path / "rows.npz").write_bytes(both(b"no array"))
    with pytest.raises(UserError, match=r"rows\.npz can't be read as \.npz: the magic string is not correct"):
        read_indices(tmp_path / "rows.npz", None, None, samples=100)


def test_arrays_in_either_order_of_memory_are_read_as_numpy_does(tmp_path: Path) -> None:
    image_files(tmp_path / "A", [f"images/{i}.jpg" for i in range(3)])
    rows = np.asfortranarray([[str(i), f"text {i}"] for i in range(3)]).astype(">U8")
    np.save(tmp_path / "A/captions.npy", rows)
    assert loaded(tmp_path, path=tmp_path / "A").captions == ["text 0", "text 1", "text 2"]


def test_yaml_that_stands_for_a_trillion_rows_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "rows.yaml").write_text(bomb("1"))
    with pytest.raises(UserError, match="can't be read as YAML: it has aliases") as refused:
        read_indices(tmp_path / "rows.yaml", None, None, samples=100)
    assert len(str(refused.value)) < 300


def test_a_sentence_quotes_no_more_of_a_file_than_can_be_read(tmp_path: Path) -> None:
    imagefolder(tmp_path, [{"file_name": ["x\x1b[2J" * 10_000], "text": "a"}])
    with pytest.raises(UserError, match=r"The column file_name is \['x\\x1b\[2J") as refused:
        loaded(tmp_path, path=tmp_path)
    assert len(str(refused.value)) < 500
    sentence = str(UserError("\x1b[2J" + "y" * 10_000 + "\nmend it."))
    assert sentence.isprintable()
    assert sentence.endswith("mend it.")
    assert len(sentence) <= 1200
