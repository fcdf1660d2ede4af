"""JSON as its standard has it, which knows neither NaN nor infinity; Python's own writes them all the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


def replace_non_finite(content: Json, stand_in: Callable[[float], Json]) -> Json:
    """The content with something else in the place of each number that is not finite.

    >>> replace_non_finite({"norm": [math.inf, 2.0]}, str)
    {'norm': ['inf', 2.0]}
    """
    match content:
        case float() if not math.isfinite(content):
            return stand_in(content)
        case Mapping():
            return {name: replace_non_finite(each, stand_in) for name, each in content.items()}
        case str():
            return content
        case Sequence():
            return [replace_non_finite(each, stand_in) for each in content]
    return content
