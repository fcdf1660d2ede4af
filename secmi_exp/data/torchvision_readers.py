"""Datasets in their published files, read, checked by checksum and downloaded by torchvision."""

import gzip
import hashlib
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from secmi_exp.configuration.user_path import UserPath
from secmi_exp.data.dataset import Dataset
from secmi_exp.data.images import Pixels
from secmi_exp.data.labels import FILE, LabelCells, Labels
from secmi_exp.data.samples import ArraySamples, ImageFiles
from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError, first_line
from secmi_exp.files.regular import is_regular, read_regular
from secmi_exp.files.storage_errors import StorageLocation, explain_storage_errors
from secmi_exp.store import Key

PARTS: dict[str, dict[str, bool | str]] = {
    "CIFAR10": {"train": True},
    "CIFAR100": {"train": True},
    "STL10": {"split": "unlabeled"},
    "SVHN": {"split": "train"},
    "CelebA": {"split": "train"},
    "MNIST": {"train": True},
    "FashionMNIST": {"train": True},
    "KMNIST": {"train": True},
}
"""Reader → the part that the authors use, as the reader's own argument."""

FINGERPRINTS = {
    "CIFAR10": "b032975650847f1d4011c2b0f9376a850cb74ab14b2cc9dfb14e37cb427b105c",
    "CIFAR100": "627a40d06ea1821963e485dc380617a9b83238484e4a45e02eafd599ca389916",
    "STL10": "2e5cccb290578c36b120e5e2f730f7748e727adef61a4f545ab38425352914b5",
    "SVHN": "993fe7126f89dfc47e5b35a38a5ba8030c6c235a2e7e65b1e0d1a4682b2c5ce8",
}
"""Reader → SHA-256 of its name, its part, and the checksums of files that it accepts."""

IDX_MD5 = {
    "MNIST": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "FashionMNIST": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "KMNIST": "bdb82020997e1d708af4cf47b453dcf7",
}
"""Reader → MD5 of the packed file of its training images, as it checks it after a download."""

LABELS_VERSION = 1
"""Version of the labels in the store; raised when the same files would give others."""

IDX_HEADER = 16
"""Bytes of a file of images: a magic number, and how many there are of what height and width."""
IDX_LABELS, IDX_LABELS_HEADER = "train-labels-idx1-ubyte.gz", 8
"""The packed file of labels, and the bytes of its header: a magic number, and how many there are."""

CELEBA_PARTITION_MD5 = "d32c9cbf5e040fd4025c592c306e6668"

readers = Deferred("torchvision:datasets")


@dataclass(frozen=True, kw_only=True)
class Published(Dataset):
    """A dataset that torchvision knows."""

    root: UserPath
    """The folder that torchvision's reader takes."""
    download: bool
    """Whether to download what is missing."""

    def reader(self, kind: str) -> Any:
        """A reader of torchvision's, with its files in place and their checksums verified.

        Raises:
            UserError: where they are neither there nor to be had.
        """
        place = StorageLocation(
            "the dataset's folder", self.root.absolute(), "paths.data, or the environment variable SECMI_DATA,"
        )
        try:
            with explain_storage_errors(place):
                return getattr(readers.imported, kind)(self.root, download=self.download, **PARTS[kind])
        except (RuntimeError, OSError, ImportError, ValueError, KeyError, AssertionError) as error:
            raise self._unreadable(kind, first_line(error)) from error

    def labels(self, fingerprint: str, read: Callable[[], LabelCells]) -> Labels:
        """Labels that the store keeps, so that later runs need not read the published files for them."""
        key = Key("labels", LABELS_VERSION, {}, {"samples": fingerprint}, files=(FILE,), label=self.name)
        return Labels(read, key)

    def _unreadable(self, kind: str, reason: str) -> UserError:
        return UserError(
            f"{self.name} can't be read in {self.root.absolute()} ({reason}): get it from {self.source} and unpack "
            f"it there as torchvision.datasets.{kind} has it, or set dataset.root or dataset.download=true."
        )


