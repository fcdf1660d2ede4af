"""The training of a text-to-image pipeline's U-Net on latents and embeddings that were computed before.

Source: Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models" (CVPR 2022), equation 3.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from pytorch_lightning.loggers import Logger
from torch import Tensor
from torchvision.utils import make_grid, save_image

from secmi_exp.data.stored_rows import StoredRows
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.batches import TrainingBatches
from secmi_exp.engine.compiling import CompileWhenItRepays
from secmi_exp.engine.optimization import Draws, Optimization
from secmi_exp.engine.runtime import Runtime
from secmi_exp.engine.training import MovingAverage, fit
from secmi_exp.errors import UserError
from secmi_exp.files.regular import is_regular
from secmi_exp.targets.loading.model_folder import CONFIG, without_origin
from secmi_exp.targets.loading.training_folder import PIPELINE_CONFIG
from secmi_exp.targets.loading.weights import read_json, reason
from secmi_exp.targets.text_to_image.fine_tuning import LoRA, TrainedTextToImage
from secmi_exp.targets.text_to_image.latents import Latents
from secmi_exp.targets.text_to_image.pipeline_folder import TextToImageFolder
from secmi_exp.targets.text_to_image.pipeline_parts import KINDS, WEIGHTED
from secmi_exp.targets.text_to_image.prompts import Prompts
from secmi_exp.targets.text_to_image.text_conditioned import time_ids

log = logging.getLogger(__name__)

SAMPLING_STEPS = 50


def train_into(
    workspace: Path,
    recipe: TrainedTextToImage,
    base: TextToImageFolder,
    latents: Latents,
    condition: Mapping[str, StoredRows],
    prompts: Prompts,
    runtime: Runtime,
    logger: Logger | None,
) -> None:
    """Train on the members, and leave the whole pipeline, an adapter beside it, and a picture of samples.

    Args:
        workspace: of the store.
        recipe: of the training.
        base: the pipeline that it starts from.
        latents: of the members, [n, C, h, w].
        condition: embeddings of their captions and of the empty prompt, name → [n, …].
        prompts: the captions, [n].
        runtime: the machine.
        logger: where metrics go.

    Raises:
        UserError: for settings that torch or peft refuse, and training that diverges.
    """
    training = recipe.training
    log.info("Training %s on %d members for %d steps.", recipe.name, len(latents), training.max_steps)
    module = runtime.run_on_all_ranks(train, recipe, base, latents, dict(condition), workspace, runtime, logger=logger)
    network = module.network
    if training.lora:
        save_adapter(network, workspace / "lora")
        network.fuse_lora()
        network.unload_lora()
    copy_parts(base, workspace)
    network.save_pretrained(workspace / "unet")
    (workspace / "unet" / CONFIG).write_bytes(without_origin(workspace / "unet" / CONFIG))
    if training.samples:
        texts = [prompts.distinct[number % len(prompts.distinct)] for number in range(training.samples)]
        device = runtime.trainer().strategy.root_device
        images = sample(TextToImageFolder.of(workspace), texts, recipe, device, latents.shape[-2:])
        save_image(make_grid(images, nrow=min(4, len(images))), workspace / "samples.png")


def train(
    recipe: TrainedTextToImage,
    base: TextToImageFolder,
    latents: Latents,
    condition: Mapping[str, StoredRows],
    workspace: Path,
    runtime: Runtime,
    *,
    logger: Logger | None,
) -> "TextToImageTraining":
    """Train, on every rank."""
    training = recipe.training
    torch.manual_seed(recipe.seed)
    module = TextToImageTraining(recipe, base, tuple(condition), fused=runtime.precision != "16")
    fit(
        module,
        TrainingBatches(
            latents.mean, latents.std, *condition.values(), batch_size=training.batch_size, seed=recipe.seed
        ),
        name="target",
        workspace=workspace,
        runtime=runtime,
        logger=logger,
        max_steps=training.max_steps,
        checkpoint_every=training.checkpoint_every,
        gradient_clip=training.gradient_clip,
        callbacks=[
            *([MovingAverage(training.ema_decay)] if training.ema_decay else []),
            CompileWhenItRepays(runtime.compile, module.network),
        ],
    )
    return module


class TextToImageTraining(Optimization):
    """Predict what the scheduler says (ε, v or x_0) from a noised latent and a caption.

    Args:
        recipe: of the training.
        base: the pipeline whose U-Net is trained.
        condition: names of what stands in a batch behind mean and standard deviation of the latents.
        fused: see `Optimization`.

    Raises:
        UserError: for an adapter that peft refuses.
    """

    def __init__(self, recipe: TrainedTextToImage, base: TextToImageFolder, condition: tuple[str, ...], *, fused: bool):
        training = recipe.training
        super().__init__(
            training.optimizer, "target.training.optimizer", training.warmup_steps, recipe.seed, fused=fused
        )
        self.training_recipe, self.condition = training, condition
        self.scheduler: Any = base.scheduler(DDPMScheduler)
        self.timesteps = len(base.schedule.alphas_cumprod)
        self.pixels_a_latent = base.pixels_a_latent
        shift, scale = (torch.tensor(values)[:, None, None] for values in base.scaling)
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", shift, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self.network: Any = base.unet().train()
        if training.lora:
            add_adapter(self.network, training.lora)
        if training.gradient_checkpointing:
            self.network.enable_gradient_checkpointing()

    def loss(self, arrays: list[Tensor], draws: Draws) -> Tensor:
        """Squared error, mean over latents and samples; the latent is drawn anew from its posterior in each step."""
        mean, std, *embeddings = arrays
        condition = dict(zip(self.condition, embeddings, strict=True))
        noise = draws.normal(*mean.shape[1:])
        x_0 = (mean + std * noise - self.shift) * self.scale
        dropped = draws.happens(self.training_recipe.caption_dropout)
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
            added = {"text_embeds": pooled, "time_ids": time_ids(x_t, self.pixels_a_latent).to(pooled.dtype)}
        dtype = self.network.dtype
        output = self.network(
            x_t.to(dtype), t, encoder_hidden_states=text.to(dtype), added_cond_kwargs=added
        ).sample  # fmt: skip
        return torch.nn.functional.mse_loss(output.to(goal.dtype), goal)


def add_adapter(network: Any, lora: LoRA) -> None:
    """Freeze the network, and put an adapter beside its layers.

    Raises:
        UserError: where peft refuses it.
    """
    from peft import LoraConfig

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
    """As `load_lora_weights` of diffusers' pipelines takes it."""
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    StableDiffusionPipeline.save_lora_weights(
        folder,
        unet_lora_layers=convert_state_dict_to_diffusers(get_peft_model_state_dict(network)),
        unet_lora_adapter_metadata=network.peft_config["default"].to_dict(),  # holds alpha
    )


