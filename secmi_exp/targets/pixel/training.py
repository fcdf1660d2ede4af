"""The training of a pixel-space target, on one device or on several; see `objectives` for what it is trained for."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from diffusers import DDPMPipeline
from pytorch_lightning.loggers import Logger, WandbLogger
from torch import Tensor
from torchvision.utils import make_grid, save_image

from secmi_exp.data.images import Images, Rows
from secmi_exp.data.stored_rows import RowArray
from secmi_exp.diffusion.noise_predictor import times_of
from secmi_exp.engine.batches import PoissonBatchesAndNoise, TrainingBatchesAndNoise
from secmi_exp.engine.compiling import CompileWhenItRepays
from secmi_exp.engine.kept_target import forget_target
from secmi_exp.engine.optimization import Draws, Optimization
from secmi_exp.engine.runtime import Runtime
from secmi_exp.engine.training import MovingAverage, fit
from secmi_exp.engine.training_step import TrainingStep
from secmi_exp.errors import UserError
from secmi_exp.targets.dry_run import BATCH, Shape, try_network, try_optimizer
from secmi_exp.targets.loading.blank_networks import network_without_memory
from secmi_exp.targets.loading.libraries import network_class
from secmi_exp.targets.pixel.class_labels import class_query
from secmi_exp.targets.pixel.networks import evaluate, refuse_other_images, refuse_other_networks
from secmi_exp.targets.pixel.objectives import objective_of
from secmi_exp.targets.pixel.recipe import PICTURE, PixelRecipe

log = logging.getLogger(__name__)

SAMPLES = 16
SAMPLING_STEPS = 50


def train_into(
    workspace: Path, recipe: PixelRecipe, members: Images, labels: Rows | None, runtime: Runtime, logger: Logger | None
) -> None:
    """Train on the members, and write the averaged weights as a diffusers pipeline, with a picture of samples.

    Args:
        workspace: of the store.
        recipe: of the training.
        members: the training images.
        labels: their classes, [n]; None for a network that takes none.
        runtime: the machine.
        logger: where metrics go.

    Raises:
        UserError: for images of another shape than the network's, settings that diffusers or torch refuse, a runtime
            that the defense doesn't allow, and training that diverges.
    """
    recipe.defense.refuse_runtime(runtime)
    network = network_without_memory(network_class("diffusers", recipe.architecture), recipe.network, "target.network")
    refuse_other_networks(network.config, "target.network")
    refuse_other_images(network.config, members.shape, "The network that target.network describes")
    log.info(
        "Training %s (%.2f M parameters) on %d members for %d steps.",
        recipe.name, network.num_parameters() / 1e6, len(members), recipe.max_steps,
    )  # fmt: skip
    module = runtime.run_on_all_ranks(train, recipe, members, workspace, runtime, labels=labels, logger=logger)
    noise, classes = initial_noise(recipe, members), None if labels is None else torch.from_numpy(sampled(labels))
    save_image(module.sample(noise, classes), workspace / PICTURE, nrow=4)
    if module.step:
        module.step.save_report(workspace)
    DDPMPipeline(unet=module.network, scheduler=module.objective.scheduler).save_pretrained(workspace)


def initial_noise(recipe: PixelRecipe, members: Images) -> Tensor:
    """Return the x_T that samples are drawn from, [16, C, H, W]."""
    generator = np.random.default_rng(recipe.seed)
    return torch.from_numpy(generator.standard_normal((SAMPLES, *members.shape), dtype=np.float32))


def sampled(labels: Rows) -> Rows:
    """Return the classes of the samples: those of the first members, repeated where there are few, [16]."""
    return np.resize(labels, SAMPLES)


def train(
    recipe: PixelRecipe,
    members: Images,
    workspace: Path,
    runtime: Runtime,
    *,
    logger: Logger | None,
    labels: Rows | None = None,
    callbacks: Sequence[pl.Callback] = (),
) -> "PixelTraining":
    """Train, on every rank; return the module with the averaged weights."""
    forget_target()
    torch.manual_seed(recipe.seed)
    noise: tuple[RowArray, ...] = (initial_noise(recipe, members).numpy(),)
    step = recipe.defense.training_step(recipe, len(members))
    module = PixelTraining(recipe, fused=runtime.precision != "16", step=step)
    arrays: tuple[RowArray, ...] = (members,)
    if labels is not None:
        arrays, noise = (members, labels), (*noise, sampled(labels))
    batches = PoissonBatchesAndNoise if step and step.poisson else TrainingBatchesAndNoise
    fit(
        module,
        batches(*arrays, noise=noise, batch_size=recipe.batch_size, seed=recipe.seed),
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


class PixelTraining(Optimization):
    """The squared error of what the network is to predict.

    Args:
        recipe: of network, path and optimizer.
        fused: see `Optimization`.
        step: see `Optimization`.

    Raises:
        UserError: for settings that diffusers refuses, and a schedule without signal at its end.
    """

    def __init__(self, recipe: PixelRecipe, *, fused: bool = True, step: TrainingStep | None = None):
        super().__init__(recipe.optimizer, "target.optimizer", recipe.warmup_steps, recipe.seed, fused=fused, step=step)
        self.recipe, self.defense = recipe, recipe.defense
        try:
            self.network = network_class("diffusers", recipe.architecture)(**recipe.network)
            self.objective = objective_of(recipe.schedule)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise UserError(f"diffusers refuses target.network or target.schedule: {error}") from error

    def loss(self, arrays: list[Tensor], draws: Draws) -> Tensor:
        """‖network(x_t, t) − goal‖², mean over pixels and samples; see `Objective.draw`.

        Args:
            arrays: uint8 images [B, C, H, W], and class labels [B] where the network takes any.
            draws: of the step.
        """
        images, *labels = arrays
        x_0 = self.defense.model_input(images, draws)
        if self.recipe.horizontal_flip:
            x_0 = torch.where(draws.happens(0.5)[:, None, None, None], x_0.flip(-1), x_0)
        x_t, times, goal = self.objective.draw(x_0, draws)
        draws.apart()
        output = evaluate(self.network, x_t.to(self.network.dtype), times, *labels)
        return torch.nn.functional.mse_loss(output.to(goal.dtype), goal)

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Log samples of the averaged weights, drawn from the same x_T each time."""
        if isinstance(self.logger, WandbLogger):
            samples = make_grid(self.sample(*batch), nrow=4)
            self.logger.log_image("target/samples", [samples], step=self.global_step)

    @torch.no_grad()
    def sample(self, x_T: Tensor, labels: Tensor | None = None) -> Tensor:
        """Draw images in [0, 1] deterministically from the noises x_T, both [B, C, H, W], of these classes [B]."""
        sampler = self.objective.sampler(SAMPLING_STEPS)
        self.network.eval()
        x = x_T.to(self.device)
        labels = None if labels is None else labels.to(self.device)
        for t in sampler.timesteps:
            x = sampler.step(evaluate(self.network, x, times_of(x, t.item()), labels), t, x).prev_sample
        self.network.train()
        return (x.clamp(-1, 1) + 1) / 2


def dry_run(recipe: PixelRecipe, images: Shape, runtime: Runtime) -> None:
    """Build the network, predict once, and take a step of the optimizer.

    Raises:
        UserError: naming the setting that can't be used.
    """
    recipe.defense.refuse_runtime(runtime)

    def predict(network: Any) -> None:
        refuse_other_images(network.config, images, "The network that target.network describes")
        times = torch.zeros(BATCH, dtype=torch.long)
        evaluate(network, torch.empty(BATCH, *images), times, times if labelled else None)

    kind = network_class("diffusers", recipe.architecture)
    labelled = class_query(recipe.network, "dataset") is not None
    try_network("diffusers", "target.network", recipe.network, kind, lambda settings: kind(**settings), predict)
    objective_of(recipe.schedule)
    try_optimizer(recipe.optimizer, "target.optimizer")
