"""Links between files of the repository, as they must be on the site.

Pages link to each other and to other files of the repository by relative paths, so that they can be read without the
site too.
"""

import posixpath
import re

PAGES = {
    "experiments/README.md": "experiments.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
"""Files of the repository → the pages of the site that they become."""

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")
"""A link to a file: whether an image, text, path, anchor."""


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
