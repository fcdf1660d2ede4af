"""Making the parts of a small latent diffusion model: the autoencoder is trained, the rest gets random weights.

Source: Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models" (CVPR 2022), section 3.1; without
its perceptual and adversarial losses, which images of a few pixels don't need.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from pytorch_lightning.loggers import Logger
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from secmi_exp.data.images import Images, to_model_range
from secmi_exp.data.slices import slices
from secmi_exp.engine.batches import TrainingBatches
from secmi_exp.engine.optimization import Draws, Optimization
from secmi_exp.engine.runtime import Runtime
from secmi_exp.engine.training import fit
from secmi_exp.errors import UserError
from secmi_exp.targets.library_settings import Settings
from secmi_exp.targets.loading.model_folder import quiet_transformers
from secmi_exp.targets.loading.weights import reason, root
from secmi_exp.targets.text_to_image.byte_tokenizer import save_byte_tokenizer
from secmi_exp.targets.text_to_image.latent_ddpm import LatentDDPM

log = logging.getLogger(__name__)

T = TypeVar("T")

SCALED_ON = 1024
"""Members that the latents' scale is measured on, at most."""


def build_into(workspace: Path, recipe: LatentDDPM, members: Images, runtime: Runtime, logger: Logger | None) -> None:
    """Leave the pipeline in the workspace.

    Raises:
        UserError: for settings that diffusers, transformers or torch refuse, training that diverges, and an autoencoder
            whose latents are all the same.
    """
    quiet_transformers()
    log.info(
        "Training the autoencoder on %d members for %d steps.", len(members), recipe.autoencoder_training.max_steps
    )
    vae = runtime.run_on_all_ranks(train_autoencoder, recipe, members, workspace, runtime, logger=logger)
    std = latent_std(vae, members)
    if not std > 0:
        raise UserError(
            "The autoencoder that was trained gives all members the same latent: raise "
            "target.autoencoder_training.max_steps, or lower kl_weight beside it."
        )
    vae.register_to_config(scaling_factor=1 / std)
    torch.manual_seed(recipe.seed)
    text = text_settings(
        recipe.text_encoder, recipe.tokens, save_byte_tokenizer(workspace / "tokenizer", recipe.tokens)
    )
    text_encoder = refused_by("transformers", "target.text_encoder", lambda: CLIPTextModel(CLIPTextConfig(**text)))
    network: dict[str, Any] = recipe.network | {"cross_attention_dim": text_encoder.config.hidden_size}
    unet = refused_by("diffusers", "target.network", lambda: UNet2DConditionModel(**network))
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=CLIPTokenizer.from_pretrained(workspace / "tokenizer"),
        unet=unet,
        scheduler=DDIMScheduler(
            **asdict(recipe.schedule),
            prediction_type=recipe.prediction_type,
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(workspace)


def text_settings(given: Settings, tokens: int, vocabulary: int) -> dict[str, Any]:
    """All settings of the text encoder, of which the tokenizer decides some.

    Args:
        given: the others.
        tokens: of a text.
        vocabulary: how many tokens there are; the last two are a text's ends.
    """
    return given | {
        "vocab_size": vocabulary, "max_position_embeddings": tokens,
        "bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1, "pad_token_id": vocabulary - 1,
    }  # fmt: skip


def refused_by(library: str, setting: str, make: Callable[[], T]) -> T:
    """What a library makes of a setting.

    Raises:
        UserError: where it refuses it.
    """
    try:
        return make()
    except Exception as error:  # whatever its layers raise for arguments that they can't take
        raise UserError(f"{library} refuses {setting}: {reason(root(error))}.") from error


def train_autoencoder(
    recipe: LatentDDPM, members: Images, workspace: Path, runtime: Runtime, *, logger: Logger | None
) -> AutoencoderKL:
    """Train it on the members, on every rank."""
    training = recipe.autoencoder_training
    torch.manual_seed(recipe.seed)
    module = AutoencoderOptimization(recipe, fused=runtime.precision != "16")
    fit(
        module,
        TrainingBatches(members, batch_size=training.batch_size, seed=recipe.seed),
        name="autoencoder",
        workspace=workspace,
        runtime=runtime,
        logger=logger,
        max_steps=training.max_steps,
        checkpoint_every=training.checkpoint_every,
        gradient_clip=training.gradient_clip,
    )
    return module.vae.eval()


class AutoencoderOptimization(Optimization):
    """Reconstruct images from samples of the posterior of their latents."""

    def __init__(self, recipe: LatentDDPM, *, fused: bool):
        training = recipe.autoencoder_training
        setting = "target.autoencoder_training.optimizer"
        super().__init__(training.optimizer, setting, training.warmup_steps, recipe.seed, fused=fused)
        self.kl_weight = training.kl_weight
        self.vae: Any = refused_by("diffusers", "target.autoencoder", lambda: AutoencoderKL(**recipe.autoencoder))

    def loss(self, arrays: list[Tensor], draws: Draws) -> Tensor:
        """Squared error, mean over pixels and samples, and the weighted divergence, mean over latents and samples."""
        images = to_model_range(arrays[0]).to(self.vae.dtype)
        posterior = self.vae.encode(images).latent_dist
        z = posterior.mean + posterior.std * draws.normal(*posterior.mean.shape[1:]).to(images.dtype)
        error = torch.nn.functional.mse_loss(self.vae.decode(z).sample.float(), images.float())
        divergence: Tensor = posterior.kl().mean() / z[0].numel()
        return error + self.kl_weight * divergence


@torch.inference_mode()
def latent_std(vae: AutoencoderKL, members: Images) -> float:
    """Standard deviation of the posteriors' means, over all of them: what the latents are divided by."""
    batches = (members[rows] for rows in slices(min(len(members), SCALED_ON), 64))
    means = [vae.encode(to_model_range(torch.from_numpy(batch))).latent_dist.mean for batch in batches]
    return float(torch.cat(means).std())
