"""Numbers in keys."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from secmi_exp.files.strict_json import Json

MOST_LISTED = 10**6
"""Numbers that a key lists one by one, at most; `manifest.MOST_BYTES` are read of a manifest, and each is a line."""


def listed(values: NDArray[np.generic]) -> Json:
    """Numbers as a key has them: one by one, or the digest of a list that would make the manifest unreadable.

    >>> listed(np.arange(3))
    [0, 1, 2]
    """
    if len(values) <= MOST_LISTED:
        numbers: Json = values.tolist()
        return numbers
    content = np.ascontiguousarray(values)
    return hashlib.sha256(f"{content.dtype.str} {content.shape} ".encode() + content.tobytes()).hexdigest()
