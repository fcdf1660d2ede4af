"""The contents of a folder of image files: images, captions, and files that look like either but aren't read."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from secmi_exp.data.folder_walk import FolderWalk
from secmi_exp.data.image_formats import EXTENSIONS, UNREAD_EXTENSIONS
from secmi_exp.formatting import counted
from secmi_exp.run_warnings import warn

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Files that Hugging Face's imagefolder reads captions from."""
SIDECARS = (".txt", ".caption")
"""A caption beside an image, in a file of the image's name, as the trainers of low-rank adapters have them."""
TABLES = (".csv", ".json", ".jsonl", ".ndjson", ".parquet", ".tsv", ".xls", ".xlsx")
"""Files that may hold captions or membership."""
DESCRIPTIONS = ("dataset_info.json", "dataset_infos.json", "state.json")
"""Files of the library datasets that describe a dataset as a whole."""


@dataclass
class FolderContents:
    """Files in a folder and all folders below it, as paths relative to it; hidden ones are left out."""

    folder: Path
    walk: FolderWalk
    images: list[str] = field(default_factory=list)
    """Sorted."""
    metadata: list[str] = field(default_factory=list)
    """Sorted."""
    sidecars: dict[str, str] = field(default_factory=dict)
    """Path with the suffix in lower case → path."""
    unread_images: list[str] = field(default_factory=list)
    """Images in formats that are not read."""
    unread_tables: list[str] = field(default_factory=list)
    """Tables beside images that are not read."""

    @classmethod
    def from_folder(cls, folder: Path) -> "FolderContents":
        """Look through a folder; symbolic links are followed, and each real folder is read once."""
        contents = cls(folder, FolderWalk(str(folder)))
        for below, files in contents.walk:
            contents._add(f"{below}/" if below else "", files)
        for each in (contents.images, contents.metadata, contents.unread_images, contents.unread_tables):
            each.sort()
        return contents

    def _add(self, below: str, files: Sequence[str]) -> None:
        tables = []
        images = False
        for name in files:
            stem, suffix = os.path.splitext(name)  # noqa: PTH122  (a Path for each of 100,000 files costs more)
            suffix = suffix.lower()
            if suffix in EXTENSIONS:
                self.images.append(below + name)
                images = True
            elif suffix in SIDECARS:
                self.sidecars[f"{below}{stem}{suffix}"] = below + name
            elif name in METADATA:
                self.metadata.append(below + name)
            elif suffix in UNREAD_EXTENSIONS:
                self.unread_images.append(below + name)
            elif suffix in TABLES and name not in DESCRIPTIONS:
                tables.append(below + name)
        if images or not below:
            self.unread_tables += tables

    def warn_of_unread(self) -> None:
        """Warn of folders and of images that are not read, and of tables that may have been meant for captions."""
        self.walk.warn_of_unread()
        if self.unread_images:
            images = counted(len(self.unread_images), "image")
            suffixes = Counter(PurePosixPath(name).suffix.lower() for name in self.unread_images).most_common()
            warn(
                "images_not_read",
                f"Left out: {images} below {self.folder} in formats that are not read "
                f"({', '.join(f'{count} {suffix}' for suffix, count in suffixes)}; the first of them "
                f"{self.unread_images[0]}): save them as PNG, or move them away.",
                count=len(self.unread_images),
            )
        if self.unread_tables and self.images:
            warn(
                "metadata_not_read",
                f"{self.unread_tables[0]}{self._more} in {self.folder} is not read: captions come from "
                f"{', '.join(METADATA)}, or from .txt files of the images' names; rename it, or ignore this.",
            )

    @property
    def _more(self) -> str:
        more = len(self.unread_tables) - 1
        return f" (and {more} more such files)" if more else ""
