"""`python -m secmi_exp.report DIR…`: write the report page, one HTML file about any runs and sweeps."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from secmi_exp.errors import UserError
from secmi_exp.files.atomic import written_whole


def write_report(folders: Sequence[Path], output: Path) -> None:
    """Write the page, whole or not at all. What UTF-8 can't hold, such as bytes of a file's name, becomes a "?".

    Raises:
        UserError: if there is no run, or the page can't be written.
    """
    from secmi_exp.reporting.page.render import render_page  # matplotlib, which --help needs not
    from secmi_exp.reporting.run_folders import find_runs

    if output.is_dir() or not output.absolute().parent.is_dir():
        raise UserError(f"The page can't be written to {output}: name a file in a directory that exists.")
    content = render_page(find_runs(folders)).encode("utf-8", "replace")
    try:
        with written_whole(output) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise UserError(f"The page can't be written to {output} ({error.strerror}): choose another by -o.") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page and print its path; a user's mistake ends with one sentence and status 1."""
    parser = argparse.ArgumentParser(
        prog="python -m secmi_exp.report",
        description="Build one self-contained HTML page from any runs and sweeps: comparison, ROC, histograms, "
        "timesteps, exposed images, differences of configuration, warnings.",
    )
    parser.add_argument("folders", metavar="DIR", type=Path, nargs="+", help="a run, a sweep, or a folder of them")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, default=Path("report.html"), help="%(default)s")
    given = parser.parse_args(arguments)
    try:
        write_report(given.folders, given.output)
    except UserError as error:
        sys.stderr.write(f"secmi_exp.report: {error}\n")
        sys.exit(1)
    sys.stdout.write(f"{given.output}\n")


if __name__ == "__main__":
    main()
