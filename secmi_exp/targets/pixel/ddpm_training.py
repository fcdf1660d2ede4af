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
from secmi_exp.defenses.dp_sgd import DPSGD, PRIVACY
from secmi_exp.defenses.private_steps import PrivacyLog, PrivateSteps
from secmi_exp.engine.batches import PoissonBatchesAndNoise, TrainingBatchesAndNoise
from secmi_exp.engine.compiling import CompileWhenItRepays
from secmi_exp.engine.optimization import Draws, Optimization
from secmi_exp.engine.runtime import Runtime
from secmi_exp.engine.training import MovingAverage, fit
from secmi_exp.errors import UserError
from secmi_exp.store import write_json
from secmi_exp.targets.pixel.ddpm import DDPM, PICTURE
from secmi_exp.targets.pixel.pipeline_folder import blank_network, refuse_other_images

log = logging.getLogger(__name__)

SAMPLES = 16
SAMPLING_STEPS = 50


def train_into(workspace: Path, recipe: DDPM, members: Images, runtime: Runtime, logger: Logger | None) -> None:
    """Train on the members, and leave the averaged weights as a diffusers pipeline, with a picture of samples.

    Raises:
        UserError: for images of another shape than the network's, settings that diffusers or torch refuse, a runtime
            that the defense doesn't allow, and training that diverges.
    """
    if isinstance(recipe.defense, DPSGD):
        recipe.defense.refuse(runtime)
    network = blank_network(recipe.network, "target.network")
    refuse_other_images(network, members, "The network that target.network describes")
    log.info(
        "Training %s (%.2f M parameters) on %d members for %d steps.",
        recipe.name, network.num_parameters() / 1e6, len(members), recipe.max_steps,
    )  # fmt: skip
    module = runtime.run_on_all_ranks(train, recipe, members, workspace, runtime, logger=logger)
    save_image(module.sample(initial_noise(recipe, members)), workspace / PICTURE, nrow=4)
    if isinstance(module, PrivateDDPMTraining):
        write_json(workspace / PRIVACY, module.spent())
    DDPMPipeline(unet=module.network, scheduler=module.scheduler).save_pretrained(workspace)


def initial_noise(recipe: DDPM, members: Images) -> Tensor:
    """The x_T that samples are drawn from, [16, C, H, W]."""
    generator = np.random.default_rng(recipe.seed)
    return torch.from_numpy(generator.standard_normal((SAMPLES, *members.shape), dtype=np.float32))


def train(
    recipe: DDPM,
    members: Images,
    workspace: Path,
    runtime: Runtime,
    *,
    logger: Logger | None,
    callbacks: Sequence[pl.Callback] = (),
) -> "DDPMTraining":
    """Train, on every rank; the module that is returned has the averaged weights."""
    torch.manual_seed(recipe.seed)
    noise = initial_noise(recipe, members).numpy()
    module, own_callbacks = module_for(recipe, len(members), runtime)
    private = isinstance(module, PrivateDDPMTraining)
    batches = PoissonBatchesAndNoise if private else TrainingBatchesAndNoise
    fit(
        module,
        batches(members, noise, batch_size=recipe.batch_size, seed=recipe.seed),
        name="target",
        workspace=workspace,
        runtime=runtime,
        logger=logger,
        max_steps=module.max_steps,
        checkpoint_every=recipe.checkpoint_every,
        gradient_clip=None if private else recipe.gradient_clip,
        validate_every=recipe.sample_every,
        callbacks=[
            *callbacks,
            MovingAverage(recipe.ema_decay),
            *own_callbacks,
        ],
    )
    return module


def module_for(recipe: DDPM, samples: int, runtime: Runtime) -> tuple["DDPMTraining", list[pl.Callback]]:
    """What is to be trained on so many samples, and what only its kind of training has to do besides."""
    if isinstance(recipe.defense, DPSGD):
        return PrivateDDPMTraining(recipe, recipe.defense, samples), [PrivacyLog("target", recipe.checkpoint_every)]
    module = DDPMTraining(recipe, fused=runtime.precision != "16")
    return module, [CompileWhenItRepays(runtime.compile, module.network)]


