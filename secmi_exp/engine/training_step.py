"""A training step in place of the ordinary one: what a defense may give a training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from secmi_exp.torch_on_use import Tensor


class TrainingStep(Protocol):
    """How an `Optimization` takes its steps. A class derived from this one changes only what it overrides."""

    max_steps: int
    """Number of steps."""
    manual: bool = False
    """Whether `take` steps the optimizer itself. Lightning then neither accumulates nor clips gradients."""
    poisson: bool = False
    """Whether each sample is in a batch independently of the others, instead of in shuffled order."""
    callbacks: Sequence[Any] = ()
    """Callbacks of Lightning."""

    def wrap_optimizer(self, optimizer: Any, module: Any) -> Any:
        """Return the optimizer to use in place of the recipe's.

        Args:
            optimizer: of torch.
            module: the `Optimization`.
        """
        return optimizer

    def take(self, module: Any, batch: list[Any]) -> Tensor:
        """Take one step.

        Args:
            module: the `Optimization`.
            batch: tensors of samples and, unless `poisson`, the `Piece` of the batch that they are.

        Returns:
            The loss, from which Lightning computes the gradient unless `manual`.
        """
        ...

    def save_report(self, folder: Path) -> None:
        """Write the files that the defense keeps beside the weights; see `Defense.report_files`."""
        return
