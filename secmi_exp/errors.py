"""The one exception for a user's mistakes; its message is a single sentence, shown without a traceback."""

import reprlib

LONGEST_VALUE, LONGEST_LINE, LONGEST_SENTENCE = 120, 400, 2000
"""Characters of a value, of another's message, and of a sentence that are shown; of more the middle is left out."""


class UserError(Exception):
    """Something the user can mend: says what is wrong, the value seen, and what to do."""


def first_line(error: BaseException) -> str:
    """What another exception says, to be quoted in such a sentence: without the stop at its end."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # an exception that holds what the user gave may fail at showing it
        lines = []
    return cut(lines[0].rstrip(".:"), LONGEST_LINE) if lines else type(error).__name__


def shown(value: object) -> str:
    """A value as a sentence quotes it: on one line, and of a long one the beginning and the end.

    >>> shown("a" * 1000)[:5], len(shown("a" * 1000)), shown([1, None])
    ("'aaaa", 120, '[1, None]')
    """
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()  # as YAML has them
    if isinstance(value, str):
        return cut(repr(value), LONGEST_VALUE)
    try:
        return cut(_SHORT.repr(value), LONGEST_VALUE)
    except Exception:  # such as of a number with more digits than Python writes
        return f"<{type(value).__name__}>"


class _Short(reprlib.Repr):
    """What is nested deeply, or long, is cut while it is written."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxlist, self.maxtuple, self.maxdict = 8, 40, 40, 40
        self.maxstring, self.maxother, self.maxlong = LONGEST_VALUE, LONGEST_VALUE, LONGEST_VALUE


_SHORT = _Short()


def cut(text: str, longest: int) -> str:
    """A text without the middle where it is longer."""
    if len(text) <= longest:
        return text
    end = longest // 3
    return f"{text[: longest - end - 3]} … {text[-end:]}"


def one_sentence(text: str) -> str:
    """What can be printed and written to any file: one line of UTF-8, cut where it is very long.

    >>> one_sentence("a\\nb\\udcff\\x1b")
    'a b\\\\udcff\\\\x1b'
    """
    line = " ".join(text.split())
    line = "".join(character if character.isprintable() else repr(character)[1:-1] for character in line)
    return cut(line, LONGEST_SENTENCE)
