"""Diffusers' schedulers, made from the settings that lie beside a network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers

from secmi_exp.errors import UserError
from secmi_exp.targets.loading.json_fields import checked
from secmi_exp.targets.loading.model_file_schemas import Scheduler
from secmi_exp.targets.loading.settings_files import reason


def make_scheduler(config: Mapping[str, Any], source: Path | str, kind: str | None = None, **changes: Any) -> Any:
    """Make a scheduler.

    Args:
        config: settings that diffusers wrote.
        source: the file that they come from, for messages.
        kind: class of the scheduler; None: the class that the settings name.
        **changes: settings with other values.

    Raises:
        UserError: for a class that diffusers doesn't have, and settings that no scheduler can have.
    """
    checked(Scheduler, config, source)
    name = kind or config.get("_class_name")
    scheduler = getattr(diffusers, str(name), None)
    if not (isinstance(scheduler, type) and issubclass(scheduler, diffusers.SchedulerMixin)):
        raise UserError(
            f"The scheduler {name} is none that diffusers {diffusers.__version__} knows: use a DDPMScheduler."
        )
    try:
        return scheduler.from_config(dict(config) | changes)  # type: ignore[attr-defined]
    except Exception as error:  # whatever its computations raise for numbers that they can't take
        raise UserError(f"diffusers refuses a {name} with the settings of {source} ({reason(error)}).") from error
