"""Images that are known by their ids and membership alone, out of a file of scores."""

import hashlib

import numpy as np
from pydantic.dataclasses import dataclass

from secmi_exp.configuration.user_path import UserPath
from secmi_exp.data.dataset import Dataset
from secmi_exp.data.file_lists import refuse_repeated
from secmi_exp.data.images import DIGEST_BYTES, ImageSet
from secmi_exp.data.samples import Samples
from secmi_exp.data.tables import read_table
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.formatting import unicode_name
from secmi_exp.store import Store


@dataclass(frozen=True, kw_only=True)
class ScoredImages(Dataset):
    """The rows of a table (see `read_table`) in the order of their ids, so that equal ids are split alike."""

    path: UserPath | None
    id_column: str
    member_column: str

    def samples(self) -> Samples:
        """Refuse, as there are none.

        Raises:
            UserError: always.
        """
        raise UserError(f"dataset={self.name} has no images: choose the dataset that the images are in.")

    def load(self, store: Store, *, progress_bar: bool) -> ImageSet:
        """Images without pixels.

        Raises:
            UserError: for a file that can't be read, lacks a column, has an id twice, or states one side only.
        """
        if self.path is None:
            raise UserError(f"dataset={self.name} is for +attack=scores attack.path=FILE: choose another dataset.")
        table = read_table(self.path)
        ids = [unicode_name(each) for each in table.texts(self.id_column, "set attack.id_column")]
        if self.member_column not in table.names:
            raise UserError(
                f"{self.path} has the columns {', '.join(table.names)}, and none named {self.member_column}, so that "
                "nothing says who is a member: add it or set attack.member_column, or name the images that the scores "
                "are of, as in dataset=digits."
            )
        refuse_repeated(ids, self.path)
        is_member = table.truths(self.member_column)
        members = int(is_member.sum())
        if not 0 < members < len(ids):
            raise UserError(
                f"{self.path} lists {members} members and {len(ids) - members} hold-outs: scores of both are needed."
            )
        order = sorted(range(len(ids)), key=ids.__getitem__)
        ids = [ids[row] for row in order]
        return ImageSet(
            pixels=np.zeros((len(ids), 1, 0, 0), dtype=np.uint8),
            digests=id_digests(ids),
            ids=ids,
            unreadable={},
            is_member=is_member[order],
        )

    def facts(self, images: ImageSet) -> dict[str, Json]:
        """How many there are, for results.json."""
        return {"images": len(images), "image_size": None}


def id_digests(ids: list[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """BLAKE2b of each id, in place of its pixels' digest. [N, 16]."""
    digests = b"".join(hashlib.blake2b(each.encode(), digest_size=DIGEST_BYTES).digest() for each in ids)
    return np.frombuffer(bytearray(digests), dtype=np.uint8).reshape(len(ids), DIGEST_BYTES)
