"""The training of a text-to-image pipeline's U-Net on latents and embeddings that were computed before.

Source: Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models" (CVPR 2022), equation 3.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from pytorch_lightning.loggers import Logger
from torch import Tensor
from torchvision.utils import make_grid, save_image

from secmi_exp.data.stored_rows import StoredRows
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.batches import TrainingBatches
from secmi_exp.engine.compiling import CompileWhenItRepays
from secmi_exp.engine.optimization import Draws, Optimization
from secmi_exp.engine.runtime import Runtime
from secmi_exp.engine.trainers import first_device
from secmi_exp.engine.training import MovingAverage, fit
from secmi_exp.errors import UserError
from secmi_exp.progress import WorkProgress
from secmi_exp.targets.families.stable_diffusion import StableDiffusionFolder, time_ids
from secmi_exp.targets.loading.latent_folder import has_weights
from secmi_exp.targets.loading.model_folder import CONFIG, without_origin
from secmi_exp.targets.loading.settings_files import reason
from secmi_exp.targets.text_to_image.latents import Latents
from secmi_exp.targets.text_to_image.prompts import Prompts
from secmi_exp.targets.text_to_image.recipes import LoRA, TrainingRecipe

log = logging.getLogger(__name__)

SAMPLING_STEPS = 50


def train_into(
    workspace: Path,
    recipe: TrainingRecipe,
    seed: int,
    base: StableDiffusionFolder,
    latents: Latents,
    condition: Mapping[str, StoredRows],
    prompts: Prompts,
    runtime: Runtime,
    logger: Logger | None,
) -> None:
    """Train on the members, and write the whole pipeline, an adapter beside it, and a picture of samples.

    Args:
        workspace: of the store.
        recipe: of the training.
        seed: seed of the training's random numbers.
        base: the pipeline that it starts from.
        latents: of the members, [n, C, h, w].
        condition: embeddings of their captions and of the empty prompt, name → [n, …].
        prompts: the captions, [n].
        runtime: the machine.
        logger: where metrics go.

    Raises:
        UserError: for settings that torch or peft refuse, and training that diverges.
    """
    log.info("Training the U-Net on %d members for %d steps.", len(latents), recipe.max_steps)
    module = runtime.run_on_all_ranks(
        train, recipe, seed, base, latents, dict(condition), workspace, runtime, logger=logger
    )
    network = module.network
    if recipe.lora:
        save_adapter(network, workspace / "lora")
        network.fuse_lora()
        network.unload_lora()
    copy_parts(base, workspace)
    network.save_pretrained(workspace / "unet")
    (workspace / "unet" / CONFIG).write_bytes(without_origin(workspace / "unet" / CONFIG))
    if recipe.samples:
        texts = [prompts.distinct[number % len(prompts.distinct)] for number in range(recipe.samples)]
        folder, guidance = StableDiffusionFolder.from_path(workspace), recipe.samples_guidance
        size, progress_bar = latents.shape[-2:], runtime.progress_bar
        images = sample(folder, texts, guidance, seed, first_device(runtime), size, progress_bar=progress_bar)
        save_image(make_grid(images, nrow=min(4, len(images))), workspace / "samples.png")


def train(
    recipe: TrainingRecipe,
    seed: int,
    base: StableDiffusionFolder,
    latents: Latents,
    condition: Mapping[str, StoredRows],
    workspace: Path,
    runtime: Runtime,
    *,
    logger: Logger | None,
) -> "TextToImageTraining":
    """Train, on every rank."""
    torch.manual_seed(seed)
    module = TextToImageTraining(recipe, seed, base, tuple(condition), fused=runtime.precision != "16")
    fit(
        module,
        TrainingBatches(latents.mean, latents.std, *condition.values(), batch_size=recipe.batch_size, seed=seed),
        name="target",
        workspace=workspace,
        runtime=runtime,
        logger=logger,
        max_steps=recipe.max_steps,
        checkpoint_every=recipe.checkpoint_every,
        gradient_clip=recipe.gradient_clip,
        callbacks=[
            *([MovingAverage(recipe.ema_decay)] if recipe.ema_decay else []),
            CompileWhenItRepays(runtime.compile, module.network),
        ],
    )
    return module


class TextToImageTraining(Optimization):
    """Predicts ε, v or x_0, as the scheduler has it, from a noised latent and a caption.

    Args:
        recipe: of the training.
        seed: seed of the training's random numbers.
        base: the pipeline whose U-Net is trained.
        condition: names of the arrays in a batch after mean and standard deviation of the latents.
        fused: see `Optimization`.

    Raises:
        UserError: for an adapter that peft refuses.
    """

    def __init__(
        self, recipe: TrainingRecipe, seed: int, base: StableDiffusionFolder, condition: tuple[str, ...], *, fused: bool
    ):
        super().__init__(recipe.optimizer, "target.training.optimizer", recipe.warmup_steps, seed, fused=fused)
        self.caption_dropout, self.condition = recipe.caption_dropout, condition
        self.scheduler: Any = base.scheduler("DDPMScheduler")
        self.timesteps = len(base.diffusion_path)
        self.pixels_per_latent = base.pixels_per_latent
        shift, scale = (torch.tensor(values)[:, None, None] for values in base.scaling)
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", shift, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self.network: Any = base.load_denoiser().train()
        if recipe.lora:
            add_adapter(self.network, recipe.lora)
        if recipe.gradient_checkpointing:
            self.network.enable_gradient_checkpointing()

    def loss(self, arrays: list[Tensor], draws: Draws) -> Tensor:
        """Squared error, mean over latents and samples; the latent is drawn anew from its posterior in each step."""
        mean, std, *embeddings = arrays
        condition = dict(zip(self.condition, embeddings, strict=True))
        noise = draws.normal(*mean.shape[1:])
        x_0 = (mean + std * noise - self.shift) * self.scale
        dropped = draws.happens(self.caption_dropout)
        t = draws.integers(self.timesteps)
        eps = draws.normal(*mean.shape[1:])
        draws.apart()
        x_t = self.scheduler.add_noise(x_0, eps, t)
        match self.scheduler.config.prediction_type:
            case "epsilon":
                goal = eps
            case "sample":
                goal = x_0
            case _:
                goal = self.scheduler.get_velocity(x_0, eps, t)
        text = torch.where(dropped[:, None, None], condition["negative_text"], condition["text"])
        added = None
        if "pooled" in condition:
            pooled = torch.where(dropped[:, None], condition["negative_pooled"], condition["pooled"])
            added = {"text_embeds": pooled, "time_ids": time_ids(x_t, self.pixels_per_latent).to(pooled.dtype)}
        dtype = self.network.dtype
        output = self.network(
            x_t.to(dtype), t, encoder_hidden_states=text.to(dtype), added_cond_kwargs=added
        ).sample  # fmt: skip
        return torch.nn.functional.mse_loss(output.to(goal.dtype), goal)


def add_adapter(network: Any, lora: LoRA) -> None:
    """Freeze the network, and add an adapter to its layers.

    Raises:
        UserError: where peft refuses it.
    """
    network.requires_grad_(False)
    try:
        network.add_adapter(
            LoraConfig(
                r=lora.rank, lora_alpha=lora.alpha, init_lora_weights="gaussian", target_modules=list(lora.modules)
            )
        )
    except (ValueError, TypeError) as error:
        raise UserError(f"peft refuses target.training.lora ({reason(error)}).") from error


def save_adapter(network: Any, folder: Path) -> None:
    """Save the adapter as `load_lora_weights` of diffusers' pipelines reads it."""
    StableDiffusionPipeline.save_lora_weights(
        folder,
        unet_lora_layers=convert_state_dict_to_diffusers(get_peft_model_state_dict(network)),
        unet_lora_adapter_metadata=network.peft_config["default"].to_dict(),  # includes alpha
    )


