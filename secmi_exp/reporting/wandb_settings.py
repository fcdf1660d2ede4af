"""What Weights & Biases is certain to refuse, and whether it is used online."""

from __future__ import annotations

import inspect
import logging
import os
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from secmi_exp.errors import UserError, first_line

log = logging.getLogger(__name__)

MODES = {
    "online": "online", "offline": "offline", "disabled": "disabled", "shared": "shared",
    "run": "online", "dryrun": "offline",
}  # fmt: skip
"""Value of WANDB_MODE → the mode that it is another name of."""


def _refuse_special_characters(project: str) -> str:
    if found := sorted(set(project) & set("/\\#?%:")):
        told = "a project's name at W&B has none of / \\ # ? % :, but this one has {found}"
        raise PydanticCustomError("project", told, {"found": " and ".join(found)})
    return project


Project = Annotated[str, Field(max_length=128), AfterValidator(_refuse_special_characters)]
"""Name of a W&B project."""

Tag = Annotated[str, Field(min_length=1, max_length=64)]
"""Tag of a W&B run."""


def mode_of_environment() -> str | None:
    """What WANDB_MODE says; None where it isn't set.

    Raises:
        UserError: where it is none of W&B's modes.
    """
    mode = os.environ.get("WANDB_MODE")
    if mode and mode not in MODES:
        raise UserError(
            f"WANDB_MODE={mode} is none of W&B's modes, set it to online, offline or disabled, or unset it."
        )
    return MODES[mode] if mode else None


def has_credentials() -> bool:
    """Whether W&B knows an API key here that it can use; never asks for one, nor the server."""
    import wandb

    try:
        if "prompt" in inspect.signature(wandb.login).parameters:
            return bool(wandb.login(prompt=False, verify=False))
        return bool(wandb.api.api_key)  # older versions of W&B
    except Exception as error:  # W&B raises several kinds, by what is wrong with the key
        log.warning("Weights & Biases can't use its credentials (%s).", first_line(error))
        return False


def resolved_mode(mode: str) -> Any:
    """W&B's mode; auto is online where there are credentials, unless the environment says otherwise."""
    if mode != "auto":
        return mode
    return mode_of_environment() or ("online" if has_credentials() else "offline")
