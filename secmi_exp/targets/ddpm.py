"""A DDPM of our own: diffusers' U-Net trained on the member images by Lightning, kept as a diffusers folder.

Source: Ho et al., "Denoising Diffusion Probabilistic Models" (NeurIPS 2020), algorithm 1.
"""

import logging
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytorch_lightning as pl
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from hydra.utils import instantiate
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass
from pytorch_lightning.callbacks import EMAWeightAveraging, LearningRateMonitor
from pytorch_lightning.loggers import Logger, WandbLogger
from torch import Tensor
from torchvision.utils import make_grid, save_image

from secmi_exp.data.batches import TrainingBatchesAndNoise
from secmi_exp.data.images import Images, to_model_range
from secmi_exp.errors import UserError
from secmi_exp.runtime import Runtime
from secmi_exp.store import MANIFEST, Damaged, Json, Key, Store, check
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.targets.pipeline_folder import PipelineFolder, blank_network, refuse_other_images
from secmi_exp.targets.schedule import NoiseSchedule
from secmi_exp.targets.unconditional import Unconditional
from secmi_exp.targets.weights import read_json
from secmi_exp.training import fit, seed_step

log = logging.getLogger(__name__)

VERSION = 1
"""Of this training code; raised when the same configuration would give other weights."""

SAMPLES = 16
SAMPLING_STEPS = 50

Settings = dict[str, bool | int | float | str | list[int] | list[str] | None]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DDPM:
    """The recipe by which a target is trained; its fields are those of ``conf/target/ddpm.yaml``."""

    name: str
    path: Path | None
    """Of a target that was trained before, which is attacked as it is."""
    network: Settings
    """Arguments of `UNet2DModel`."""
    schedule: NoiseSchedule
    optimizer: Settings
    """A torch optimizer's class as ``_target_``, and its arguments."""
    batch_size: PositiveInt
    max_steps: PositiveInt
    warmup_steps: NonNegativeInt
    gradient_clip: PositiveFloat
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    horizontal_flip: bool
    checkpoint_every: PositiveInt
    sample_every: PositiveInt
    seed: NonNegativeInt

    @property
    def timesteps(self) -> int:
        """T of the schedule."""
        return len(self._trained.schedule().alphas_cumprod) if self._trained else self.schedule.num_train_timesteps

    @cached_property
    def _trained(self) -> PipelineFolder | None:
        """What `path` leads to: a folder of weights, or the run's directory that tells where they are."""
        if self.path is None:
            return None
        results = self.path / "results.json"
        if not results.is_file():
            return PipelineFolder.of(self.path.absolute())
        folder = read_json(results).get("target_folder")
        if not isinstance(folder, str) or not Path(folder).is_dir():
            raise UserError(
                f"The target of the run {self.path} isn't there any more ({folder}): set target.path to its folder."
            )
        return PipelineFolder.of(Path(folder))

    def key(self, members: Images, runtime: Runtime) -> Key:
        """What decides the weights."""
        config: dict[str, Json] = asdict(self) | {"precision": runtime.precision}
        for name in ("name", "path", "checkpoint_every", "sample_every"):  # decide no weight
            del config[name]
        return Key("target", VERSION, config, {"members": members.digest})

    def prepare(self, members: Images, store: Store, runtime: Runtime, logger: Logger | None) -> PreparedTarget:
        """Read what was trained before, find it in the store, or train on the members.

        Raises:
            UserError: for images of another shape than the network's, settings that diffusers or torch refuse, training
                that diverges, and a `path` without trained weights.
        """
        if self._trained:
            refuse_other_images(self._trained.network, members, f"The network in {self._trained.path}")
            return _found(self._trained)
        network = blank_network(self.network, "target.network")
        refuse_other_images(network, members, "The network that target.network describes")
        key = self.key(members, runtime)
        entry = store.obtain(key, lambda workspace: self._train(members, workspace, runtime, logger))
        return PreparedTarget(
            entry.path,
            key.digest,
            load=partial(Unconditional, entry.path),
            trained_on=members.digest,
            samples=entry.path / "samples.png",
        )

    def _train(self, members: Images, workspace: Path, runtime: Runtime, logger: Logger | None) -> None:
        torch.manual_seed(self.seed)
        module = DDPMTraining(self)
        size = sum(parameter.numel() for parameter in module.network.parameters())
        log.info(
            "Training %s (%.2f M parameters) on %d members for %d steps.",
            self.name, size / 1e6, len(members), self.max_steps,
        )  # fmt: skip
        shape = (SAMPLES, *members.shape)
        x_T = np.random.default_rng(self.seed).standard_normal(shape, dtype=np.float32)
        fit(
            module,
            TrainingBatchesAndNoise(members, x_T, batch_size=self.batch_size, seed=self.seed),
            name="target",
            workspace=workspace,
            runtime=runtime,
            logger=logger,
            max_steps=self.max_steps,
            checkpoint_every=self.checkpoint_every,
            gradient_clip=self.gradient_clip,
            validate_every=self.sample_every,
            callbacks=[
                EMAWeightAveraging(decay=self.ema_decay),
                *([LearningRateMonitor("step")] if logger else []),
            ],
        )
        # Lightning's callback has by now put the averaged weights into the network.
        save_image(module.sample(torch.from_numpy(x_T)), workspace / "samples.png", nrow=4)
        DDPMPipeline(unet=module.network, scheduler=module.scheduler).save_pretrained(workspace)


