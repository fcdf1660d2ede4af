"""Names such as x̃_t in Markdown, whose underscores would begin emphasis."""

import re

CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)


def escaped(markdown: str) -> str:
    """Markdown with a backslash before each underscore that follows a letter with a tilde, but in code.

    >>> print(escaped("x\u0303_0 and `x\u0303_t`").replace("\u0303", ""))
    x\\_0 and `x_t`
    """
    parts = CODE.split(markdown)
    parts[::2] = [part.replace("\u0303_", "\u0303\\_") for part in parts[::2]]
    return "".join(parts)