def refuse_lost_signal(alphas_cumprod: Tensor) -> None:
    """Refuse a schedule whose ᾱ comes to 0.

    Raises:
        UserError: naming the timestep.
    """
    signal = int((alphas_cumprod > 0).sum())
    if signal < len(alphas_cumprod):
        raise UserError(
            f"target.schedule brings ᾱ to 0 at timestep {signal}, from which a network that predicts the noise "
            "can't be sampled: lower target.schedule.beta_end."
        )


class DDPMTraining(Optimization):
    """L_simple: predict the noise in a noised image.

    Args:
        recipe: of network, schedule and optimizer.
        fused: see `Optimization`.

    Raises:
        UserError: for settings that diffusers refuses, and a schedule without signal at its end.
    """

    def __init__(self, recipe: DDPM, *, fused: bool = True):
        super().__init__(recipe.optimizer, "target.optimizer", recipe.warmup_steps, recipe.seed, fused=fused)
        self.recipe, self.max_steps = recipe, recipe.max_steps
        try:
            self.network = UNet2DModel(**recipe.network)
            self.scheduler = DDPMScheduler(**asdict(recipe.schedule))
        except (TypeError, ValueError, NotImplementedError) as error:
            raise UserError(f"diffusers refuses target.network or target.schedule: {error}") from error
        refuse_lost_signal(self.scheduler.alphas_cumprod)

    def loss(self, arrays: list[Tensor], draws: Draws) -> Tensor:
        """‖ε_θ(√ᾱ_t x_0 + √(1−ᾱ_t) ε, t) − ε‖², mean over pixels and samples, t uniform in 0 … T−1."""
        x_0 = self.recipe.defense.model_input(arrays[0], draws)
        if self.recipe.horizontal_flip:
            x_0 = torch.where(draws.happens(0.5)[:, None, None, None], x_0.flip(-1), x_0)
        t = draws.integers(self.recipe.schedule.num_train_timesteps)
        eps = draws.normal(*x_0.shape[1:])
        draws.apart()
        x_t = self.scheduler.add_noise(x_0, eps, t).to(self.network.dtype)
        return torch.nn.functional.mse_loss(self.network(x_t, t).sample.to(eps.dtype), eps)

    def validation_step(self, batch: tuple[Tensor], batch_idx: int) -> None:
        """Show samples of the averaged weights, drawn from the same x_T each time."""
        if isinstance(self.logger, WandbLogger):
            samples = make_grid(self.sample(batch[0]), nrow=4)
            self.logger.log_image("target/samples", [samples], step=self.global_step)

    @torch.no_grad()
    def sample(self, x_T: Tensor) -> Tensor:
        """Images in [0, 1] by deterministic DDIM from the noises x_T, both [B, C, H, W]."""
        ddim = DDIMScheduler.from_config(self.scheduler.config)
        ddim.set_timesteps(min(SAMPLING_STEPS, len(ddim.alphas_cumprod)))
        self.network.eval()
        x = x_T.to(self.device)
        for t in ddim.timesteps:
            x = ddim.step(self.network(x, t).sample, t, x).prev_sample
        self.network.train()
        return (x.clamp(-1, 1) + 1) / 2


class PrivateDDPMTraining(PrivateSteps, DDPMTraining):
    """The same by DP-SGD.

    Args:
        recipe: see `DDPMTraining`.
        privacy: the defense's settings.
        samples: training images.

    Raises:
        UserError: for settings that diffusers refuses, and where not even one step can be afforded.
    """

    def __init__(self, recipe: DDPM, privacy: DPSGD, samples: int):
        super().__init__(recipe)
        self.defend(privacy, samples=samples, batch_size=recipe.batch_size, max_steps=recipe.max_steps)
