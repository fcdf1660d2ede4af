"""`python -m secmi_exp.report DIR…`: write the report page, one HTML file about any runs and sweeps.

With ``--for owner`` it is one printed page about one run: a question, its answer, and what would make that wrong.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError
from secmi_exp.files.atomic import written_whole

render_page = Deferred("secmi_exp.reporting.page.render:render_page")
render_owner_page = Deferred("secmi_exp.reporting.page.owner:render_owner_page")
find_runs = Deferred("secmi_exp.reporting.run_folders:find_runs")


PAGES = {"all": render_page, "owner": render_owner_page}
"""Whom the page is for → what renders it."""


def write_report(folders: Sequence[Path], output: Path, reader: str = "all") -> None:
    """Write the page, whole or not at all. What UTF-8 can't hold, such as bytes of a file's name, becomes a "?".

    Args:
        folders: of runs and sweeps.
        output: the HTML file.
        reader: a key of `PAGES`.

    Raises:
        UserError: if there is no run, the page can't be written, or the page for an owner isn't about one attack.
    """
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise UserError(f"The page can't be written to {output}: name a file in a directory that exists.")
    content = PAGES[reader](find_runs(folders)).encode("utf-8", "replace")
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
    parser.add_argument(
        "--for",
        dest="reader",
        choices=PAGES,
        default="all",
        help="owner: one printed page about one run, for a data owner and whoever they hand it to",
    )
    given = parser.parse_args(arguments)
    try:
        write_report(given.folders, given.output, given.reader)
    except UserError as error:
        sys.stderr.write(f"secmi_exp.report: {error}\n")
        sys.exit(1)
    sys.stdout.write(f"{given.output}\n")


if __name__ == "__main__":
    main()
