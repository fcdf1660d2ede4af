"""Text that somebody else has written, such as a file's name or a table's cell, as it can be shown and stored.

Names of files may hold any bytes, which Python has as unpaired surrogates ("\\udcff"), and so may JSON ("\\ud83d"
alone). No UTF-8 file can hold those: neither Parquet nor HTML nor what Weights & Biases is sent.
"""

import reprlib

LONGEST = 1200
"""Characters of a sentence that quotes others' text; paths may have 4,096."""

_briefly = reprlib.Repr()
_briefly.maxlevel, _briefly.maxlist, _briefly.maxtuple, _briefly.maxdict = 2, 4, 4, 4
_briefly.maxstring, _briefly.maxother, _briefly.maxlong = 100, 100, 40


def printable(text: str) -> str:
    """A text in which whatever could control a terminal, or isn't Unicode, is escaped; it may have names of files.

    >>> printable("x\\x1b[2J.png and \\udcff.png")
    'x\\\\x1b[2J.png and \\\\udcff.png'
    """
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def unicode_name(text: str) -> str:
    """A name or a setting in which what isn't Unicode is escaped; whatever is, control characters too, stays as it is.

    >>> unicode_name("été.png"), unicode_name("\\udce9t\\udce9.png")
    ('été.png', '\\\\udce9t\\\\udce9.png')
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def unicode_text(text: str) -> str:
    """A text for a model, in which the replacement character stands for what isn't Unicode, as decoders have it.

    >>> unicode_text("a \\ud83d smile")
    'a � smile'
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_unicode(text: str) -> bool:
    """Whether a text has no unpaired surrogate."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def shortened(text: str, longest: int = LONGEST) -> str:
    """A text without its middle, where it has too many characters.

    >>> shortened("0123456789", 7)
    '012…789'
    """
    half = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"


def short_repr(value: object) -> str:
    """A value for a sentence that quotes it: its repr, of which a long or deep one shows the beginning.

    >>> short_repr([0] * 1000)
    '[0, 0, 0, 0, ...]'
    """
    try:
        return _briefly.repr(value)
    except (ValueError, RecursionError):  # an integer of more digits than Python writes out
        return f"a value of the type {type(value).__name__}"
