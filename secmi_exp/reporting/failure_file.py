"""failure.txt in the directory of a sweep's job: why it has failed, in a sentence."""

from pathlib import Path

from secmi_exp.errors import UserError, first_line

NAME = "failure.txt"


def write_failure(folder: Path, error: Exception) -> None:
    """Write why a job has failed into its directory."""
    reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {first_line(error)}"
    (folder / NAME).write_text(f"{reason}\n", encoding="utf-8")


def read_failure(folder: Path) -> str:
    """Return why a job has failed; empty if it didn't record that."""
    path = folder / NAME
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""
