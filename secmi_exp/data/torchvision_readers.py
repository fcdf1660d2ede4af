"""Datasets in their published files, read, checked by checksum and downloaded by torchvision."""

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic.dataclasses import dataclass

from secmi_exp.data.dataset import Dataset
from secmi_exp.data.images import Pixels
from secmi_exp.data.samples import ArraySamples, ImageFiles
from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError
from secmi_exp.files.storage_errors import StorageLocation, explain_storage_errors

PARTS: dict[str, dict[str, bool | str]] = {
    "CIFAR10": {"train": True},
    "CIFAR100": {"train": True},
    "STL10": {"split": "unlabeled"},
    "SVHN": {"split": "train"},
    "CelebA": {"split": "train"},
}
"""Reader → the part that the authors use, as the reader's own argument."""

FINGERPRINTS = {
    "CIFAR10": "b032975650847f1d4011c2b0f9376a850cb74ab14b2cc9dfb14e37cb427b105c",
    "CIFAR100": "627a40d06ea1821963e485dc380617a9b83238484e4a45e02eafd599ca389916",
    "STL10": "2e5cccb290578c36b120e5e2f730f7748e727adef61a4f545ab38425352914b5",
    "SVHN": "993fe7126f89dfc47e5b35a38a5ba8030c6c235a2e7e65b1e0d1a4682b2c5ce8",
}
"""Reader → SHA-256 of its name, its part, and the checksums of files that it accepts."""

CELEBA_PARTITION_MD5 = "d32c9cbf5e040fd4025c592c306e6668"

readers = Deferred("torchvision:datasets")


@dataclass(frozen=True, kw_only=True)
class Published(Dataset):
    """A dataset that torchvision knows."""

    root: Path
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
        except (RuntimeError, OSError, ImportError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise UserError(
                f"{self.name} can't be read in {self.root.absolute()} ({reason}): get it from {self.source} and unpack "
                f"it there as torchvision.datasets.{kind} has it, or set dataset.root or dataset.download=true."
            ) from error


@dataclass(frozen=True, kw_only=True)
class ArrayFiles(Published):
    """CIFAR-10, CIFAR-100, STL10 and SVHN: a few files, each an array of images."""

    reader_class: Literal["CIFAR10", "CIFAR100", "STL10", "SVHN"]

    def samples(self) -> ArraySamples:
        """Known by their row, which the authors' split files count too."""
        return ArraySamples(self.reader_class.lower(), FINGERPRINTS[self.reader_class], self._pixels)

    def _pixels(self) -> Pixels:
        pixels: Pixels = self.reader(self.reader_class).data
        return pixels if pixels.shape[-1] == 3 else np.moveaxis(pixels, 1, -1)


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
