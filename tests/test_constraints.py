"""The tested sets of dependencies are within what pyproject.toml allows, and the lowest set is the lowest."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support.commands import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DIRECT = [Requirement(each) for each in PROJECT["dependencies"]]


def pinned(name: str) -> dict[str, list[Version]]:
    """Package → its versions, of which each is for some versions of Python."""
    found: dict[str, list[Version]] = {}
    for line in (REPOSITORY / "constraints" / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        package, version = re.match(r"([\w.-]+)==([^\s;]+)", line).groups()
        found.setdefault(canonicalize_name(package), []).append(Version(version))
    return found


@pytest.mark.parametrize("name", ["lowest", "newest"])
def test_every_direct_dependency_is_pinned_to_what_is_allowed(name: str) -> None:
    versions = pinned(name)
    for requirement in DIRECT:
        for version in versions[canonicalize_name(requirement.name)]:
            assert version in requirement.specifier


def test_the_lowest_set_is_what_the_project_says_is_enough() -> None:
    versions = pinned("lowest")
    for requirement in DIRECT:
        (least,) = requirement.specifier
        (version,) = versions[canonicalize_name(requirement.name)]
        assert version == Version(least.version), requirement
