"""CONTRIBUTING.md's recipes are complete: their files, put into a copy of the repository, pass their own tests."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import REPOSITORY

BLOCK = re.compile(r'^```\w+ title="(?P<path>[^"]+)"\n(?P<content>.*?)^```$', re.MULTILINE | re.DOTALL)
FILES = {
    found["path"]: found["content"]
    for found in BLOCK.finditer((REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8"))
}
VERSIONED = ["tests/test_versions.py::test_every_module_that_computes_stands_behind_a_version"]
COPIED = ["secmi_exp", "conf", "tests", "pyproject.toml", "CONTRIBUTING.md"]


def in_copy(folder: Path, *command: str) -> str:
    """Run a command of Python's there; what it prints."""
    finished = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.mark.slow
def test_the_recipes_files_pass_their_own_tests(tmp_path: Path) -> None:
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "figures", "results"))
        else:
            shutil.copy(source, tmp_path)
    for path, content in FILES.items():
        assert not (tmp_path / path).exists()
        (tmp_path / path).write_text(content, encoding="utf-8")
    modules = [path for path in FILES if path.endswith(".py")]
    in_copy(tmp_path, "ruff", "check", *modules)
    in_copy(tmp_path, "ruff", "format", "--check", *modules)
    in_copy(tmp_path, "tests.versions")
    tests = [path for path in modules if path.startswith("tests/")]
    told = in_copy(tmp_path, "pytest", "-p", "no:cacheprovider", *tests, *VERSIONED)
    assert re.search(r"\d+ passed", told)


def test_each_recipe_is_one_module_one_configuration_and_one_test() -> None:
    assert sorted(path.split("/")[0] for path in FILES) == sorted(["conf", "secmi_exp", "tests"] * 3)


def test_an_attack_takes_few_lines() -> None:
    lines = sum(len(content.strip().splitlines()) for path, content in FILES.items() if "rediffuse" in path)
    assert lines <= 60
