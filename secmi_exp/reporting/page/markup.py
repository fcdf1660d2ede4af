"""HTML whose escaping can't be forgotten: text is escaped wherever it enters, and only this module makes markup."""

import html
import json
from collections.abc import Iterable

from secmi_exp.store import Json


class Html(str):
    """Markup. Whatever else is a string is text, also what string methods and f-strings make of markup."""

    __slots__ = ()


Child = str | None
"""Html, or text to be escaped; None is nothing."""
Attribute = str | int | float | bool | None


def markup(child: Child) -> Html:
    """Markup as it is, text escaped; what no UTF-8 file can hold, such as bytes of a file's name, becomes a "?".

    >>> markup("<b> & \\udcff"), markup(Html("<hr>"))
    ('&lt;b&gt; &amp; ?', '<hr>')
    """
    if isinstance(child, Html):
        return child
    return Html(html.escape(child.encode("utf-8", "replace").decode("utf-8"))) if child else Html()


def joined(children: Iterable[Child]) -> Html:
    """One after another."""
    return Html("".join(map(markup, children)))


def element(tag: str, *children: Child, **attributes: Attribute) -> Html:
    """An element.

    Args:
        tag: its name, written in the program.
        children: markup or text.
        attributes: ``_`` in a name stands for ``-``, one at its end for nothing; False and None are left out.

    >>> element("td", "a<b", class_="number", data_value=0.5, hidden=True)
    '<td class="number" data-value="0.5" hidden>a&lt;b</td>'
    """
    written = "".join(
        f" {name.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{markup(str(value))}"')
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    return Html(f"<{tag}{written}>{joined(children)}</{tag}>")


def empty(tag: str, **attributes: Attribute) -> Html:
    """An element that HTML knows no end of, such as meta and img.

    >>> empty("img", alt='"')
    '<img alt="&quot;">'
    """
    return Html(element(tag, **attributes).removesuffix(f"</{tag}>"))


def script_data(identity: str, value: Json) -> Html:
    """JSON for a script: no ``<`` is left in it that could end the element or begin a comment.

    >>> script_data("a", ["</script><!--"])
    '<script type="application/json" id="a">["\\\\u003c/script>\\\\u003c!--"]</script>'
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return element("script", Html(text), type="application/json", id=identity)
