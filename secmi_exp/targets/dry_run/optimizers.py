"""Optimizers as a configuration describes them, tried on a single weight."""

from typing import Any

import torch
from hydra.utils import get_class
from torch import Tensor, nn

from secmi_exp.errors import UserError
from secmi_exp.targets.dry_run.settings import attempt, refuse_unlike_defaults
from secmi_exp.targets.library_settings import Settings


def try_optimizer(settings: Settings, place: str) -> None:
    """Take one step with a single weight.

    Raises:
        UserError: naming the setting that the optimizer refuses, or that no weight stays finite with.
    """
    kind = attempt("torch", place, settings, lambda settings: get_class(str(settings.get("_target_"))))
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
        raise UserError(
            f"{place}._target_={settings.get('_target_')} is no optimizer: choose one, such as torch.optim.Adam."
        )
    refuse_unlike_defaults(kind, settings, place)

    def step(settings: Settings) -> None:
        arguments: dict[str, Any] = {name: value for name, value in settings.items() if name != "_target_"}
        weights = nn.Parameter(torch.ones(1))
        optimizer: torch.optim.Optimizer = kind([weights], **arguments)

        def loss() -> Tensor:
            optimizer.zero_grad()
            value = weights.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        if not arguments.get("capturable"):  # which only CUDA can
            with torch.enable_grad():
                optimizer.step(loss)  # type: ignore[arg-type]
        if not bool(weights.isfinite()):
            raise ValueError("a weight isn't finite after a single step")

    attempt("torch", place, settings, step)
