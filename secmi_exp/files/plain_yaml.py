"""YAML from strangers: plain values of a bounded size, without aliases."""

from pathlib import Path

import yaml

from secmi_exp.files.regular import read_regular

MOST_BYTES = 4 * 2**20
"""Largest size of a file; reading takes some ten seconds a megabyte."""
MOST_DIGITS = 40
"""Most digits of a whole number; Python's time for reading one is quadratic."""


class PlainLoader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """Reads neither aliases, which a few lines can nest to billions of values, nor whole numbers without end."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """The next node.

        Raises:
            yaml.YAMLError: for an alias.
        """
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases, and is read without: write out what they stand for")
        return super().compose_node(parent, index)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A whole number.

        Raises:
            yaml.YAMLError: for one of too many digits.
        """
        if len(node.value) > MOST_DIGITS:
            raise yaml.YAMLError(f"it has a number of {len(node.value):,} digits")
        number: int = super().construct_yaml_int(node)
        return number


PlainLoader.add_constructor("tag:yaml.org,2002:int", PlainLoader.construct_yaml_int)


def read_yaml(path: Path) -> object:
    """Read a YAML file of numbers, texts, and lists and mappings of them.

    Raises:
        OSError: where it can't be read, or is too large.
        yaml.YAMLError: where it is no YAML, or has aliases, endless numbers or unknown tags, or is nested too deeply.
    """
    try:
        return yaml.load(read_regular(path, MOST_BYTES).decode("utf-8"), Loader=PlainLoader)
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    except ValueError as error:  # not UTF-8, or a date that doesn't exist
        raise yaml.YAMLError(str(error)) from error
