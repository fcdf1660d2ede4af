"""Fields of the JSON of other people's models: their types with bounds, and one sentence for whatever is none of them.

No value is taken for one of another type: a file's own values are used as they are, never what pydantic makes of them.
A field's description completes the sentence "…, which must be …" (see `checked`).
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from secmi_exp.errors import UserError

Flag = Annotated[bool, Field(description="true or false")]
OptionalFlag = Annotated[bool | None, Field(description="true, false or null")]
Text = Annotated[str, Field(description="a text")]
OptionalText = Annotated[str | None, Field(description="a text or null")]
Number = Annotated[float, Field(ge=-1e6, le=1e6, description="a number from −1,000,000 to 1,000,000")]
OptionalNumber = Annotated[
    float | None, Field(ge=-1e6, le=1e6, description="a number from −1,000,000 to 1,000,000, or null")
]
PositiveNumber = Annotated[float, Field(gt=0, le=1e6, description="a number above 0, and at most 1,000,000")]
Share = Annotated[float, Field(ge=0, le=1, description="a number from 0 to 1")]
Epsilon = Annotated[float, Field(gt=0, le=1, description="a number above 0, and at most 1")]
Token = Annotated[int | None, Field(ge=-(10**9), le=10**9, description="a token's whole number, or null")]

_Width = Annotated[int, Field(ge=1, le=65_536)]
Width = Annotated[_Width, Field(description="a whole number from 1 to 65,536")]
OptionalWidth = Annotated[_Width | None, Field(description="a whole number from 1 to 65,536, or null")]
Widths = Annotated[
    list[_Width], Field(min_length=1, max_length=16, description="1 to 16 whole numbers from 1 to 65,536")
]
WidthOrWidths = Annotated[
    _Width | Widths, Field(description="a whole number from 1 to 65,536, or one for each of the blocks")
]
OptionalWidthOrWidths = Annotated[
    _Width | Widths | None, Field(description="a whole number from 1 to 65,536, one for each of the blocks, or null")
]
_Layers = Annotated[int, Field(ge=1, le=64)]
Layers = Annotated[_Layers, Field(description="a whole number from 1 to 64")]
LayersOrList = Annotated[
    _Layers | Annotated[list[_Layers], Field(max_length=16)],
    Field(description="a whole number from 1 to 64, or one for each of the blocks"),
]
_Transformers = Annotated[int, Field(ge=0, le=64)]
Transformers = Annotated[
    _Transformers
    | Annotated[list[_Transformers | Annotated[list[_Transformers], Field(max_length=64)]], Field(max_length=16)],
    Field(description="a whole number up to 64, or one, or a list of them, for each of the blocks"),
]
OptionalTransformers = Annotated[
    Transformers | None, Field(description="whole numbers up to 64 for each of the blocks, or null")
]
StackedLayers = Annotated[int, Field(ge=1, le=256, description="a whole number from 1 to 256")]
Blocks = Annotated[list[str], Field(min_length=1, max_length=16, description="the names of 1 to 16 blocks")]
FlagOrFlags = Annotated[
    bool | Annotated[list[bool], Field(max_length=16)],
    Field(description="true or false, or one of them for each of the blocks"),
]
_Side = Annotated[int, Field(ge=1, le=16_384)]
Sides = Annotated[
    _Side | Annotated[list[_Side], Field(min_length=2, max_length=2)] | None,
    Field(description="a whole number from 1 to 16,384, two of them (height and width), or null"),
]
Padding = Annotated[int, Field(ge=0, le=1, description="0 or 1")]
Kernel = Annotated[int, Field(ge=1, le=63, description="a whole number from 1 to 63")]


class Settings(BaseModel):
    """Fields of a JSON object that is read as it is: no value is taken for one of another type."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, frozen=True, protected_namespaces=())


T = TypeVar("T", bound=Settings)

_shown = reprlib.Repr()
_shown.maxstring = _shown.maxother = _shown.maxlong = 60


def checked(schema: type[T], content: Mapping[str, Any], source: Path | str) -> T:
    """The fields that a schema names.

    Args:
        schema: of the file.
        content: of the file.
        source: the file, for the message.

    Raises:
        UserError: naming the file, the first field that is at fault, its value, and what it must be.

    >>> class Network(Settings):
    ...     layers_per_block: Layers = 2
    >>> checked(Network, {"layers_per_block": 10**6}, "config.json")
    Traceback (most recent call last):
    secmi_exp.errors.UserError: config.json has layers_per_block=1000000, which must be a whole number from 1 to 64.
    """
    try:
        return schema.model_validate(dict(content))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = [str(part) for part in first["loc"]]
        if not place:
            raise UserError(f"{source} can't be used: {first['msg'].removeprefix('Value error, ')}.") from error
        raise UserError(_sentence(schema, content, place, source)) from error


def _sentence(schema: type[Settings], content: Any, place: list[str], source: Path | str) -> str:
    """About the first field on the way to a fault that is no object with a schema of its own."""
    at = ""
    for name in place:
        field = next(field for key, field in schema.model_fields.items() if name in (key, field.alias))
        at, inner = f"{at}.{name}".lstrip("."), field.annotation
        if name not in content:
            return f"{source} has no {at}, which must be {field.description}."
        content = content[name]
        if not (isinstance(inner, type) and issubclass(inner, Settings) and isinstance(content, Mapping)):
            break
        schema = inner
    return f"{source} has {at}={_shown.repr(content)}, which must be {field.description}."
