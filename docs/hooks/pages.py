"""MkDocs' hooks: the generated pages, pages of the repository that lie outside of docs/, and links to its files."""

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.hooks.escaping import escaped
from docs.hooks.links import PAGES, site_links
from docs.hooks.reference import GENERATED, ROOT


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that don't lie in docs/, and the figures."""
    for uri, made in GENERATED.items():
        files.append(File.generated(config, uri, content=made()))
    for source, uri in PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / source).read_text(encoding="utf-8")))
    for figure in sorted((ROOT / "experiments/figures").glob("*.png")):
        files.append(File.generated(config, f"figures/{figure.name}", abs_src_path=str(figure)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to files of the repository at the site's pages, and keep names with underscores."""
    return escaped(site_links(markdown, page.file.src_uri, config.repo_url))
