"""The one exception for a user's mistakes; its message is a single sentence, shown without a traceback."""


class UserError(Exception):
    """Something the user can mend: says what is wrong, the value seen, and what to do."""
