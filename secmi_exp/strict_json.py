"""JSON as its standard has it, without NaN, infinity and what isn't Unicode; Python's own writes them all the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from secmi_exp.formatting import unicode_name

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


def as_strict_json(content: Json, stand_in: Callable[[float], Json]) -> Json:
    """The content with something else in the place of each number that is not finite; texts as `unicode_name` has them.

    >>> as_strict_json({"norm": [math.inf, 2.0], "path": "\\udce9.npz"}, str)
    {'norm': ['inf', 2.0], 'path': '\\\\udce9.npz'}
    """
    match content:
        case float() if not math.isfinite(content):
            return stand_in(content)
        case Mapping():
            return {unicode_name(name): as_strict_json(each, stand_in) for name, each in content.items()}
        case str():
            return unicode_name(content)
        case Sequence():
            return [as_strict_json(each, stand_in) for each in content]
    return content
