"""mkdocstrings' extension that shows the doctests of docstrings as code, and their names as they are."""

import re
from typing import Any

import griffe

from docs.hooks.escaping import escaped

EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)
"""From a prompt to the next blank line."""


def fenced(docstring: str) -> str:
    """The docstring with its doctests as blocks of code.

    >>> print(fenced("Add.\\n\\n>>> 1 + 1\\n2").replace("`", "'"))
    Add.
    <BLANKLINE>
    '''pycon
    >>> 1 + 1
    2
    '''
    """
    return EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", docstring)


class Doctests(griffe.Extension):
    """Called for each object that is documented."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change its docstring."""
        if obj.docstring:
            obj.docstring.value = escaped(fenced(obj.docstring.value))
