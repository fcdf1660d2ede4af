"""Small files in the formats in which the datasets are published, with real photographs for pixels.

torchvision's readers verify checksums, so a reader is told those of the made files; nothing else of it is changed.
"""

import gzip
import hashlib
import pickle
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torchvision
from numpy.typing import NDArray
from PIL import Image
from skimage.data import astronaut, coffee

from secmi_exp.data import torchvision_readers
from secmi_exp.data.dataset import Dataset
from secmi_exp.data.images import ImageSet
from secmi_exp.store import Store
from secmi_exp.testing import configured

Pixels = NDArray[np.uint8]


@cache
def photographs() -> tuple[Pixels, Pixels]:
    """Two."""
    return astronaut(), coffee()


def crops(n: int, height: int, width: int, seed: int = 0) -> Pixels:
    """Random pieces of two photographs, [n, height, width, 3]."""
    random = np.random.default_rng(seed)
    pieces = []
    for i in range(n):
        photograph = photographs()[i % 2]
        y, x = (int(random.integers(0, limit)) for limit in np.subtract(photograph.shape[:2], (height, width)))
        pieces.append(photograph[y : y + height, x : x + width])
    return np.stack(pieces)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def cifar(root: Path, monkeypatch: pytest.MonkeyPatch, reader: str, n: int) -> Pixels:
    """Pickled batches: CIFAR-10 has five of them, CIFAR-100 one. Returns the images in the reader's order."""
    kind = getattr(torchvision.datasets, reader)
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    images = crops(n, 32, 32)
    label = "labels" if reader == "CIFAR10" else "fine_labels"

    def dump(name: str, content: dict[str, Any]) -> str:
        (folder / name).write_bytes(pickle.dumps(content))
        return md5(folder / name)

    def batch(name: str, pixels: Pixels) -> list[str]:
        rows = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
        return [name, dump(name, {"data": rows, label: [row % 3 for row in range(len(pixels))]})]

    names = [name for name, _ in kind.train_list]
    parts = np.array_split(images, len(names))
    monkeypatch.setattr(kind, "train_list", [batch(name, part) for name, part in zip(names, parts, strict=True)])
    monkeypatch.setattr(kind, "test_list", [batch(name, images[:1]) for name, _ in kind.test_list])
    meta = dict(kind.meta)
    meta["md5"] = dump(meta["filename"], {meta["key"]: ["a", "b", "c"]})
    monkeypatch.setattr(kind, "meta", meta)
    return images


def stl10(root: Path, monkeypatch: pytest.MonkeyPatch, n: int) -> Pixels:
    """Binaries: column-major channels of 96×96, one after the other."""
    kind = torchvision.datasets.STL10
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    images = crops(n, 96, 96)

    def checksum(name: str) -> list[str]:
        content = np.ones(1, np.uint8) if "_y" in name else images.transpose(0, 3, 2, 1)
        (folder / name).write_bytes(np.ascontiguousarray(content).tobytes())
        return [name, md5(folder / name)]

    monkeypatch.setattr(kind, "train_list", [checksum(name) for name, _ in kind.train_list])
    monkeypatch.setattr(kind, "test_list", [checksum(name) for name, _ in kind.test_list])
    (folder / kind.folds_list_file).write_text("0\n")
    return images


def svhn(root: Path, monkeypatch: pytest.MonkeyPatch, n: int) -> Pixels:
    """A MATLAB file with X [32, 32, 3, n] and y [n, 1]."""
    kind = torchvision.datasets.SVHN
    (root / "svhn").mkdir(parents=True)
    images = crops(n, 32, 32)
    url, name, _ = kind.split_list["train"]
    file = root / "svhn" / name
    scipy.io.savemat(
        file, {"X": images.transpose(1, 2, 3, 0), "y": np.arange(1, n + 1, dtype=np.uint8)[:, None] % 10 + 1}
    )
    monkeypatch.setattr(kind, "split_list", {**kind.split_list, "train": [url, name, md5(file)]})
    return images


