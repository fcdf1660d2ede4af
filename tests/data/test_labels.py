"""Class labels of images: from folders, columns and published files, numbered over both sides, read when needed."""

import json
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
import pytest
import torchvision
from sklearn.datasets import load_digits

from secmi_exp.data.captions import CaptionChoice
from secmi_exp.data.digits import NAMES
from secmi_exp.data.image_folder import find_samples
from secmi_exp.data.images import Images
from secmi_exp.data.labels import LabelCells, Labels, read_column
from secmi_exp.data.samples import Sides
from secmi_exp.errors import UserError
from secmi_exp.store import Store
from tests.support.captioned import encoded, image_files, imagefolder, loaded, pictures, table
from tests.support.published import MAKERS, dataset

LABEL = CaptionChoice("text", "first", 0)
ANIMALS = ["dog", "cat"]


def labels_at(path: Path, column: str = "label") -> Labels | None:
    return find_samples(path, CaptionChoice("text", "first", 0, column)).labels


def known(path: Path, column: str = "label") -> Labels:
    labels = labels_at(path, column)
    assert labels
    return labels


def listed(path: Path, cells: Sequence[object], column: str = "label") -> Path:
    """A list of images, by its suffix, whose files are never opened."""
    columns = {"path": [f"{row}.png" for row in range(len(cells))], column: cells}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if path.suffix == ".csv":
        path.write_text("\n".join([",".join(columns), *(f"{row['path']},{row[column]}" for row in rows)]))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        datasets.Dataset.from_dict(columns).to_parquet(path)
    return path


def touched(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_sub_folders_are_classes_numbered_over_both_sides(tmp_path: Path) -> None:
    image_files(tmp_path / "A", ["cat/1.png", "emu/deep/2.png"])
    image_files(tmp_path / "B", ["1.png", "bee/2.png", "cat/3.png"], seed=1)
    images = loaded(tmp_path, members=tmp_path / "A", holdout=tmp_path / "B")
    assert images.labels
    assert images.labels.numbers == [1, 2, None, 0, 1]
    assert images.labels.names == ["bee", "cat", "emu"]
    assert (images.labels.count, images.labels.sorted) == (3, True)
    assert images.select(np.array([4, 2, 0])).classes == [1, None, 1]


def test_numbers_are_those_of_torchvisions_image_folder(tmp_path: Path) -> None:
    touched(tmp_path, "10/a.png", "9/b.png", "Zebra/c.png", "ant/d.png", "ant/deep/e.png")
    theirs = torchvision.datasets.ImageFolder(tmp_path)
    assert known(tmp_path).names == theirs.classes
    assert known(tmp_path).numbers == theirs.targets


def test_images_without_sub_folders_have_no_labels(tmp_path: Path) -> None:
    touched(tmp_path / "A", "1.png"), touched(tmp_path / "B", "cat/1.png")
    plain, labelled = (find_samples(tmp_path / side, LABEL) for side in "AB")
    assert plain.labels is None
    assert Sides(plain, plain).labels is None
    labels = Sides(plain, labelled).labels
    assert labels
    assert labels.numbers == [None, 0]


@pytest.mark.parametrize(
    ("suffix", "cells", "numbers", "names"),
    [
        (".csv", [3, "", 0], [3, None, 0], None),
        (".csv", ["3.0", " 12 ", "-1"], [3, 12, None], None),
        (".csv", ["dog", "cat", "7"], [2, 1, 0], ["7", "cat", "dog"]),
        (".jsonl", [2, None, -1], [2, None, None], None),
        (".jsonl", ["b", None, "a"], [1, None, 0], ["a", "b"]),
        (".parquet", [1.0, float("nan"), 0.0], [1, None, 0], None),
        (".parquet", ["cat", "dog", None], [0, 1, None], ["cat", "dog"]),
    ],
)
def test_a_column_holds_numbers_or_names(
    tmp_path: Path, suffix: str, cells: list[object], numbers: list[int | None], names: list[str] | None
) -> None:
    file = listed(tmp_path / f"list{suffix}", cells)
    assert (known(file).numbers, known(file).names) == (numbers, names)
    assert labels_at(file, "kind") is None
    assert known(listed(file, cells, "kind"), "kind").numbers == numbers


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ([0, True], "label of 1.png in .*list.jsonl is true, where a whole number from 0 on, or a name, is needed"),
        ([1.5], "is 1.5, where a whole number"),
        ([0, -2], "is -2, where a whole number"),
        ([[1, 2]], r"is \[1, 2\], where a whole number"),
        (["cat", 3], "label of 1.png in .* is 3, where a name, as other images have, is needed"),
    ],
)
def test_cells_that_are_no_class_are_refused_when_labels_are_needed(
    tmp_path: Path, cells: list[object], sentence: str
) -> None:
    labels = known(listed(tmp_path / "list.jsonl", cells))
    with pytest.raises(UserError, match=f"{sentence}.*: correct it, or set dataset.label_column"):
        _ = labels.numbers


