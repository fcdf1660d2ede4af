"""MkDocs' hooks: the generated pages, pages of the repository that lie outside of docs/, and links to its files."""

import posixpath
import re
from typing import TYPE_CHECKING

from docs.hooks.reference import ROOT, attacks_page, configuration_page
from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

PAGES = {
    "experiments/README.md": "experiments.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
"""Files of the repository → the pages of the site that they become."""

GENERATED = {"reference/configuration.md": configuration_page, "reference/attacks.md": attacks_page}

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")
"""A link to a file: whether an image, text, path, anchor."""


def on_files(files: Files, config: "MkDocsConfig") -> Files:
    """Add the pages that don't lie in docs/, and the figures."""
    for uri, made in GENERATED.items():
        files.append(File.generated(config, uri, content=made()))
    for source, uri in PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / source).read_text(encoding="utf-8")))
    for figure in sorted((ROOT / "experiments/figures").glob("*.png")):
        files.append(File.generated(config, f"figures/{figure.name}", abs_src_path=str(figure)))
    return files


def on_page_markdown(markdown: str, page: "Page", config: "MkDocsConfig", files: Files) -> str:
    """Point links to files of the repository at the site's pages."""
    return site_links(markdown, page.file.src_uri, config.repo_url)


def site_links(markdown: str, uri: str, repository: str | None = None) -> str:
    """Markdown whose links to files of the repository lead to pages of the site, or else to the repository.

    Args:
        markdown: of a page.
        uri: of that page.
        repository: address of the repository; without it, a link to a file that the site lacks becomes its path.
    """
    source = next((source for source, page in PAGES.items() if page == uri), f"docs/{uri}")

    def linked(found: re.Match[str]) -> str:
        image, text, target, anchor = found.groups()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        there = _page(path)
        if there:
            return f"{image}[{text}]({posixpath.relpath(there, posixpath.dirname(uri) or '.')}{anchor or ''})"
        return f"[{text}]({repository.rstrip('/')}/blob/main/{path})" if repository else f"`{path}`"

    spaced = re.sub(r"^(<!-- .* -->)$", r"\n\1\n", markdown, flags=re.MULTILINE)
    return LINK.sub(linked, spaced)


def _page(path: str) -> str | None:
    """The site's own file for a file of the repository."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("experiments/figures/"):
        return path.removeprefix("experiments/")
    if path == "README.md":
        return "index.md"
    return path.removeprefix("docs/") if path.startswith("docs/") else None
