"""Captions of the images in a folder: nested metadata, text files beside the images, and what looks like either."""

from pathlib import Path

import datasets
import pytest

from secmi_exp.data.captions import CaptionChoice
from secmi_exp.data.image_folder import find_samples
from secmi_exp.errors import UserError
from secmi_exp.run_warnings import collect_warnings
from tests.support.captioned import image_files, imagefolder

FIRST = CaptionChoice("text", "first", 0)


def captions(folder: Path, choice: CaptionChoice = FIRST) -> dict[str, str | None]:
    samples = find_samples(folder, choice)
    return dict(zip(samples.ids(), samples.captions or [None] * len(samples.ids()), strict=True))


def test_metadata_below_the_folder_names_images_beside_it_as_datasets_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "images"
    image_files(folder, ["cats/a.png", "cats/deep/b.png", "dogs/a.png"])
    imagefolder(folder / "cats", [{"file_name": f"{n}.png", "text": f"cat {n}"} for n in ("deep/b", "a")])
    imagefolder(folder / "dogs", [{"file_name": "a.png", "text": "dog a"}])
    assert captions(folder) == {"cats/a.png": "cat a", "cats/deep/b.png": "cat deep/b", "dogs/a.png": "dog a"}
    theirs = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train")
    assert sorted(theirs["text"]) == sorted(str(caption) for caption in captions(folder).values())


def test_nested_metadata_may_differ_in_format_and_leave_images_out(tmp_path: Path) -> None:
    image_files(tmp_path, ["cats/a.png", "dogs/a.png", "dogs/b.png"])
    imagefolder(tmp_path / "cats", [{"file_name": "a.png", "text": "cat"}], "parquet")
    (tmp_path / "dogs/metadata.csv").write_text("file_name,text\na.png,007\n")
    assert captions(tmp_path) == {"cats/a.png": "cat", "dogs/a.png": "007", "dogs/b.png": None}


def test_an_image_that_two_metadata_files_list_is_refused(tmp_path: Path) -> None:
    image_files(tmp_path, ["cats/a.png"])
    imagefolder(tmp_path, [{"file_name": "cats/a.png", "text": "one"}])
    imagefolder(tmp_path / "cats", [{"file_name": "a.png", "text": "another"}])
    with pytest.raises(UserError, match=r"cats/a.png stands in line 1 of .*cats/metadata.jsonl and in line 1 of"):
        captions(tmp_path)


@pytest.mark.parametrize("suffix", [".txt", ".caption"])
def test_captions_beside_the_images(tmp_path: Path, suffix: str) -> None:
    image_files(tmp_path, ["a.png", "deep/b.jpg", "c.png"])
    (tmp_path / f"a{suffix}").write_bytes(b"\xef\xbb\xbf a cat \r\nfrom above\r\n")
    (tmp_path / f"deep/b{suffix}").write_text("a dog")
    (tmp_path / "README.txt").write_text("of no image")
    assert captions(tmp_path) == {"a.png": "a cat", "deep/b.jpg": "a dog", "c.png": None}
    drawn = {captions(tmp_path, CaptionChoice("text", "random", seed))["a.png"] for seed in range(20)}
    assert drawn == {"a cat", "from above"}


def test_captions_in_metadata_go_before_those_beside_the_images(tmp_path: Path) -> None:
    image_files(tmp_path, ["a.png", "b.png"])
    (tmp_path / "a.txt").write_text("beside")
    imagefolder(tmp_path, [{"file_name": "a.png", "text": "metadata"}])
    with collect_warnings() as warnings:
        assert captions(tmp_path) == {"a.png": "metadata", "b.png": None}
    assert [(warning.code, warning.count) for warning in warnings] == [("sidecar_captions_not_read", 1)]
    imagefolder(tmp_path, [{"file_name": "a.png", "label": 3}])
    with collect_warnings() as warnings:
        assert captions(tmp_path) == {"a.png": "beside", "b.png": None}
    assert not warnings


def test_two_captions_beside_an_image_are_refused(tmp_path: Path) -> None:
    image_files(tmp_path, ["a.png"])
    for name in ("a.txt", "a.caption"):
        (tmp_path / name).write_text("a cat")
    with pytest.raises(UserError, match=r"a\.png in .* has two captions beside it, a\.txt and a\.caption"):
        captions(tmp_path)


@pytest.mark.parametrize("name", ["metadata.json", "deep/captions.csv", "Metadata.jsonl"])
def test_tables_beside_images_that_are_not_read_are_named(tmp_path: Path, name: str) -> None:
    image_files(tmp_path, ["a.png", "deep/b.png"])
    (tmp_path / name).write_text('[{"file_name": "a.png", "text": "a cat"}]')
    (tmp_path / "dataset_info.json").write_text("{}")
    with collect_warnings() as warnings:
        captions(tmp_path)
    assert [warning.code for warning in warnings] == ["metadata_not_read"]
    assert warnings[0].sentence.startswith(f"{name} in {tmp_path} is not read")
