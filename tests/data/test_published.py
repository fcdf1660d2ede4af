"""Every published dataset, read from files in its genuine format: the authors' pixels and order, and end to end."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from sklearn.datasets import load_digits
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

from secmi_exp.data import torchvision_readers
from secmi_exp.data.digits import read_digits
from secmi_exp.data.tiny_imagenet import EXTENSIONS
from secmi_exp.errors import UserError
from tests.support.commands import CONF
from tests.support.published import MAKERS, celeba, dataset, idx, loaded, tiny_imagenet
from tests.support.runs import run_here

WHOLE = ["trainer=cpu", "target=memorizing", "evaluation.bootstrap_rounds=200"]
NUMBER = 60
BUNDLED = [("lfw", (100, 1, 24, 24)), ("digits", (1797, 1, 8, 8)), ("mnist5k", (5000, 1, 16, 16))]


def by_torchvision(name: str, root: Path) -> torch.Tensor:
    """What the authors' loaders give: torchvision's reader and transforms. [N, C, 32, 32], uint8."""
    datasets = torchvision.datasets
    small = Compose([Resize(32), PILToTensor()])
    reader = {
        "cifar10": lambda: datasets.CIFAR10(root, train=True, transform=PILToTensor()),
        "cifar100": lambda: datasets.CIFAR100(root, train=True, transform=PILToTensor()),
        "stl10u": lambda: datasets.STL10(root, split="unlabeled", transform=small),
        "svhn": lambda: datasets.SVHN(root / "svhn", split="train", transform=PILToTensor()),
        "celeba": lambda: datasets.CelebA(root, split="train", transform=Compose([CenterCrop(140), small])),
        "mnist": lambda: datasets.MNIST(root, train=True, download=True, transform=small),
        "fashion_mnist": lambda: datasets.FashionMNIST(root, train=True, download=True, transform=small),
        "kmnist": lambda: datasets.KMNIST(root, train=True, download=True, transform=small),
        "tinyin": lambda: datasets.ImageFolder(root / "tiny-imagenet-200/train", transform=small),
    }[name]()
    return torch.stack([image for image, _ in reader])


@pytest.mark.parametrize("kind", torchvision_readers.FINGERPRINTS)
def test_fingerprints_are_those_of_the_checksums_that_torchvision_accepts(kind: str) -> None:
    checksums = [getattr(getattr(torchvision.datasets, kind), name, None) for name in ("train_list", "split_list")]
    content = repr((kind, torchvision_readers.PARTS[kind], checksums))
    assert torchvision_readers.FINGERPRINTS[kind] == hashlib.sha256(content.encode()).hexdigest()


def test_what_stands_for_torchvision_in_the_code_is_torchvisions() -> None:
    for kind, checksum in torchvision_readers.IDX_MD5.items():
        assert getattr(torchvision.datasets, kind).resources[0] == ("train-images-idx3-ubyte.gz", checksum)
    partition = [md5 for _, md5, name in torchvision.datasets.CelebA.file_list if name == "list_eval_partition.txt"]
    assert partition == [torchvision_readers.CELEBA_PARTITION_MD5]
    assert EXTENSIONS == IMG_EXTENSIONS


def test_digits_are_those_of_scikit_learn() -> None:
    digits = load_digits()
    assert (read_digits() == np.column_stack([digits.data, digits.target])).all()


@pytest.mark.parametrize("name", MAKERS)
def test_pixels_and_order_are_those_of_the_authors_loaders(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MAKERS[name](tmp_path, monkeypatch, NUMBER)
    images = loaded(name, tmp_path)
    assert (torch.from_numpy(np.array(images.pixels)) == by_torchvision(name, tmp_path)).all()
    assert len(set(images.ids)) == len(images) > 40


@pytest.mark.parametrize(
    "name",
    [name if name == "tinyin" else pytest.param(name, marks=pytest.mark.slow) for name in MAKERS],
)
def test_whole_path_runs_on_genuine_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MAKERS[name](tmp_path, monkeypatch, NUMBER)
    attack = "nn" if name == "tinyin" else "stat"
    short = ["attack.t_sec=20", "attack.t_max=20"]
    short += ["attack.scorers.nn.network=small", "attack.scorers.nn.small.steps=[4]"] if attack == "nn" else []
    folder = run_here(tmp_path, f"+attack={attack}", f"dataset={name}", f"paths.data={tmp_path}", *short, base=WHOLE)
    results = json.loads((folder / "results.json").read_text())
    assert (results["dataset"], results["attack"]) == (name, attack)
    n = len(by_torchvision(name, tmp_path))
    assert (results["split"]["members"], results["split"]["holdouts"]) == (n // 2, n - n // 2)
    assert np.isfinite(results["metrics"]["auc"])


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "tinyin"])
def test_missing_files_are_named_with_their_source_and_place(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=str(tmp_path)) as raised:
        loaded(name, tmp_path, "dataset.download=false")
    assert "http" in str(raised.value)
    assert not [*(tmp_path / "store/work").iterdir()]


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MAKERS["cifar10"](tmp_path, monkeypatch, NUMBER)
    batch = tmp_path / "cifar-10-batches-py/data_batch_3"
    batch.write_bytes(batch.read_bytes() + b"\0")
    with pytest.raises(UserError, match="corrupted"):
        loaded("cifar10", tmp_path, "dataset.download=false")


def test_packed_files_alone_are_enough_and_the_unpacked_ones_are_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = idx(tmp_path, monkeypatch, "MNIST", NUMBER)
    (tmp_path / "MNIST/raw/train-images-idx3-ubyte").write_bytes(b"something else")
    found = loaded("mnist", tmp_path, "dataset.download=false", "dataset.image_size=28")
    assert (found.pixels[:, 0] == images).all()


def test_a_packed_file_that_is_not_the_published_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    idx(tmp_path, monkeypatch, "KMNIST", NUMBER)
    packed = tmp_path / "KMNIST/raw/train-images-idx3-ubyte.gz"
    packed.write_bytes(packed.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz is corrupted: delete it"):
        loaded("kmnist", tmp_path)


def test_unpacked_files_alone_are_refused_with_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    idx(tmp_path, monkeypatch, "MNIST", NUMBER)
    torchvision.datasets.MNIST(tmp_path, download=True)
    for packed in (tmp_path / "MNIST/raw").glob("*.gz"):
        packed.unlink()
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz: No such file"):
        loaded("mnist", tmp_path)
    (tmp_path / "MNIST/raw/train-images-idx3-ubyte").write_bytes(bytes(4))
    with pytest.raises(UserError, match=r"AssertionError"):
        loaded("mnist", tmp_path)


def test_missing_tiny_imagenet_is_explained_with_the_exact_place(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cs231n\.stanford\.edu/tiny-imagenet-200\.zip") as raised:
        loaded("tinyin", tmp_path)
    assert f"{tmp_path}/tiny-imagenet-200/train/n01443537/images/n01443537_0.JPEG" in str(raised.value)


def test_tiny_imagenet_ids_are_paths(tmp_path: Path) -> None:
    files = tiny_imagenet(tmp_path, 8)
    train = tmp_path / "tiny-imagenet-200/train"
    assert list(loaded("tinyin", tmp_path).ids) == [str(file.relative_to(train)) for file in files]


def test_celeba_is_its_training_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = celeba(tmp_path, monkeypatch, 8)
    assert list(loaded("celeba", tmp_path).ids) == [f"celeba/{file.name}" for file in files]


def test_a_second_start_needs_neither_the_published_files_nor_their_checksums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MAKERS["cifar10"](tmp_path, monkeypatch, NUMBER)
    first = loaded("cifar10", tmp_path)
    (tmp_path / "cifar-10-batches-py").rename(tmp_path / "elsewhere")
    again = loaded("cifar10", tmp_path)
    assert isinstance(again.pixels, np.memmap)
    assert (again.pixels == first.pixels).all()


@pytest.mark.parametrize(("name", "shape"), BUNDLED)
def test_bundled_images_need_no_files(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    assert loaded(name, tmp_path).pixels.shape == shape


def test_every_dataset_names_source_licence_size_and_channels() -> None:
    for file in (CONF / "dataset").glob("*.yaml"):
        made = dataset(file.stem, *(["dataset.path=x"] if file.stem == "image_folder" else []))
        assert made.source
        assert made.licence
        assert made.image_size >= 8
        assert made.channels in (1, 3)