def test_labels_change_neither_the_store_nor_the_digest_and_are_read_when_needed(tmp_path: Path) -> None:
    image_files(tmp_path / "images", ["a.png", "b.png"])
    plain = loaded(tmp_path, path=tmp_path / "images")
    imagefolder(tmp_path / "images", [{"file_name": "a.png", "label": 1}, {"file_name": "b.png", "label": "cat"}])
    images = loaded(tmp_path, path=tmp_path / "images", label_column="label")
    rows = np.arange(2)
    assert plain.labels is None
    assert images.select(rows).digest == plain.select(rows).digest == Images.from_pixels(np.array(plain.pixels)).digest
    assert len([*(tmp_path / "store/images").iterdir()]) == len([*(tmp_path / "store").glob("*/*/entry.json")]) == 1
    assert images.labels
    with pytest.raises(UserError, match=r"The class label of a.png in .*images is 1, where a name"):
        _ = images.labels.numbers


def test_metadata_has_precedence_over_sub_folders(tmp_path: Path) -> None:
    touched(tmp_path, "cat/1.png", "dog/2.png", "dog/3.png")
    imagefolder(tmp_path, [{"file_name": "dog/3.png", "label": 4}, {"file_name": "cat/1.png", "label": 2}])
    assert known(tmp_path).numbers == [2, None, 4]
    assert known(tmp_path, "kind").numbers == [0, 1, 1]


def test_tables_with_images_and_saved_datasets_have_labels(tmp_path: Path) -> None:
    rows = table([encoded(each) for each in pictures(4)], label=[1, 0, 0, 1], kind=["x", "y", "y", "z"])
    for part in range(2):
        rows.select(range(2 * part, 2 * part + 2)).to_parquet(tmp_path / f"train-{part:05d}-of-00002.parquet")
    assert known(tmp_path).numbers == [1, 0, 0, 1]
    assert known(tmp_path, "kind").numbers == [0, 1, 1, 2]
    assert labels_at(tmp_path, "other") is None
    rows.cast_column("label", datasets.ClassLabel(names=ANIMALS)).save_to_disk(tmp_path / "saved")
    samples = pickle.loads(pickle.dumps(find_samples(tmp_path / "saved", LABEL)))  # noqa: S301
    assert samples.labels.numbers == [1, 0, 0, 1]
    assert (samples.labels.names, samples.labels.sorted) == (ANIMALS, False)
    assert known(tmp_path / "saved", "kind").names == ["x", "y", "z"]


