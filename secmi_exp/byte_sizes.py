"""Numbers of bytes as a person reads them."""


def as_size(size: float) -> str:
    """Bytes for a person.

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
