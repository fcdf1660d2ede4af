"""JSON as its standard has it, without NaN, infinity and what isn't Unicode; Python's own writes them all the same."""

from __future__ import annotations

import json
import math
import reprlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from secmi_exp.files.regular import read_regular
from secmi_exp.formatting import unicode_name

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

MOST_BYTES = 8 * 2**20
"""Largest size of a file of settings; the largest known, indices of weights in thousands of parts, have less than
a megabyte."""


def as_strict_json(content: Json, stand_in: Callable[[float], Json]) -> Json:
    """The content with something else in the place of each number that is not finite; texts as `unicode_name` has them.

    >>> as_strict_json({"norm": [math.inf, 2.0], "path": "\\udce9.npz"}, str)
    {'norm': ['inf', 2.0], 'path': '\\\\udce9.npz'}
    """
    match content:
        case float() if not math.isfinite(content):
            return stand_in(content)
        case Mapping():
            return {_unicode(name): as_strict_json(each, stand_in) for name, each in content.items()}
        case str():
            return _unicode(content)
        case Sequence():
            return [as_strict_json(each, stand_in) for each in content]
    return content


def _unicode(text: str) -> str:
    return text if text.isascii() else unicode_name(text)


def read_foreign_json(path: Path, most_bytes: int = MOST_BYTES) -> Json:
    """Read a JSON file; NaN and infinity, which diffusers writes, are left to the caller.

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
