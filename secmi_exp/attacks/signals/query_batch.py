"""A batch of images and the target that is queried about it: states, predictions, and noises that all images share.

Noise number j is the same for all images, whatever batch they are in: scores are then comparable between images, and
don't depend on batches, ranks, or which other images there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Self

import numpy as np
from pydantic import NonNegativeInt

from secmi_exp.diffusion.noise_predictor_type import NoisePredictor
from secmi_exp.torch_on_use import Tensor, torch

TIMESTEP = "timestep"

Timestep = Annotated[NonNegativeInt, TIMESTEP]
"""Setting of an attack that queries the target at this timestep; the target must have it."""


@dataclass(frozen=True)
class QueryBatch:
    """One batch of images, and the target."""

    predictor: NoisePredictor
    x_0: Tensor
    """Images in the model's range, or scaled latents, [B, …], in at least float32."""
    condition: Mapping[str, Tensor]
    """What the predictions depend on besides, such as prompts: name → [B, …]."""

    def predict_noise(self, x_t: Tensor, t: int) -> Tensor:
        """ε_θ(x_t, t) for states [B, …]; costs a query an image."""
        return self.predictor.predict_noise(x_t, t, self.condition)

    def predict_image(self, x_t: Tensor, t: int) -> Tensor:
        """x̂_0 in states [B, …]; costs a query an image, like the noise."""
        return self.predictor.predict_image(x_t, t, self.condition)

    def row(self, i: int) -> Self:
        """Return a batch of one of the images."""
        condition = {name: tensor[i : i + 1] for name, tensor in self.condition.items()}
        return replace(self, x_0=self.x_0[i : i + 1], condition=condition)

    def noise(self, seed: int, j: int) -> Tensor:
        """Return noise number j: standard normal numbers in the shape of one image, [1, …]."""
        draws = np.random.default_rng([seed, j]).standard_normal(self.x_0.shape[1:], dtype=np.float32)
        return torch.from_numpy(draws).to(self.x_0.device, self.x_0.dtype)[None]

    def add_noise(self, eps: Tensor, t: int, x_0: Tensor | None = None) -> Tensor:
        """α_t x_0 + σ_t ε, [B, …]; DDPM's are √ᾱ_t and √(1−ᾱ_t)."""
        return self.predictor.path.add_noise(self.x_0 if x_0 is None else x_0, eps, t)

    def loss(self, t: int, seed: int, j: int, x_0: Tensor | None = None) -> Tensor:
        """‖ε_θ(x_t, t) − ε‖² / d with noise number j, the mean of squares over the d elements of an image. [B]."""
        eps = self.noise(seed, j)
        return (self.predict_noise(self.add_noise(eps, t, x_0), t) - eps).square().flatten(1).mean(dim=1)


def norm(x: Tensor, p: float) -> Tensor:
    """Return ‖x‖_p of each image [B, …]. [B].

    >>> norm(torch.ones(2, 1, 4, 4), 4).tolist()
    [2.0, 2.0]
    """
    size: Tensor = torch.linalg.vector_norm(x.flatten(1), p, dim=1)
    return size
