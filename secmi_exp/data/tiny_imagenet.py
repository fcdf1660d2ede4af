"""Tiny-ImageNet in its published layout: tiny-imagenet-200/train/CLASS/images/CLASS_NUMBER.JPEG."""

from pydantic.dataclasses import dataclass

from secmi_exp.configuration.user_path import UserPath
from secmi_exp.data.dataset import Dataset
from secmi_exp.data.folder_walk import FolderWalk
from secmi_exp.data.labels import folder_labels
from secmi_exp.data.samples import ImageFiles
from secmi_exp.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Suffixes of the files that torchvision's ImageFolder reads."""


@dataclass(frozen=True, kw_only=True)
class TinyImageNet(Dataset):
    """The training part, 500 images of each of 200 classes."""

    root: UserPath
    """The folder that holds tiny-imagenet-200."""

    def samples(self) -> ImageFiles:
        """In the order of torchvision's ImageFolder, which the authors' split files count in."""
        train = self.root.absolute() / "tiny-imagenet-200/train"
        walk = FolderWalk(str(train))
        names = [
            (below.partition("/")[0], below, name)
            for below, files in walk
            for name in files
            if below and name.lower().endswith(EXTENSIONS)
        ]
        if not names:
            raise UserError(
                f"Tiny-ImageNet is not in {train}: get {self.source}, and unpack it so that images lie at "
                f"{train}/n01443537/images/n01443537_0.JPEG, or set dataset.root to where tiny-imagenet-200 lies."
            )
        walk.warn_of_unread()
        ids = [f"{below}/{name}" for _, below, name in sorted(names)]
        return ImageFiles([f"{train}/{name}" for name in ids], ids, labels=folder_labels(ids))
