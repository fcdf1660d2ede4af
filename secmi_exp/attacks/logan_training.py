"""The attacker's own GAN, and its training.

Source: Radford, Metz and Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks" (ICLR 2016), as LOGAN has it, with what makes it fit images of any size and batches in any number of parts:
group normalisation in the generator and none in the discriminator, where they have batch normalisation; 3×3 kernels;
and both networks take their steps at once, where they alternate.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import softplus

from secmi_exp.attacks.scorers.scorer import Scores
from secmi_exp.data.images import Images
from secmi_exp.data.model_range import to_model_range
from secmi_exp.data.slices import slices
from secmi_exp.data.stored_rows import RowArray
from secmi_exp.engine.batches import GivenBatches, TrainingBatches
from secmi_exp.engine.optimization import Draws, Optimization
from secmi_exp.engine.runtime import Runtime
from secmi_exp.engine.trainers import make_trainer
from secmi_exp.engine.training import fit

SMALLEST, HALVINGS = 4, 2
"""Images are halved down to so many pixels a side, and so many times at least."""
JUDGED_AT_ONCE = 512
"""Images a batch."""


class Recipe(Protocol):
    """The settings of `LOGAN` that decide networks and training."""

    training_steps: int
    batch_size: int
    lr: float
    beta_1: float
    width: int
    latent: int
    checkpoint_every: int
    seed: int


def halved_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes from the image's own down, each half of the one before and rounded up.

    >>> halved_sizes(32, 25)
    [(32, 25), (16, 13), (8, 7), (4, 4)]
    >>> halved_sizes(8, 8)
    [(8, 8), (4, 4), (2, 2)]
    """
    sizes = [(height, width)]
    while max(sizes[-1]) > SMALLEST or len(sizes) <= HALVINGS:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes


class Discriminator(nn.Module):
    """Images to the log-odds of being real."""

    def __init__(self, image: tuple[int, ...], width: int):
        super().__init__()
        sizes = halved_sizes(*image[1:])
        channels = [image[0], *(width * 2**level for level in range(len(sizes) - 1))]
        layers: list[nn.Module] = []
        for given, made in pairwise(channels):
            layers += [nn.Conv2d(given, made, 3, stride=2, padding=1), nn.LeakyReLU(0.2)]
        height, breadth = sizes[-1]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * height * breadth, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Images in [−1, 1], [B, C, H, W], to [B]."""
        output: Tensor = self.layers(x).squeeze(1)
        return output


class Generator(nn.Module):
    """Noise to images."""

    def __init__(self, image: tuple[int, ...], width: int, latent: int):
        super().__init__()
        sizes = halved_sizes(*image[1:])[::-1]
        channels = [width * 2**level for level in range(len(sizes) - 1)][::-1]
        height, breadth = sizes[0]
        layers: list[nn.Module] = [
            nn.Linear(latent, channels[0] * height * breadth),
            nn.Unflatten(1, (channels[0], height, breadth)),
            nn.GroupNorm(1, channels[0]),
            nn.ReLU(),
        ]
        for given, made, size in zip(channels, channels[1:], sizes[1:], strict=False):
            layers += [nn.Upsample(size), nn.Conv2d(given, made, 3, padding=1), nn.GroupNorm(1, made), nn.ReLU()]
        layers += [nn.Upsample(sizes[-1]), nn.Conv2d(channels[-1], image[0], 3, padding=1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """[B, latent] to images in [−1, 1], [B, C, H, W]."""
        output: Tensor = self.layers(z)
        return output


class LocalGAN(Optimization):
    """Both networks on the sum of their losses, of which the generator's leaves the discriminator's weights alone."""

    def __init__(self, recipe: Recipe, image: tuple[int, ...], *, fused: bool):
        adam: dict[str, Any] = {"_target_": "torch.optim.Adam", "lr": recipe.lr, "betas": [recipe.beta_1, 0.999]}
        super().__init__(adam, "attack.lr or attack.beta_1", 0, recipe.seed, fused=fused)
        self.latent = recipe.latent
        self.generator = Generator(image, recipe.width, recipe.latent)
        self.discriminator = Discriminator(image, recipe.width)

    def loss(self, arrays: list[Tensor], draws: Draws) -> Tensor:
        """−log D(x) − log(1 − D(G(z))) for the discriminator and −log D(G(z)) for the generator, means over samples."""
        real = to_model_range(arrays[0])
        fake = self.generator(draws.normal(self.latent))
        discriminated = softplus(-self.discriminator(real)) + softplus(self.discriminator(fake.detach()))
        fixed = {name: weights.detach() for name, weights in self.discriminator.named_parameters()}
        passed: Tensor = torch.func.functional_call(self.discriminator, fixed, (fake,))
        return (discriminated + softplus(-passed)).mean()

    def predict_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:
        """The discriminator's output for images, [B]."""
        output: Tensor = self.discriminator(to_model_range(batch[0]))
        return output


def train(recipe: Recipe, samples: RowArray, workspace: Path, runtime: Runtime) -> Discriminator:
    """Train on samples of the target [M, C, H, W], on every rank."""
    torch.manual_seed(recipe.seed)
    module = LocalGAN(recipe, samples.shape[1:], fused=runtime.precision != "16")
    fit(
        module,
        TrainingBatches(samples, batch_size=recipe.batch_size, seed=recipe.seed),
        name="local_gan",
        label="GAN",
        workspace=workspace,
        runtime=runtime,
        logger=None,
        max_steps=recipe.training_steps,
        checkpoint_every=recipe.checkpoint_every,
    )
    return module.discriminator


def train_on_all_ranks(recipe: Recipe, samples: RowArray, file: Path, runtime: Runtime) -> None:
    """Train on all devices and write the discriminator's weights to a file in a workspace of the store."""
    discriminator = runtime.run_on_all_ranks(train, recipe, samples, file.parent, runtime)
    save_file({name: each.float().cpu().contiguous() for name, each in discriminator.state_dict().items()}, file)


def discriminator_outputs(file: Path, recipe: Recipe, images: Images, runtime: Runtime) -> Scores:
    """Return the log-odds by which each image passes for a sample of the target, [n]."""
    module = LocalGAN(recipe, images.shape, fused=False)
    module.discriminator.load_state_dict(load_file(file))
    batches = list(slices(len(images), JUDGED_AT_ONCE))
    predictions: Any = make_trainer(runtime).predict(module, datamodule=GivenBatches([images], batches))
    return torch.cat(predictions).double().cpu().numpy()
