"""How values and texts from strangers appear in messages: escaped, on one line, shortened; and sizes in bytes.

Names of files may hold any bytes, which Python has as unpaired surrogates ("\\udcff"), and so may JSON ("\\ud83d"
alone). No UTF-8 file can hold those: neither Parquet nor HTML nor what Weights & Biases is sent.
"""

import reprlib

LONGEST_VALUE, LONGEST_LINE, LONGEST_SENTENCE = 120, 400, 1200
"""Characters of a value, of another's message, and of a sentence that are shown; of more the middle is left out."""

_briefly = reprlib.Repr()
_briefly.maxlevel, _briefly.maxlist, _briefly.maxtuple, _briefly.maxdict = 8, 40, 40, 40
_briefly.maxstring = _briefly.maxother = _briefly.maxlong = LONGEST_VALUE


def printable(text: str) -> str:
    """A text in which whatever could control a terminal, or isn't Unicode, is escaped; it may have names of files.

    >>> printable("x\\x1b[2J.png and \\udcff.png")
    'x\\\\x1b[2J.png and \\\\udcff.png'
    """
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def one_sentence(text: str) -> str:
    """A text as one line of UTF-8 that can be printed and written anywhere; its middle is cut where it is very long.

    >>> one_sentence("a\\nb\\udcff\\x1b")
    'a b\\\\udcff\\\\x1b'
    """
    return shortened(printable(" ".join(text.split())), LONGEST_SENTENCE)


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


def shortened(text: str, longest: int) -> str:
    """A text without its middle, where it has too many characters.

    >>> shortened("0123456789", 7)
    '0123…89'
    """
    end = longest // 3
    return text if len(text) <= longest else f"{text[: longest - end - 1]}…{text[-end:]}"


def shown(value: object) -> str:
    """A value as messages quote it: on one line, null and booleans as in YAML, cut where long or deep.

    >>> shown("a" * 1000)[:5], len(shown("a" * 1000)), shown([1, None]), shown(True)
    ("'aaaa", 120, '[1, None]', 'true')
    """
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    try:
        return shortened(repr(value) if isinstance(value, str) else _briefly.repr(value), LONGEST_VALUE)
    except Exception:  # such as of an integer with more digits than Python writes out, or of too deep a nesting
        return f"<{type(value).__name__}>"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number of things.

    >>> counted(1, "image"), counted(1200, "image"), counted(0, "query", "queries")
    ('1 image', '1,200 images', '0 queries')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def as_size(size: float) -> str:
    """A number of bytes with its unit.

    >>> as_size(999), as_size(1_234_567)
    ('999 B', '1.2 MB')
    """
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 1000 or unit == "TB":
            break
    return f"{size:.1f} {unit}"


def as_duration(seconds: float) -> str:
    """A time to come, by its two largest units, or in seconds or minutes where it is short.

    >>> as_duration(0.4), as_duration(99), as_duration(200), as_duration(3590), as_duration(7500), as_duration(2e5)
    ('0 s', '99 s', '3 min', '1 h', '2 h 5 min', '2 d 8 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    large, small, units = (*divmod(minutes, 60), ("h", "min"))
    if large >= 24:
        large, small, units = (*divmod(round(minutes / 60), 24), ("d", "h"))
    return f"{large} {units[0]}" + (f" {small} {units[1]}" if small else "")
