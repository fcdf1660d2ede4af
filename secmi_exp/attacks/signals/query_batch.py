"""What an attack asks a target about a batch of images, beyond the trajectory: states, predictions, shared noises.

Noise number j is the same for all images, whatever batch they are in: scores are then comparable between images, and
don't depend on batches, ranks, or which other images there are.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from secmi_exp.diffusion.ddim import noised
from secmi_exp.diffusion.noise_predictor import Condition, NoisePredictor


@dataclass(frozen=True)
class QueryBatch:
    """One batch, and the target that is asked about it."""

    predictor: NoisePredictor
    x_0: Tensor
    """Images in the model's range, or scaled latents, [B, …], in at least float32."""
    condition: Condition
    """Of the predictions."""

    def predict(self, x_t: Tensor, t: int) -> Tensor:
        """ε_θ(x_t, t) for states [B, …]; costs a query an image."""
        return self.predictor.predict_noise(x_t, t, self.condition)

    def row(self, i: int) -> "Question":
        """About one of the images."""
        condition = {name: tensor[i : i + 1] for name, tensor in self.condition.items()}
        return replace(self, x_0=self.x_0[i : i + 1], condition=condition)

    def noise(self, seed: int, j: int) -> Tensor:
        """Noise number j: standard normal numbers like one image, [1, …]."""
        draws = np.random.default_rng([seed, j]).standard_normal(self.x_0.shape[1:], dtype=np.float32)
        return torch.from_numpy(draws).to(self.x_0.device, self.x_0.dtype)[None]

    def state(self, eps: Tensor, t: int, x_0: Tensor | None = None) -> Tensor:
        """√ᾱ_t x_0 + √(1−ᾱ_t) ε, [B, …]."""
        return noised(self.x_0 if x_0 is None else x_0, eps, self.predictor.alphas_cumprod[t])

    def loss(self, t: int, seed: int, j: int, x_0: Tensor | None = None) -> Tensor:
        """‖ε_θ(x_t, t) − ε‖² / d with noise number j, the mean of squares over the d elements of an image. [B]."""
        eps = self.noise(seed, j)
        return (self.predict(self.state(eps, t, x_0), t) - eps).square().flatten(1).mean(dim=1)


def norm(x: Tensor, p: float) -> Tensor:
    """‖x‖_p of each image [B, …]. [B].

    >>> norm(torch.ones(2, 1, 4, 4), 4).tolist()
    [2.0, 2.0]
    """
    size: Tensor = torch.linalg.vector_norm(x.flatten(1), p, dim=1)
    return size