def copy_parts(base: TextToImageFolder, folder: Path) -> None:
    """Everything of a pipeline but its U-Net, each file of weights by its default name, without variants."""
    index = read_json(base.path / PIPELINE_CONFIG)
    parts = {"scheduler", *KINDS[base.kind]}
    kept = {name: value for name, value in index.items() if not isinstance(value, list) or name in parts}
    if base.kind == "StableDiffusionPipeline":
        kept |= {"safety_checker": [None, None], "feature_extractor": [None, None], "requires_safety_checker": False}
    for part in parts - {"unet"}:
        if part in WEIGHTED:
            base.model(part).copy(folder / part)
        else:
            (folder / part).mkdir(exist_ok=True)
            for file in filter(is_regular, (base.path / part).glob("*")):  # what lies deeper is never read
                shutil.copy2(file, folder / part)
    (folder / PIPELINE_CONFIG).write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def prepare_sampling(pipeline: Any, timesteps: Timesteps) -> int:
    """Let a pipeline begin where its prediction tells an image, and return the steps that its schedule has room for.

    Args:
        pipeline: with a DDIM scheduler whose timesteps are one later than the leading ones.
        timesteps: of its schedule.
    """
    if timesteps.last_image < timesteps.count - 1:  # zero terminal SNR, and ε predicted
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, timestep_spacing="leading")
    return min(SAMPLING_STEPS, timesteps.count // 2)


@torch.no_grad()
def sample(
    folder: TextToImageFolder, texts: list[str], recipe: TrainedTextToImage, device: torch.device, size: tuple[int, ...]
) -> Tensor:
    """Images in [0, 1] for these texts by deterministic DDIM, [n, C, H, W]; one seed an image.

    Args:
        folder: of the pipeline.
        texts: prompts, n.
        recipe: tells the guidance and the seed.
        device: to compute on.
        size: height and width of the latents.
    """
    pipeline = folder.pipeline(unet=folder.unet(), vae=folder.vae())
    steps = prepare_sampling(pipeline, folder.schedule.timesteps)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    height, width = (side * folder.pixels_a_latent for side in size)
    channels = folder.autoencoder.latent_channels
    images = []
    for number, text in enumerate(texts):
        draws = np.random.default_rng([recipe.seed, number]).standard_normal((1, channels, *size), dtype=np.float32)
        made = pipeline(
            text, height=height, width=width, num_inference_steps=steps, latents=torch.from_numpy(draws),
            guidance_scale=recipe.training.samples_guidance, output_type="pt",
        )  # fmt: skip
        images.append(made.images.float().cpu())
    return torch.cat(images)
