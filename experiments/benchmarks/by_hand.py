"""The formula of each attack as somebody would write it by hand: what the attacks' speed is measured against.

Plain torch, a loop over batches in memory; states, noises and norms as the papers define them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.functional import center_crop, resize

from experiments.benchmarks import published

Formula = Callable[["Model", Tensor], Tensor]
"""A value for each image of a batch [B, C, H, W]: [B] or [B, F]."""


@dataclass
class Model:
    """A `UNet2DModel` that predicts ε, and ᾱ; counts its queries."""

    network: nn.Module
    abar: Tensor
    """[T]."""
    queries: int = 0

    def noise(self, x: Tensor, t: Tensor) -> Tensor:
        """ε_θ(x_t, t)."""
        self.queries += len(x)
        output: Tensor = self.network(x, t).sample
        return output

    def at(self, x: Tensor, t: int) -> Tensor:
        """The same at one timestep."""
        return self.noise(x, torch.full((len(x),), t, device=x.device))

    def state(self, x_0: Tensor, eps: Tensor, t: int) -> Tensor:
        """√ᾱ_t x_0 + √(1−ᾱ_t) ε."""
        return self.abar[t].sqrt() * x_0 + (1 - self.abar[t]).sqrt() * eps

    def loss(self, x_0: Tensor, eps: Tensor, t: int) -> Tensor:
        """Mean of squares of ε_θ(x_t, t) − ε."""
        return (self.at(self.state(x_0, eps, t), t) - eps).square().flatten(1).mean(1)


def drawn(like: Tensor, j: int) -> Tensor:
    """Noise number j of seed 0, for all images."""
    draws = np.random.default_rng([0, j]).standard_normal(like.shape[1:], dtype=np.float32)
    return torch.from_numpy(draws).to(like.device)[None]


def loop(model: Model, images: Tensor, formula: Formula) -> Tensor:
    """All images in batches."""
    return torch.cat([formula(model, batch) for batch in images.split(published.BATCH_SIZE)])


def stat(model: Model, x_0: Tensor, t_sec: int = 100, k: int = 10) -> Tensor:
    """SecMI's t-error, of which quantile takes the logarithm; see `published`."""
    return published.t_error(model.noise, x_0, model.abar, t_sec, k)


def pia(model: Model, x_0: Tensor, t: int = 200, p: float = 4.0, *, normalize: bool = False) -> Tensor:
    """‖ε_θ(√ᾱ_t x_0 + √(1−ᾱ_t) ε_0, t) − ε_0‖_p with ε_0 = ε_θ(x_0, 0), scaled for PIAN."""
    eps = model.at(x_0, 0)
    if normalize:
        eps = eps * (2 / np.pi) ** 0.5 / eps.abs().mean(dim=(1, 2, 3), keepdim=True)
    return (model.at(model.state(x_0, eps, t), t) - eps).flatten(1).norm(p, dim=1)


def pian(model: Model, x_0: Tensor) -> Tensor:
    """PIA with normalised noise."""
    return pia(model, x_0, normalize=True)


def sima(model: Model, x_0: Tensor, t: int = 100, p: float = 4.0) -> Tensor:
    """‖ε_θ(x_0, t)‖_p."""
    return model.at(x_0, t).flatten(1).norm(p, dim=1)


def loss(model: Model, x_0: Tensor, t: int = 100, noises: int = 5) -> Tensor:
    """Mean over noises of the loss."""
    return torch.stack([model.loss(x_0, drawn(x_0, j), t) for j in range(noises)]).mean(0)


def pfami(model: Model, x_0: Tensor, crop: float = 0.811) -> Tensor:
    """Mean over timesteps of (L_t(crop) − L_t(image)) / L_t(image)."""
    size = list(x_0.shape[-2:])
    cropped = resize(center_crop(x_0, [int(side * crop) for side in size]), size, antialias=True)
    values = []
    for j, t in enumerate(range(0, 500, 50)):
        eps = drawn(x_0, j)
        value = model.loss(x_0, eps, t)
        values.append((model.loss(cropped, eps, t) - value) / value)
    return torch.stack(values).mean(0)


def gsa(model: Model, x_0: Tensor, timesteps: int = 10) -> Tensor:
    """Norms of the loss's gradient in each parameter tensor, image by image."""
    weights = list(model.network.parameters())
    rows = []
    with torch.enable_grad():
        for image in x_0.split(1):
            losses = [
                model.loss(image, drawn(image, j), j * len(model.abar) // timesteps).mean() for j in range(timesteps)
            ]
            gradients = torch.autograd.grad(torch.stack(losses).mean(), weights)
            rows.append(torch.stack([each.norm() for each in gradients]))
    return torch.stack(rows)


def cdi(model: Model, x_0: Tensor) -> Tensor:
    """All values that its logistic regression takes, one attack after the other."""
    losses = torch.stack([model.loss(x_0, drawn(x_0, 0), t) for t in range(0, 1000, 100)], dim=1)
    others = [stat(model, x_0), loss(model, x_0), pia(model, x_0), pian(model, x_0), sima(model, x_0)]
    return torch.cat([losses, losses.mean(dim=1, keepdim=True), torch.stack(others, dim=1)], dim=1)


def distance(model: Model, x_0: Tensor, t_sec: int = 100, k: int = 10) -> Tensor:
    """‖ψ(φ(x̃_t)) − x̃_t‖_4 at t = t_sec − k."""

    def step(x: Tensor, t: int, u: int, eps: Tensor) -> Tensor:
        return model.state((x - (1 - model.abar[t]).sqrt() * eps) / model.abar[t].sqrt(), eps, u)

    x = x_0
    for t in range(0, t_sec - k, k):
        x = step(x, t, t + k, model.at(x, t))
    up = step(x, t_sec - k, t_sec, model.at(x, t_sec - k))
    return (step(up, t_sec, t_sec - k, model.at(up, t_sec)) - x).flatten(1).norm(4, dim=1)


def gan_leaks(model: Model, images: Tensor, samples: int, steps: int) -> Tensor:
    """Distance to the nearest of the samples, which deterministic DDIM draws; all images at once."""
    nearest = torch.full((len(images),), torch.inf, dtype=torch.float64, device=images.device)
    times = [round(len(model.abar) * (1 - i / steps)) - 1 for i in range(steps)]
    noise = [np.random.default_rng([0, i]).standard_normal(images.shape[1:], dtype=np.float32) for i in range(samples)]
    for x in torch.from_numpy(np.stack(noise)).to(images.device).split(published.BATCH_SIZE):
        for t, u in zip(times, [*times[1:], None], strict=True):
            eps = model.at(x, t)
            x = (x - (1 - model.abar[t]).sqrt() * eps) / model.abar[t].sqrt()
            x = x if u is None else model.state(x, eps, u)
        pixels = ((x + 1) * 127.5).round().clamp(0, 255) / 127.5 - 1
        distances = torch.cdist(images.flatten(1).double(), pixels.flatten(1).double())
        nearest = torch.minimum(nearest, distances.amin(dim=1))
    return nearest