@dataclass(frozen=True, kw_only=True)
class ArrayFiles(Published):
    """CIFAR-10, CIFAR-100, STL10 and SVHN: a few files, each an array of images."""

    reader_class: Literal["CIFAR10", "CIFAR100", "STL10", "SVHN"]

    def samples(self) -> ArraySamples:
        """Known by their row, which the authors' split files count too."""
        fingerprint = FINGERPRINTS[self.reader_class]
        labels = None if self.reader_class == "STL10" else self.labels(fingerprint, self._labels)
        return ArraySamples(self.reader_class.lower(), fingerprint, self._pixels, labels=labels)

    def _pixels(self) -> Pixels:
        pixels: Pixels = self.reader(self.reader_class).data
        return pixels if pixels.shape[-1] == 3 else np.moveaxis(pixels, 1, -1)

    def _labels(self) -> LabelCells:
        """SVHN's classes are its digits, and have no other names."""
        reader = self.reader(self.reader_class)
        if self.reader_class == "SVHN":
            return LabelCells(reader.labels.tolist())
        return LabelCells(reader.targets, reader.classes)


@dataclass(frozen=True, kw_only=True)
class IdxFiles(Published):
    """MNIST, Fashion-MNIST and Kuzushiji-MNIST: gray images in one packed file.

    torchvision reads the unpacked file beside it, of which it keeps no checksum; hence the packed one is read here.
    """

    reader_class: Literal["MNIST", "FashionMNIST", "KMNIST"]

    def samples(self) -> ArraySamples:
        """Known by their row."""
        fingerprint = f"{self.reader_class}, images for training, MD5 {IDX_MD5[self.reader_class]}"
        labels = self.labels(fingerprint, self._labels)
        return ArraySamples(self.reader_class.lower(), fingerprint, self._pixels, labels=labels)

    def _pixels(self) -> Pixels:
        unpacked = self._unpacked("train-images-idx3-ubyte.gz", IDX_MD5[self.reader_class])
        count, height, width = unpacked[:IDX_HEADER].view(">u4")[1:]
        return unpacked[IDX_HEADER:].reshape(count, height, width)

    def _labels(self) -> LabelCells:
        published = getattr(readers.imported, self.reader_class)
        unpacked = self._unpacked(IDX_LABELS, dict(published.resources)[IDX_LABELS])
        return LabelCells(unpacked[IDX_LABELS_HEADER:].tolist(), published.classes)

    def _unpacked(self, name: str, md5: str) -> NDArray[np.uint8]:
        """The bytes of a packed file.

        Raises:
            UserError: where it is neither there nor to be had, or its checksum is another.
        """
        kind, file = self.reader_class, self.root / self.reader_class / "raw" / name
        if not is_regular(file):
            self.reader(kind)
        try:
            content = read_regular(file)
        except OSError as error:
            raise self._unreadable(kind, f"{file.name}: {error.strerror}") from error
        if hashlib.md5(content).hexdigest() != md5:
            raise self._unreadable(kind, f"{file.name} is corrupted: delete it")
        return np.frombuffer(gzip.decompress(content), np.uint8)


@dataclass(frozen=True, kw_only=True)
class CelebA(Published):
    """The training part of the aligned and cropped faces."""

    def samples(self) -> ImageFiles:
        """In the order of the partition file, torchvision's too; its reader would take seconds for the other lists."""
        folder, partition = self.root / "celeba/img_align_celeba", self.root / "celeba/list_eval_partition.txt"
        content = partition.read_bytes() if partition.is_file() else b""
        if not folder.is_dir() or hashlib.md5(content).hexdigest() != CELEBA_PARTITION_MD5:
            self.reader("CelebA")
        lines = (line.split() for line in partition.read_text(encoding="utf-8").splitlines())
        names = [name for name, part in lines if part == "0"]
        return ImageFiles([f"{folder}/{name}" for name in names], [f"celeba/{name}" for name in names])
