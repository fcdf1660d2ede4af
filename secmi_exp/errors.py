"""The one exception for a user's mistakes; its message is a single sentence, shown without a traceback."""

from secmi_exp.formatting import LONGEST_LINE, LONGEST_SENTENCE, printable, shortened


class UserError(Exception):
    """Something the user can mend: says what is wrong, the value seen, and what to do.

    It may quote whatever somebody else's files hold: what could control a terminal is escaped in it, and it stays short
    enough to be read.

    >>> str(UserError("There is no image \\x1b[2J.png."))
    'There is no image \\\\x1b[2J.png.'
    """

    def __init__(self, sentence: str):
        super().__init__(shortened(printable(sentence), LONGEST_SENTENCE))


def reason_without_path(error: BaseException) -> str:
    """Why a file can't be read, for a sentence that names the file already."""
    return (error.strerror if isinstance(error, OSError) else None) or first_line(error)


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, shortened and without a full stop, to be quoted in a sentence."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # an exception that holds what the user gave may fail at showing it
        lines = []
    return shortened(lines[0].rstrip(".:"), LONGEST_LINE) if lines else type(error).__name__
