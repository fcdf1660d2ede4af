"""The types of settings that hold paths: ``~`` at the start stands for a home directory, as it does in a shell."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from secmi_exp.configuration.paths import expand_home


def _expanded(given: object) -> object:
    """The value, its home directory expanded where it is a text; of a text that is empty others complain."""
    return expand_home(given) if isinstance(given, str) and given else given


EXPANDED = BeforeValidator(_expanded)

UserPath = Annotated[Path, EXPANDED]
"""A file or folder. A test holds the components to this type in place of `Path`."""
UserPathOrName = Annotated[str, EXPANDED]
"""A file or folder, or a name, such as of a repository of the hub."""
