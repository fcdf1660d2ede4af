"""JSON that somebody else wrote: whatever lies under its name is read with limits, or is refused."""

from __future__ import annotations

import json
import reprlib
from collections import Counter
from pathlib import Path

from secmi_exp.files.regular import read_regular
from secmi_exp.files.strict_json import Json

MOST_BYTES = 8 * 2**20
"""Of a file of settings; the largest that are known, indices of weights in thousands of parts, have less than one."""


def read_foreign_json(path: Path, most_bytes: int = MOST_BYTES) -> Json:
    """What a file of JSON holds; NaN and infinity, which diffusers writes, are left to whoever uses them.

    Raises:
        OSError: where it can't be read, is no regular file, or is larger.
        ValueError: where it is no JSON in UTF-8, or an object in it has a name twice, and for numbers of thousands of
            digits and deep nesting.
    """
    text = read_regular(path, most_bytes).decode("utf-8")
    try:
        content: Json = json.loads(text, object_pairs_hook=_without_repetition)
    except RecursionError:
        raise ValueError("its lists and objects are nested too deeply") from None
    return content


def _without_repetition(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    content = dict(pairs)
    if len(content) < len(pairs):
        ((repeated, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"an object in it has {reprlib.repr(repeated)} more than once")
    return content
