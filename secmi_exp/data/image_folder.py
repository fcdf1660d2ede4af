"""Images of one's own, with captions or without, in any of the layouts that image sets are kept in."""

from pathlib import Path
from typing import Literal, get_args

from pydantic import NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.configuration.user_path import UserPath
from secmi_exp.data.augmented import Augmented
from secmi_exp.data.captions import CaptionChoice
from secmi_exp.data.coco import caption_files, read_coco
from secmi_exp.data.dataset import Dataset
from secmi_exp.data.file_lists import read_image_list, read_laion, refuse_repeated
from secmi_exp.data.folder_captions import images_in
from secmi_exp.data.folder_contents import METADATA, FolderContents
from secmi_exp.data.image_formats import EXTENSIONS
from secmi_exp.data.parquet_images import ParquetImages, images_within, split_files, tables_in
from secmi_exp.data.samples import Samples, Sides
from secmi_exp.data.saved_dataset import INFO, SPLITS, STATE, SavedDataset, refuse_splits
from secmi_exp.data.tables import SUFFIXES
from secmi_exp.errors import UserError, first_line
from secmi_exp.evaluation.excess import Kind
from secmi_exp.files.regular import is_folder, is_regular
from secmi_exp.run_warnings import warn


@dataclass(frozen=True, kw_only=True)
class ImageFolder(Dataset):
    """Image files of any size and mode, or tables of them; see `find_samples` for the layouts."""

    path: UserPath | None
    """Folder or file of the images."""
    members: UserPath | None
    holdout: Kind | UserPath | None
    """Two such places that state the membership, in place of ``path``; their layouts may differ. In place of the second
    a kind of surrogates; a folder that is called as one of them is given as ``./augmented``."""
    caption_column: str
    """Column of the captions, where the layout has columns."""
    caption: Literal["first", "random"]
    """Choice among several captions of an image."""
    seed: NonNegativeInt
    """Seed of the random choice."""
    label_column: str = "label"
    """Column of the class labels, where the layout has columns."""
    references: UserPath | None = None
    """Images that are certainly not in the target's training set: with surrogate hold-outs, what they are judged by."""
    steps: PositiveInt = 50
    """Steps of DDIM for each generated hold-out."""

    @property
    def surrogates(self) -> Kind | None:
        """The kind of the hold-outs, where they are surrogates."""
        return self.holdout if self.holdout in get_args(Kind) else None  # type: ignore[return-value]

    @property
    def holdout_path(self) -> Path | None:
        """Where the real images of the hold-outs' side lie: the references, where the hold-outs are surrogates."""
        return self.holdout if isinstance(self.holdout, Path) else self.references

    def samples(self) -> Samples:
        """The samples of ``path``, or of ``members`` and then of ``holdout``, each in its layout's order.

        Raises:
            UserError: for anything but one path or two sides, for sides without images, and for references that are
                missing or that nothing is done with.
        """
        if self.references and not self.surrogates:
            raise UserError(
                f"dataset.references={self.references} is for surrogate hold-outs: set dataset.holdout to augmented, "
                "generated or references, or give comparable images as dataset.holdout."
            )
        choice = CaptionChoice(self.caption_column, self.caption, self.seed, self.label_column)
        if self.path and not (self.members or self.holdout):
            return find_samples(self.path, choice)
        if self.members and self.holdout and not self.path:
            members = find_samples(self.members, choice)
            return Sides(members, self._holdouts(members, choice))
        fields = {"path": self.path, "members": self.members, "holdout": self.holdout}
        given = ", ".join(f"dataset.{name}={value}" for name, value in fields.items() if value) or "none of them"
        raise UserError(
            "Images are given either by dataset.path (a folder or list), or by dataset.members and dataset.holdout "
            f"together; here: {given}."
        )

    def _holdouts(self, members: Samples, choice: CaptionChoice) -> Samples:
        match self.holdout:
            case "augmented":
                return Augmented(members, self.seed)
            case "references" if not self.references:
                raise UserError(
                    "dataset.holdout=references needs dataset.references: give images that are certainly not in the "
                    "training set, or, if a folder of that name was meant, dataset.holdout=./references."
                )
            case "generated":
                raise UserError("dataset.holdout=generated asks for a run, in which a target generates them.")
        place = self.references if self.holdout == "references" else self.holdout
        return find_samples(Path(str(place)), choice)


def find_samples(path: Path, choice: CaptionChoice) -> Samples:
    """The images at a path, in the layout that is recognised there.

    Raises:
        UserError: where there are none, or they can't be read.
    """
    try:
        samples = in_folder(path, choice) if is_folder(path) else in_file(path, choice)
    except OSError as error:
        raise UserError(f"The images in {path} can't be read: {error.strerror or first_line(error)}.") from error
    refuse_repeated(samples.ids(), path)
    if not samples.ids():
        raise UserError(
            f"There are no images in {path.absolute()}: {', '.join(EXTENSIONS)} files are looked for, or "
            "tables that hold images."
        )
    return samples


def in_folder(folder: Path, choice: CaptionChoice) -> Samples:
    """A dataset saved to disk, the authors' LAION, COCO, Parquet tables, or else all image files below.

    Raises:
        UserError: where what is recognised can't be read.
    """
    if is_regular(folder / SPLITS):
        refuse_splits(folder)
    if is_regular(folder / STATE) and is_regular(folder / INFO):
        return SavedDataset(folder, choice)
    if is_regular(folder / "captions.npy"):
        return read_laion(folder, choice)
    if caption_files(folder):
        return read_coco(folder, choice)
    contents = FolderContents.from_folder(folder)
    if tables_in(folder) and not any(is_regular(folder / name) for name in METADATA):
        warn_of_images_beside_tables(contents)
        return ParquetImages(split_files(folder), choice)
    return images_in(contents, choice)


def warn_of_images_beside_tables(contents: FolderContents) -> None:
    """Warn of image files in a folder whose images are those in Parquet tables."""
    files = [*contents.images, *contents.unread_images]
    if files:
        warn(
            "images_beside_tables_not_read",
            f"{len(files)} image files below {contents.folder} (the first of them {files[0]}) are left out, since the "
            "images in its Parquet tables are taken: give another folder if those are meant.",
            count=len(files),
        )


def in_file(file: Path, choice: CaptionChoice) -> Samples:
    """COCO's captions, a Parquet table, or a list.

    Raises:
        UserError: where there is no such file, or it can't be read.
    """
    suffix = file.suffix.lower()
    if suffix == ".json":
        return read_coco(file, choice)
    if suffix not in SUFFIXES:
        raise UserError(
            f"There is no folder {file.absolute()}: give one, or a {', '.join(SUFFIXES)} list, or COCO's .json."
        )
    if suffix == ".parquet" and images_within(file):
        return ParquetImages(split_files(file), choice)
    return read_image_list(file, choice)
