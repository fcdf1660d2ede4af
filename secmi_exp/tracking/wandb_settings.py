"""Settings of Weights & Biases, checked before a run, and whether it is used online."""

from __future__ import annotations

import inspect
import logging
import os
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError, first_line

login = Deferred("wandb:login")
api = Deferred("wandb:api")

log = logging.getLogger(__name__)

MODES = {
    "online": "online", "offline": "offline", "disabled": "disabled", "shared": "shared",
    "run": "online", "dryrun": "offline",
}  # fmt: skip
"""Value of WANDB_MODE → the mode that it names."""


def _refuse_special_characters(project: str) -> str:
    if forbidden := sorted(set(project) & set("/\\#?%:")):
        message = "a project's name at W&B has none of / \\ # ? % :, but this one has {found}"
        raise PydanticCustomError("project", message, {"found": " and ".join(forbidden)})
    return project


Project = Annotated[str, Field(max_length=128), AfterValidator(_refuse_special_characters)]
"""Name of a W&B project."""

Tag = Annotated[str, Field(min_length=1, max_length=64)]
"""Tag of a W&B run."""


def mode_from_environment() -> str | None:
    """The mode that WANDB_MODE names; None if it isn't set.

    Raises:
        UserError: if it is none of W&B's modes.
    """
    mode = os.environ.get("WANDB_MODE")
    if mode and mode not in MODES:
        raise UserError(
            f"WANDB_MODE={mode} is none of W&B's modes, set it to online, offline or disabled, or unset it."
        )
    return MODES[mode] if mode else None


def has_credentials() -> bool:
    """Whether W&B has a usable API key; asks neither the user nor the server."""
    try:
        if "prompt" in inspect.signature(login.imported).parameters:
            return bool(login(prompt=False, verify=False))
        return bool(api.imported.api_key)  # older versions of W&B
    except Exception as error:  # W&B raises several kinds, by what is wrong with the key
        log.warning("Weights & Biases can't use its credentials (%s).", first_line(error))
        return False


def resolve_mode(mode: str) -> Any:
    """W&B's mode for a setting; auto is WANDB_MODE if set, else online if there are credentials."""
    if mode != "auto":
        return mode
    return mode_from_environment() or ("online" if has_credentials() else "offline")