def test_sides_that_number_their_classes_differently_are_refused(tmp_path: Path) -> None:
    numbers = find_samples(listed(tmp_path / "numbers.csv", [0, 5]), LABEL)
    names = find_samples(listed(tmp_path / "names.csv", ["cat", "dog"]), LABEL)
    for members, holdouts in ((numbers, names), (names, numbers)):
        labels = Sides(members, holdouts).labels
        assert labels
        with pytest.raises(UserError, match=r"The classes are names on one of the sides, .*, and numbers on the other"):
            _ = labels.numbers
    rows = table([encoded(each) for each in pictures(2)], label=[0, 1])
    for name, classes in (("one", ANIMALS), ("other", ["dog", "emu"])):
        rows.cast_column("label", datasets.ClassLabel(names=classes)).save_to_disk(tmp_path / name)
    one, other = (find_samples(tmp_path / name, LABEL) for name in ("one", "other"))
    labels = Sides(one, other).labels
    assert labels
    with pytest.raises(UserError, match="'cat' and 'emu' have the same number"):
        _ = labels.numbers
    joined = Sides(one, numbers).labels
    assert joined
    assert (joined.numbers, joined.names, joined.count) == ([0, 1, 0, 5], ANIMALS, 6)


def test_bundled_digits_have_their_digits() -> None:
    for name in ("digits", "mnist5k"):
        samples = dataset(name).samples()
        assert samples.labels
        assert samples.captions
        assert samples.captions[::97] == [
            f"a handwritten {NAMES[number or 0]}" for number in samples.labels.numbers[::97]
        ]
        assert (samples.labels.names, samples.labels.count, samples.labels.sorted) == (NAMES, 10, False)
    labels = dataset("digits").samples().labels
    assert labels
    assert labels.numbers == load_digits().target.tolist()
    assert dataset("lfw").samples().labels is None


@pytest.mark.parametrize(
    ("name", "reader"),
    [("cifar10", "CIFAR10"), ("cifar100", "CIFAR100"), ("svhn", "SVHN"), ("mnist", "MNIST"), ("kmnist", "KMNIST")],
)
def test_published_labels_are_torchvisions_and_kept_in_the_store(
    name: str, reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    made = dataset(name, f"paths.data={root}", "dataset.download=false")
    unread = made.samples().labels
    assert unread
    with pytest.raises(UserError, match="can't be read in"):
        _ = unread.numbers
    MAKERS[name](root, monkeypatch, 12)
    read = made.samples().labels
    assert read
    labels = read.kept(Store(tmp_path / "store"))
    numbers = labels.numbers
    kind = getattr(torchvision.datasets, reader)
    theirs = kind(root / "svhn", split="train") if name == "svhn" else kind(root, train=True, download="mnist" in name)
    assert numbers == np.asarray(theirs.labels if name == "svhn" else theirs.targets).tolist()
    assert len(set(numbers)) > 2
    shutil.rmtree(root)
    again = made.samples().labels
    assert again
    kept = again.kept(Store(tmp_path / "store"))
    assert (kept.numbers, kept.names) == (numbers, labels.names)
    assert labels.names == getattr(theirs, "classes", None)


def test_celeba_and_stl10_have_no_labels_and_tiny_imagenet_its_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MAKERS["celeba"](tmp_path, monkeypatch, 3)
    MAKERS["tinyin"](tmp_path, monkeypatch, 8)
    assert dataset("celeba", f"paths.data={tmp_path}").samples().labels is None
    assert dataset("stl10u", f"paths.data={tmp_path}").samples().labels is None
    labels = dataset("tinyin", f"paths.data={tmp_path}").samples().labels
    assert labels
    assert labels.numbers == torchvision.datasets.ImageFolder(tmp_path / "tiny-imagenet-200/train").targets
    assert labels.count == 4


def test_unpickled_images_have_no_labels(tmp_path: Path) -> None:
    pixels = np.zeros((2, 1, 1, 1), np.uint8)
    images = Images(*(getattr(Images.from_pixels(pixels), name) for name in ("pixels", "digests", "rows")))
    assert images.classes == [None, None]
    labelled = Images(images.pixels, images.digests, images.rows, labels=Labels(lambda: LabelCells([1, 0])))
    assert labelled.classes == [1, 0]
    assert pickle.loads(pickle.dumps(labelled)).labels is None  # noqa: S301


def test_text_that_is_no_unicode_is_a_name_too() -> None:
    cells = read_column(["\udce9t", "1"], ["a", "b"], Path("list.csv"))
    assert cells == LabelCells(["\\udce9t", "1"])
