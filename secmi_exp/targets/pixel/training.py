"""The training of a DDPM, on one device or on several.

Source: Ho et al., "Denoising Diffusion Probabilistic Models" (NeurIPS 2020), algorithm 1.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from pytorch_lightning.loggers import Logger, WandbLogger
from torch import Tensor
from torchvision.utils import make_grid, save_image

from secmi_exp.data.images import Images
from secmi_exp.defenses.defense import in_training
from secmi_exp.engine.batches import PoissonBatchesAndNoise, TrainingBatchesAndNoise
from secmi_exp.engine.compiling import CompileWhenItRepays
from secmi_exp.engine.optimization import Draws, Optimization
from secmi_exp.engine.runtime import Runtime
from secmi_exp.engine.training import MovingAverage, fit
from secmi_exp.engine.training_step import TrainingStep
from secmi_exp.errors import UserError
from secmi_exp.targets.dry_run import BATCH, Shape, try_network, try_optimizer
from secmi_exp.targets.library_settings import Settings
from secmi_exp.targets.loading.blank_networks import network_without_memory
from secmi_exp.targets.pixel.recipe import PICTURE, PixelRecipe
from secmi_exp.targets.pixel.pipeline_folder import refuse_other_images, refuse_other_networks

log = logging.getLogger(__name__)

SAMPLES = 16
SAMPLING_STEPS = 50


def train_into(workspace: Path, recipe: PixelRecipe, members: Images, runtime: Runtime, logger: Logger | None) -> None:
    """Train on the members, and write the averaged weights as a diffusers pipeline, with a picture of samples.

    Raises:
        UserError: for images of another shape than the network's, settings that diffusers or torch refuse, a runtime
            that the defense doesn't allow, and training that diverges.
    """
    recipe.defense.refuse_runtime(runtime)
    network = network_without_memory(UNet2DModel, recipe.network, "target.network")
    refuse_other_networks(network.config, "target.network")
    refuse_other_images(network.config, members.shape, "The network that target.network describes")
    log.info(
        "Training %s (%.2f M parameters) on %d members for %d steps.",
        recipe.name, network.num_parameters() / 1e6, len(members), recipe.max_steps,
    )  # fmt: skip
    module = runtime.run_on_all_ranks(train, recipe, members, workspace, runtime, logger=logger)
    save_image(module.sample(initial_noise(recipe, members)), workspace / PICTURE, nrow=4)
    if module.step:
        module.step.save_report(workspace)
    DDPMPipeline(unet=module.network, scheduler=module.scheduler).save_pretrained(workspace)


def initial_noise(recipe: PixelRecipe, members: Images) -> Tensor:
    """Return the x_T that samples are drawn from, [16, C, H, W]."""
    generator = np.random.default_rng(recipe.seed)
    return torch.from_numpy(generator.standard_normal((SAMPLES, *members.shape), dtype=np.float32))


def train(
    recipe: PixelRecipe,
    members: Images,
    workspace: Path,
    runtime: Runtime,
    *,
    logger: Logger | None,
    callbacks: Sequence[pl.Callback] = (),
) -> "PixelTraining":
    """Train, on every rank; return the module with the averaged weights."""
    torch.manual_seed(recipe.seed)
    noise = initial_noise(recipe, members).numpy()
    step = in_training(recipe.defense).training_step(recipe, len(members))
    module = PixelTraining(recipe, fused=runtime.precision != "16", step=step)
    batches = PoissonBatchesAndNoise if step and step.poisson else TrainingBatchesAndNoise
    fit(
        module,
        batches(members, noise, batch_size=recipe.batch_size, seed=recipe.seed),
        name="target",
        workspace=workspace,
        runtime=runtime,
        logger=logger,
        max_steps=step.max_steps if step else recipe.max_steps,
        checkpoint_every=recipe.checkpoint_every,
        gradient_clip=recipe.gradient_clip if module.automatic_optimization else None,
        validate_every=recipe.sample_every,
        callbacks=[
            *callbacks,
            MovingAverage(recipe.ema_decay),
            *(step.callbacks if step else ()),
            *([CompileWhenItRepays(runtime.compile, module.network)] if module.automatic_optimization else []),
        ],
    )
    return module


def refuse_lost_signal(alphas_cumprod: Tensor) -> None:
    """Refuse a schedule whose ᾱ falls to 0.

    Raises:
        UserError: naming the timestep.
    """
    signal = int((alphas_cumprod > 0).sum())
    if signal < len(alphas_cumprod):
        raise UserError(
            f"target.schedule brings ᾱ to 0 at timestep {signal}, from which a network that predicts the noise "
            "can't be sampled: lower target.schedule.beta_end."
        )


class PixelTraining(Optimization):
    """L_simple: predicts the noise in a noised image.

    Args:
        recipe: of network, schedule and optimizer.
        fused: see `Optimization`.
        step: see `Optimization`.

    Raises:
        UserError: for settings that diffusers refuses, and a schedule without signal at its end.
    """

    def __init__(self, recipe: PixelRecipe, *, fused: bool = True, step: TrainingStep | None = None):
        super().__init__(recipe.optimizer, "target.optimizer", recipe.warmup_steps, recipe.seed, fused=fused, step=step)
        self.recipe, self.defense = recipe, in_training(recipe.defense)
        try:
            self.network = UNet2DModel(**recipe.network)
            self.scheduler = DDPMScheduler(**asdict(recipe.schedule))
        except (TypeError, ValueError, NotImplementedError) as error:
            raise UserError(f"diffusers refuses target.network or target.schedule: {error}") from error
        refuse_lost_signal(self.scheduler.alphas_cumprod)

    def loss(self, arrays: list[Tensor], draws: Draws) -> Tensor:
        """‖ε_θ(√ᾱ_t x_0 + √(1−ᾱ_t) ε, t) − ε‖², mean over pixels and samples, t uniform in 0 … T−1."""
        x_0 = self.defense.model_input(arrays[0], draws)
        if self.recipe.horizontal_flip:
            x_0 = torch.where(draws.happens(0.5)[:, None, None, None], x_0.flip(-1), x_0)
        t = draws.integers(self.recipe.schedule.num_train_timesteps)
        eps = draws.normal(*x_0.shape[1:])
        draws.apart()
        x_t = self.scheduler.add_noise(x_0, eps, t).to(self.network.dtype)
        return torch.nn.functional.mse_loss(self.network(x_t, t).sample.to(eps.dtype), eps)

    def validation_step(self, batch: tuple[Tensor], batch_idx: int) -> None:
        """Log samples of the averaged weights, drawn from the same x_T each time."""
        if isinstance(self.logger, WandbLogger):
            samples = make_grid(self.sample(batch[0]), nrow=4)
            self.logger.log_image("target/samples", [samples], step=self.global_step)

    @torch.no_grad()
    def sample(self, x_T: Tensor) -> Tensor:
        """Draw images in [0, 1] by deterministic DDIM from the noises x_T, both [B, C, H, W]."""
        ddim = DDIMScheduler.from_config(self.scheduler.config)
        ddim.set_timesteps(min(SAMPLING_STEPS, len(ddim.alphas_cumprod)))
        self.network.eval()
        x = x_T.to(self.device)
        for t in ddim.timesteps:
            x = ddim.step(self.network(x, t).sample, t, x).prev_sample
        self.network.train()
        return (x.clamp(-1, 1) + 1) / 2


def dry_run(recipe: PixelRecipe, images: Shape, runtime: Runtime) -> None:
    """Build the network, predict once, and take a step of the optimizer.

    Raises:
        UserError: naming the setting that can't be used.
    """
    recipe.defense.refuse_runtime(runtime)

    def predict(network: UNet2DModel) -> None:
        refuse_other_images(network.config, images, "The network that target.network describes")
        network(torch.empty(BATCH, *images), torch.zeros(BATCH, dtype=torch.long))

    def make(settings: Settings) -> UNet2DModel:
        return UNet2DModel(**settings)

    try_network("diffusers", "target.network", recipe.network, UNet2DModel, make, predict)
    refuse_lost_signal(DDPMScheduler(**asdict(recipe.schedule)).alphas_cumprod)
    try_optimizer(recipe.optimizer, "target.optimizer")
