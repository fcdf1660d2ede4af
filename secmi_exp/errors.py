"""The one exception for a user's mistakes; its message is a single sentence, shown without a traceback."""


class UserError(Exception):
    """Something the user can mend: says what is wrong, the value seen, and what to do."""


def first_line(error: BaseException) -> str:
    """What another exception says, to be quoted in such a sentence: without a full stop."""
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
