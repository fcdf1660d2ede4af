"""RandAugment: a few transformations in a row, drawn for each training image.

Source: Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space" (NeurIPS 2020);
the authors of SecMI use torchvision's with five operations (mia_evals/dataset_utils.py).
"""

from typing import Annotated

from pydantic import ConfigDict, Field, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.defenses.defense import Defense, Draws
from secmi_exp.deferred import Deferred
from secmi_exp.torch_on_use import Tensor

TransformationsByImage = Deferred("secmi_exp.defenses.transformations:TransformationsByImage")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RandAugment(Defense):
    """torchvision's RandAugment, on uint8 images."""

    num_ops: PositiveInt
    magnitude: Annotated[int, Field(ge=0, le=30)]

    def model_input(self, images: Tensor, draws: Draws) -> Tensor:
        """Return transformed images in [−1, 1]."""
        transformations = TransformationsByImage(num_ops=self.num_ops, magnitude=self.magnitude)
        choices = draws.choices(len(transformations.names), self.num_ops)
        negative = draws.choices(2, self.num_ops) == 1
        return super().model_input(transformations(images, choices, negative), draws)