def copy_parts(base: StableDiffusionFolder, folder: Path) -> None:
    """Copy all parts of a pipeline but its U-Net, with the weights' default file names in place of variants."""
    base.copy_descriptions(folder)
    for part in base.parts:
        if base.lora and part != "unet" and part in base.lora.parts:
            base.text_encoder(part).save_pretrained(folder / part)
        elif part != "unet" and has_weights(part):
            base.model(part).copy(folder / part)


def prepare_sampling(pipeline: Any, timesteps: Timesteps) -> int:
    """Make a pipeline begin at the last timestep whose prediction gives an image; return the number of its steps.

    Args:
        pipeline: with a DDIM scheduler whose timesteps are one later than the leading ones.
        timesteps: timesteps of its schedule.
    """
    if timesteps.last_image < timesteps.count - 1:  # zero terminal SNR, and ε predicted
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, timestep_spacing="leading")
    return min(SAMPLING_STEPS, timesteps.count // 2)


@torch.no_grad()
def sample(
    folder: StableDiffusionFolder,
    texts: list[str],
    guidance: float,
    seed: int,
    device: torch.device,
    size: tuple[int, ...],
    *,
    progress_bar: bool,
) -> Tensor:
    """Generate images in [0, 1] for these texts by deterministic DDIM, [n, C, H, W]; each image has its own seed.

    Args:
        folder: folder of the pipeline.
        texts: prompts, [n].
        guidance: scale of classifier-free guidance.
        seed: of all images.
        device: device to compute on.
        size: height and width of the latents.
        progress_bar: whether to show the progress.
    """
    pipeline = folder.pipeline(unet=folder.load_denoiser(), vae=folder.vae())
    steps = prepare_sampling(pipeline, folder.diffusion_path.timesteps)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    height, width = (side * folder.pixels_per_latent for side in size)
    channels = folder.autoencoder.latent_channels
    images = []
    with WorkProgress("Sampling", len(texts), "images", shown=progress_bar) as progress:
        for number, text in enumerate(texts):
            draws = np.random.default_rng([seed, number]).standard_normal((1, channels, *size), dtype=np.float32)
            made = pipeline(
                text, height=height, width=width, num_inference_steps=steps, latents=torch.from_numpy(draws),
                guidance_scale=guidance, output_type="pt",
            )  # fmt: skip
            images.append(made.images.float().cpu())
            progress.advance(len(images), 1)
    return torch.cat(images)