def idx(root: Path, monkeypatch: pytest.MonkeyPatch, reader: str, n: int) -> Pixels:
    """Packed files of big-endian headers and bytes, of training and test part; torchvision has to unpack them."""
    kind = getattr(torchvision.datasets, reader)
    folder = root / reader / "raw"
    folder.mkdir(parents=True)
    images = crops(n, 28, 28)[..., 1]
    resources = []
    for name, _ in kind.resources:
        content = images if name.startswith("train") else images[:1]
        if "images" in name:
            plain = struct.pack(">4I", 0x803, len(content), 28, 28) + content.tobytes()
        else:
            plain = struct.pack(">2I", 0x801, len(content)) + bytes(row % 10 for row in range(len(content)))
        (folder / name).write_bytes(gzip.compress(plain))
        resources.append((name, md5(folder / name)))
    monkeypatch.setattr(kind, "resources", resources)
    monkeypatch.setitem(torchvision_readers.IDX_MD5, reader, resources[0][1])
    return images


def celeba(root: Path, monkeypatch: pytest.MonkeyPatch, n: int) -> list[Path]:
    """A folder of JPEGs and five lists; every fourth image is of the validation part. Returns the training part."""
    kind = torchvision.datasets.CelebA
    folder = root / kind.base_folder
    (folder / "img_align_celeba").mkdir(parents=True)
    names = [f"{i + 1:06d}.jpg" for i in range(n)]
    for name, pixels in zip(names, crops(n, 218, 178), strict=True):
        Image.fromarray(pixels).save(folder / "img_align_celeba" / name, quality=95)
    parts = [int(i % 4 == 3) for i in range(n)]

    def lines(*columns: str) -> str:
        return "".join(f"{name} {' '.join(columns)}\n" for name in names)

    contents = {
        "list_attr_celeba.txt": f"{n}\nMale Young\n" + lines("1", "-1"),
        "identity_CelebA.txt": lines("7"),
        "list_bbox_celeba.txt": f"{n}\nimage_id x_1 y_1 width height\n" + lines("0", "0", "10", "10"),
        "list_landmarks_align_celeba.txt": f"{n}\nlefteye_x lefteye_y\n" + lines("60", "110"),
        "list_eval_partition.txt": "".join(f"{name} {part}\n" for name, part in zip(names, parts, strict=True)),
    }
    for name, content in contents.items():
        (folder / name).write_text(content)
    checksums = [(key, md5(folder / name) if name in contents else old, name) for key, old, name in kind.file_list]
    monkeypatch.setattr(kind, "file_list", checksums)
    monkeypatch.setattr(torchvision_readers, "CELEBA_PARTITION_MD5", checksums[-1][1])
    return [folder / "img_align_celeba" / name for name, part in zip(names, parts, strict=True) if part == 0]


def tiny_imagenet(root: Path, n: int, classes: int = 4) -> list[Path]:
    """JPEGs in tiny-imagenet-200/train/CLASS/images, with the class's boxes beside them. Returns them by path."""
    files = []
    for i, pixels in enumerate(crops(n, 64, 64)):
        label = f"n{1443537 + 1000 * (i % classes):08d}"
        folder = root / "tiny-imagenet-200/train" / label / "images"
        folder.mkdir(parents=True, exist_ok=True)
        files.append(folder / f"{label}_{i // classes}.JPEG")
        image = Image.fromarray(pixels)
        (image.convert("L") if i % 10 == 9 else image).save(files[-1], format="JPEG")  # as published, some are gray
        (folder.parent / f"{label}_boxes.txt").write_text(f"{files[-1].name}\t0\t0\t63\t63\n")
    return sorted(files)


MakeFiles = Callable[[Path, pytest.MonkeyPatch, int], object]

MAKERS: dict[str, MakeFiles] = {
    "cifar10": lambda root, monkeypatch, n: cifar(root, monkeypatch, "CIFAR10", n),
    "cifar100": lambda root, monkeypatch, n: cifar(root, monkeypatch, "CIFAR100", n),
    "stl10u": stl10,
    "svhn": svhn,
    "celeba": celeba,
    "mnist": lambda root, monkeypatch, n: idx(root, monkeypatch, "MNIST", n),
    "fashion_mnist": lambda root, monkeypatch, n: idx(root, monkeypatch, "FashionMNIST", n),
    "kmnist": lambda root, monkeypatch, n: idx(root, monkeypatch, "KMNIST", n),
    "tinyin": lambda root, monkeypatch, n: tiny_imagenet(root, n),
}
"""Dataset → how to make files of it below a root."""


def dataset(name: str, *overrides: str) -> Dataset:
    made: Dataset = configured("dataset", f"dataset={name}", *overrides)
    return made


def loaded(name: str, root: Path, *overrides: str) -> ImageSet:
    return dataset(name, f"paths.data={root}", *overrides).load(Store(root / "store"), progress_bar=False)
