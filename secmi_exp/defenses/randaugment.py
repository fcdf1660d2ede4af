"""RandAugment: a few transformations in a row, drawn for each training image.

Source: Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space" (NeurIPS 2020);
the authors of SecMI use torchvision's with five operations (mia_evals/dataset_utils.py).
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict, Field, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.defenses.defense import Defense

if TYPE_CHECKING:
    from torch import Tensor

    from secmi_exp.defenses.transformations import TransformationsByImage
    from secmi_exp.engine.optimization import Draws


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RandAugment(Defense):
    """torchvision's, on uint8 images."""

    num_ops: PositiveInt
    magnitude: Annotated[int, Field(ge=0, le=30)]

    @cached_property
    def _transformations(self) -> TransformationsByImage:
        from secmi_exp.defenses.transformations import TransformationsByImage

        return TransformationsByImage(num_ops=self.num_ops, magnitude=self.magnitude)

    def model_input(self, images: Tensor, draws: Draws) -> Tensor:
        """Transformed images in [−1, 1]."""
        choices = draws.choices(len(self._transformations.names), self.num_ops)
        negative = draws.choices(2, self.num_ops) == 1
        return super().model_input(self._transformations(images, choices, negative), draws)
