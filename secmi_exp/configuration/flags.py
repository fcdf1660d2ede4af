"""The flags of the command line, which Hydra's parser reads, and which of them are refused."""

from argparse import Namespace
from collections.abc import Sequence
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from secmi_exp.errors import UserError
from secmi_exp.formatting import shown

ONE_OF = ("run", "multirun", "cfg", "info", "shell_completion")
"""Flags of which Hydra obeys one."""
COMPLETION = ("install", "uninstall", "query")
"""Actions of --shell-completion."""


def read_flags(arguments: Sequence[str]) -> Namespace:
    """The command line's flags, and its other arguments as ``overrides``.

    Raises:
        UserError: for flags that there are not, or not together, and for arguments that are no text.
    """
    for argument in arguments:
        if any("\ud800" <= character <= "\udfff" for character in argument):
            raise UserError(f"The argument {shown(argument)} is no UTF-8, which configurations are written in.")
    parser = get_args_parser()
    parser.error = _refuse_flags  # type: ignore[method-assign]
    given = parser.parse_args(arguments)
    if given.experimental_rerun:
        raise UserError("--experimental-rerun is not offered: repeat the command that the run's overrides.yaml lists.")
    chosen = [f"--{name.replace('_', '-')}" for name in ONE_OF if getattr(given, name)]
    if len(chosen) > 1:
        raise UserError(f"{' and '.join(chosen)} can't be combined: choose one of them.")
    if given.resolve and not (given.cfg or given.help):
        raise UserError("--resolve says how --cfg shows the configuration: write --cfg job --resolve.")
    if given.shell_completion and not any(each.partition("=")[0] in COMPLETION for each in given.overrides):
        raise UserError(f"--shell-completion wants one of {', '.join(f'{each}=bash' for each in COMPLETION)}.")
    return given


def _refuse_flags(message: str) -> NoReturn:
    raise UserError(f"The command line can't be read ({message}): --help shows what there is.")
