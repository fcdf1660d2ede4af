"""A Markdown extension that leaves underscores as they are, as in x̃_0; emphasis is written with stars."""

from markdown import Extension, Markdown


class PlainUnderscores(Extension):
    """Without emphasis by underscores."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Take the pattern out."""
        md.inlinePatterns.deregister("em_strong2")


def makeExtension() -> PlainUnderscores:
    """The name that Markdown looks for."""
    return PlainUnderscores()
