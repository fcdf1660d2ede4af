"""Datasets in their published files, read, checked by checksum and downloaded by torchvision."""

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torchvision
from pydantic.dataclasses import dataclass
from torchvision.datasets.utils import check_integrity

from secmi_exp.data.dataset import Dataset
from secmi_exp.data.images import Pixels
from secmi_exp.data.samples import Array, ImageFiles
from secmi_exp.errors import UserError
from secmi_exp.files.storage_errors import Place, explain_storage_errors

PARTS: dict[str, dict[str, bool | str]] = {
    "CIFAR10": {"train": True},
    "CIFAR100": {"train": True},
    "STL10": {"split": "unlabeled"},
    "SVHN": {"split": "train"},
    "CelebA": {"split": "train"},
}
"""Reader → the part that the authors use, as the reader's own argument."""

CHECKSUMS = ("train_list", "split_list")
"""Where torchvision's readers keep the checksums of their files."""


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
        place = Place(
            "the dataset's folder", self.root.absolute(), "paths.data, or the environment variable SECMI_DATA,"
        )
        try:
            with explain_storage_errors(place):
                return getattr(torchvision.datasets, kind)(self.root, download=self.download, **PARTS[kind])
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

    def samples(self) -> Array:
        """Known by their row, which the authors' split files count too."""
        checksums = [getattr(getattr(torchvision.datasets, self.reader_class), name, None) for name in CHECKSUMS]
        fingerprint = hashlib.sha256(
            repr((self.reader_class, PARTS[self.reader_class], checksums)).encode()
        ).hexdigest()
        return Array(self.reader_class.lower(), fingerprint, self._pixels)

    def _pixels(self) -> Pixels:
        pixels: Pixels = self.reader(self.reader_class).data
        return pixels if pixels.shape[-1] == 3 else np.moveaxis(pixels, 1, -1)


@dataclass(frozen=True, kw_only=True)
class CelebA(Published):
    """The training part of the aligned and cropped faces."""

    def samples(self) -> ImageFiles:
        """In the order of the partition file, torchvision's too; its reader would take seconds for the other lists."""
        folder, partition = self.root / "celeba/img_align_celeba", self.root / "celeba/list_eval_partition.txt"
        checksum = {name: md5 for _, md5, name in torchvision.datasets.CelebA.file_list}[partition.name]
        if not folder.is_dir() or not check_integrity(partition, checksum):
            self.reader("CelebA")
        lines = (line.split() for line in partition.read_text(encoding="utf-8").splitlines())
        names = [name for name, part in lines if part == "0"]
        return ImageFiles([f"{folder}/{name}" for name in names], [f"celeba/{name}" for name in names])
