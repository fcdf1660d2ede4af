"""One caption a sample, out of all that a dataset gives for it; and in which column its class is."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from secmi_exp.errors import UserError
from secmi_exp.formatting import is_unicode, shown, unicode_name, unicode_text
from secmi_exp.run_warnings import warn


@dataclass(frozen=True)
class CaptionChoice:
    """The column of captions, and the choice among several captions of an image."""

    column: str
    """Column of the captions, where a layout has columns."""
    which: Literal["first", "random"]
    seed: int
    """Seed of the random choice, which depends on it and the sample's id alone, not on other samples."""
    label_column: str = "label"
    """Column of the class labels."""

    def among(self, columns: Sequence[str], others: Sequence[str], where: Path) -> bool:
        """Whether a table of captioned images has the column; warns where captions may be in one that was not named.

        Args:
            columns: all that it has.
            others: columns that certainly hold no captions.
            where: the table.
        """
        if self.column in columns:
            return True
        perhaps = [name for name in columns if name not in (*others, self.label_column)]
        if perhaps:
            warn(
                "caption_column_missing",
                f"{where} has no column {self.column}, so its images have no captions: if they are in "
                f"{' or '.join(perhaps)}, set dataset.caption_column.",
            )
        return False

    def choose(self, cells: Iterable[object], ids: Sequence[str], where: Path) -> list[str | None] | None:
        """One caption a sample, [N], stripped; None where a sample has none, and altogether where none has any.

        Args:
            cells: a sample's caption, a list of them, or None, [N].
            ids: [N].
            where: file or folder that they were read from.

        Raises:
            UserError: for a caption that is no text.
        """
        chosen = [self._one(cell, name, where) for cell, name in zip(cells, ids, strict=True)]
        broken = [row for row, caption in enumerate(chosen) if caption is not None and not is_unicode(caption)]
        if broken:
            warn(
                "captions_not_unicode",
                f"{len(broken)} captions in {where} hold halves of characters (unpaired surrogates), the first of them "
                f"that of {ids[broken[0]]}: the replacement character � stands for those: correct them.",
                count=len(broken),
            )
            chosen = [None if caption is None else unicode_text(caption) for caption in chosen]
        return chosen if any(caption is not None for caption in chosen) else None

    def _one(self, cell: object, name: str, where: Path) -> str | None:
        captions = []
        for caption in cell if isinstance(cell, list) else [cell]:
            if caption is not None and not isinstance(caption, str):
                raise UserError(
                    f"The caption of {name} in {where} is {shown(caption)}, which is no text: set "
                    "dataset.caption_column to the column that holds captions, or mend it."
                )
            if caption and caption.strip():
                captions.append(caption.strip())
        if not captions:
            return None
        if self.which == "first":
            return captions[0]
        drawn = hashlib.blake2b(f"{self.seed}\0{unicode_name(name)}".encode(), digest_size=8).digest()
        return captions[int.from_bytes(drawn, "big") % len(captions)]
