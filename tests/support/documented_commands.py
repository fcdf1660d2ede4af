"""The commands that documentation shows: in blocks of code, and between backticks."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.support.commands import CONF, REPOSITORY

PAGES = sorted(
    page.relative_to(REPOSITORY)
    for pattern in ("*.md", "docs/**/*.md", "experiments/*.md", "constraints/*.md", ".github/**/*.md")
    for page in REPOSITORY.glob(pattern)
)
HELP = CONF.relative_to(REPOSITORY) / "config.yaml"
BLOCK = re.compile(r"^ *```(?:bash|sh|)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
ANY_BLOCK = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
STARTS = ("python -m ", "torchrun ", "make ", "pip install ")


def commands(page: Path) -> list[list[str]]:
    """The commands of a page as lists of arguments, without placeholders such as ``…``."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    lines = list(_help(text) if page == HELP else _markdown(text))
    found = [line.strip() for line in lines if line.strip().startswith(STARTS)]
    return [[each for each in shlex.split(line, comments=True) if each != "…"] for line in found]


def _markdown(text: str) -> Iterator[str]:
    for block in BLOCK.finditer(text):
        yield from block[1].replace("\\\n", " ").splitlines()
    for span in SPAN.finditer(ANY_BLOCK.sub("", text)):
        yield " ".join(span[1].split())


def _help(text: str) -> Iterator[str]:
    """Each command of the help; what it does stands behind it, after some spaces."""
    for line in text[text.index("template:") :].replace("\\\n", " ").splitlines():
        yield re.split(r"(?<=\S)   +(?=[a-z]+ )", re.sub(r" {2,}(?=dataset=)", " ", line.strip()))[0]
