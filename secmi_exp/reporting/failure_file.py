"""failure.txt in the directory of a sweep's job: why it has failed, in a sentence."""

from pathlib import Path

from secmi_exp.errors import UserError, first_line
from secmi_exp.files.regular import read_end
from secmi_exp.formatting import LONGEST_LINE, one_sentence, shortened

NAME = "failure.txt"


def write_failure(folder: Path, error: Exception) -> None:
    """Write why a job has failed into its directory."""
    reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {first_line(error)}"
    try:
        (folder / NAME).write_text(f"{one_sentence(reason)}\n", encoding="utf-8")
    except OSError:  # on a full disk the job's own sentence is all there is
        (folder / NAME).unlink(missing_ok=True)


def read_failure(folder: Path) -> str:
    """Return why a job has failed; empty if it didn't record that."""
    return shortened(read_end(folder / NAME).strip(), LONGEST_LINE)