def _found(pipeline: PipelineFolder) -> PreparedTarget:
    """A target that was trained before, under the key of its training where the store's manifest lies beside it.

    What was computed with it then is found again by that key.
    """
    key, samples = pipeline.key({}), pipeline.path / "samples.png"
    if (pipeline.path / MANIFEST).is_file():
        try:
            check(pipeline.path)
        except Damaged as damage:
            raise UserError(f"The target in {pipeline.path} is damaged ({damage}): train it again.") from damage
        key = Key(**read_json(pipeline.path / MANIFEST)["key"])
    return PreparedTarget(
        pipeline.path,
        key.digest,
        load=partial(Unconditional, pipeline.path),
        trained_on=key.inputs.get("members"),
        samples=samples if samples.is_file() else None,
    )


class DDPMTraining(pl.LightningModule):
    """L_simple: predict the noise in a noised image.

    Raises:
        UserError: for settings that diffusers refuses.
    """

    def __init__(self, recipe: DDPM):
        super().__init__()
        self.recipe = recipe
        try:
            self.network = UNet2DModel(**recipe.network)
            self.scheduler = DDPMScheduler(**asdict(recipe.schedule))
        except (TypeError, ValueError, NotImplementedError) as error:
            raise UserError(f"diffusers refuses target.network or target.schedule: {error}") from error

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:
        """‖ε_θ(√ᾱ_t x_0 + √(1−ᾱ_t) ε, t) − ε‖², mean over pixels and batch, t uniform in 0 … T−1."""
        seed_step(self.recipe.seed, self.global_step)
        x_0 = to_model_range(batch[0])
        if self.recipe.horizontal_flip:
            flipped = torch.rand(len(x_0), 1, 1, 1, device=x_0.device) < 0.5
            x_0 = torch.where(flipped, x_0.flip(-1), x_0)
        t = torch.randint(self.recipe.timesteps, (len(x_0),), device=x_0.device)
        eps = torch.randn_like(x_0)
        x_t = self.scheduler.add_noise(x_0, eps, t)
        loss = torch.nn.functional.mse_loss(self.network(x_t, t).sample, eps)
        self.log("target/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor], batch_idx: int) -> None:
        """Show samples of the averaged weights, drawn from the same x_T each time."""
        if isinstance(self.logger, WandbLogger):
            self.logger.log_image("target/samples", [make_grid(self.sample(batch[0]), nrow=4)])

    @torch.no_grad()
    def sample(self, x_T: Tensor) -> Tensor:
        """Images in [0, 1] by deterministic DDIM from the noises x_T, both [B, C, H, W]."""
        ddim = DDIMScheduler.from_config(self.scheduler.config)
        ddim.set_timesteps(SAMPLING_STEPS)
        self.network.eval()
        x = x_T.to(self.device)
        for t in ddim.timesteps:
            x = ddim.step(self.network(x, t).sample, t, x).prev_sample
        self.network.train()
        return (x.clamp(-1, 1) + 1) / 2

    def configure_optimizers(self) -> Any:
        """The recipe's optimizer with linear warm-up."""
        try:
            optimizer = instantiate(self.recipe.optimizer, params=list(self.network.parameters()))
        except Exception as error:  # Hydra wraps whatever the optimizer raised
            raise UserError(f"torch refuses target.optimizer: {error.__cause__ or error}") from error
        warmup = max(1, self.recipe.warmup_steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
