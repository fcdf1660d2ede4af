"""The pages: every link leads somewhere, the README is short, and the version is the same everywhere."""

import posixpath
import re
import tomllib
from functools import cache
from pathlib import Path
from pkgutil import resolve_name

import pytest
import yaml

import secmi_exp
from docs.hooks.escaping import escaped
from docs.hooks.links import site_links
from docs.hooks.reference import GENERATED, attacks_page, configuration_page
from tests.support.commands import REPOSITORY
from tests.support.documented_commands import ANY_BLOCK, PAGES

LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]*)\)")
MADE = {f"docs/{uri}": cache(made) for uri, made in GENERATED.items()}
"""Pages that don't lie in the repository."""


def text_of(path: str) -> str:
    return MADE[path]() if path in MADE else (REPOSITORY / path).read_text(encoding="utf-8")


def anchors(text: str) -> set[str]:
    """Of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", ANY_BLOCK.sub("", text), re.MULTILINE)
    named = {found[1] for heading in headings if (found := re.search(r"\{ #(\S+) \}", heading))}
    return named | {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*map(str, PAGES), *MADE])
def test_every_link_leads_somewhere(page: str) -> None:
    for link in LINK.findall(ANY_BLOCK.sub("", text_of(page))):
        path, _, anchor = link.partition("#")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
        assert target in MADE or (REPOSITORY / target).exists(), link
        if anchor:
            assert anchor in anchors(text_of(target)), link


def test_links_to_files_that_the_site_lacks_become_their_paths_or_lead_to_the_repository() -> None:
    text = "[store](store.md#keys), ![roc](../experiments/figures/roc.png), [yaml](../conf/scale/paper.yaml), [x](#y)"
    assert site_links(text, "design.md") == (
        "[store](store.md#keys), ![roc](figures/roc.png), `conf/scale/paper.yaml`, [x](#y)"
    )
    assert "[yaml](https://host/us/it/blob/main/conf/scale/paper.yaml)" in site_links(
        text, "design.md", "https://host/us/it/"
    )
    assert site_links("[a](../docs/reference/attacks.md)", "experiments.md") == "[a](reference/attacks.md)"


def test_names_with_underscores_begin_no_emphasis() -> None:
    assert escaped("x\u0303_0, `x\u0303_0`, t_sec") == "x\u0303\\_0, `x\u0303_0`, t_sec"


def test_the_reference_of_the_api_names_what_exists() -> None:
    names = re.findall(r"^::: (\S+)", (REPOSITORY / "docs/reference/api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(names) > 10
    for name in names:
        resolve_name(name)


def test_every_page_is_in_the_navigation() -> None:
    navigation = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    for page in (REPOSITORY / "docs").rglob("*.md"):
        assert f": {page.relative_to(REPOSITORY / 'docs')}\n" in navigation


def test_the_readme_is_short_and_shows_a_figure() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert "![" in text


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "secmi_exp/__init__.py"
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == secmi_exp.__version__
    released = re.findall(r"^## \[(.+?)\]", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert released[:2] == ["Unreleased", secmi_exp.__version__]


def test_the_workflow_tests_the_oldest_python_that_is_allowed() -> None:
    for file in (REPOSITORY / ".github").rglob("*.yml"):
        assert yaml.safe_load(file.read_text(encoding="utf-8"))
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    matrix = workflow["jobs"]["test"]["strategy"]["matrix"]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f">={matrix['python'][0]}"
    assert matrix["include"] == [{"python": matrix["python"][0], "packages": "lowest"}]


def conf_comments() -> list[tuple[Path, str]]:
    """Each comment on a setting below conf/, and each file's own."""
    found = []
    for file in sorted((REPOSITORY / "conf").rglob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        if file.name == "config.yaml":
            text = text[text.index("\nseed:") : text.index("\nhydra:")]
        text = re.sub(r"^defaults:\n(?:  .*\n|\n)*", "", text, flags=re.MULTILINE)
        for line in text.splitlines():
            comment = re.search(r"(?:^|\s)#\s*(.*)$", line)
            if (
                comment
                and not line.startswith("_")
                and not comment[1].startswith(("@package", "Access: ", "Queries an image: "))
            ):
                found.append((file, comment[1]))
    return found


def test_no_comment_of_a_setting_is_lost_in_the_reference() -> None:
    page = configuration_page().replace(r"\|", "|")
    lost = [f"{file.name}: {comment}" for file, comment in conf_comments() if comment not in page]
    assert not lost


def test_every_setting_is_in_the_reference_with_its_default() -> None:
    page = configuration_page()
    assert "| `attack.scorers.nn.epochs` | `15` |" in page
    assert "| `evaluation.delta` | `1.0e-5` | δ of the empirical lower bounds on ε |" in page
    for file in (REPOSITORY / "conf").glob("*/*.yaml"):
        group = file.parent.name
        for name in leaves(yaml.safe_load(file.read_text(encoding="utf-8")) or {}):
            full = name if group == "experiment" else f"{group}.{name}"
            assert f"| `{full}` |" in page


def leaves(content: dict[str, object], prefix: str = "") -> list[str]:
    """Names of the settings with a value."""
    found = []
    for key, value in content.items():
        if str(key).startswith("_") or f"{prefix}{key}" == "defaults":
            continue
        found += leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return found


def test_every_attack_says_what_it_needs() -> None:
    page = attacks_page()
    for file in (REPOSITORY / "conf/attack").glob("*.yaml"):
        row = next(line for line in page.splitlines() if line.startswith(f"| [`{file.stem}`]"))
        assert all(cell.strip() for cell in row.strip("|").split("|"))
    assert page.count("Source") > 12
