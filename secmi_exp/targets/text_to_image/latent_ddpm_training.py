"""Makes the parts of a small latent diffusion model: the autoencoder is trained, the other networks are random.

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

from secmi_exp.data.images import Images
from secmi_exp.data.model_range import to_model_range
from secmi_exp.data.slices import slices
from secmi_exp.engine.batches import TrainingBatches
from secmi_exp.engine.kept_target import forget_target
from secmi_exp.engine.optimization import Draws, Optimization
from secmi_exp.engine.runtime import Runtime
from secmi_exp.engine.training import fit
from secmi_exp.errors import UserError
from secmi_exp.targets.dry_run import BATCH, Shape, try_network, try_optimizer
from secmi_exp.targets.library_settings import Settings
from secmi_exp.targets.loading.settings_files import reason, root
from secmi_exp.targets.text_to_image.byte_tokenizer import save_byte_tokenizer, vocabulary
from secmi_exp.targets.text_to_image.recipes import LatentDDPMRecipe, TrainingRecipe
from secmi_exp.targets.text_to_image.unet_training import add_adapter

log = logging.getLogger(__name__)

T = TypeVar("T")

SCALED_ON = 1024
"""Upper bound of the number of members on which the latents' scale is measured."""


def build_into(
    workspace: Path, recipe: LatentDDPMRecipe, members: Images, runtime: Runtime, logger: Logger | None
) -> None:
    """Write the pipeline into the workspace.

    Raises:
        UserError: for settings that diffusers, transformers or torch refuse, training that diverges, and an autoencoder
            whose latents are all the same.
    """
    log.info(
        "Training the autoencoder on %d members for %d steps.", len(members), recipe.autoencoder_training.max_steps
    )
    vae = runtime.run_on_all_ranks(train_autoencoder, recipe, members, workspace, runtime, logger=logger)
    std = latent_std(vae, members)
    if not std > 0:
        raise UserError(
            "The trained autoencoder gives all members the same latent: raise target.autoencoder_training.max_steps, "
            "or lower target.autoencoder_training.kl_weight."
        )
    vae.register_to_config(scaling_factor=1 / std)
    torch.manual_seed(recipe.seed)
    text = text_settings(
        recipe.text_encoder, recipe.tokens, save_byte_tokenizer(workspace / "tokenizer", recipe.tokens)
    )
    text_encoder = make_by("transformers", "target.text_encoder", lambda: CLIPTextModel(CLIPTextConfig(**text)))
    network: dict[str, Any] = recipe.network | {"cross_attention_dim": text_encoder.config.hidden_size}
    unet = make_by("diffusers", "target.network", lambda: UNet2DConditionModel(**network))
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
    """Return all settings of the text encoder; the tokenizer decides some.

    Args:
        given: the other settings.
        tokens: number of a text's tokens.
        vocabulary: number of different tokens; the last two are a text's ends.
    """
    return given | {
        "vocab_size": vocabulary, "max_position_embeddings": tokens,
        "bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1, "pad_token_id": vocabulary - 1,
    }  # fmt: skip


def make_by(library: str, setting: str, make: Callable[[], T]) -> T:
    """Return what a library makes of a setting.

    Raises:
        UserError: where it refuses the setting.
    """
    try:
        return make()
    except Exception as error:  # whatever its layers raise for arguments that they can't take
        raise UserError(f"{library} refuses {setting}: {reason(root(error))}.") from error


def train_autoencoder(
    recipe: LatentDDPMRecipe, members: Images, workspace: Path, runtime: Runtime, *, logger: Logger | None
) -> AutoencoderKL:
    """Train the autoencoder on the members, on every rank."""
    forget_target()
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
    """Reconstructs images from samples of the posterior of their latents."""

    def __init__(self, recipe: LatentDDPMRecipe, *, fused: bool):
        training = recipe.autoencoder_training
        setting = "target.autoencoder_training.optimizer"
        super().__init__(training.optimizer, setting, training.warmup_steps, recipe.seed, fused=fused)
        self.kl_weight = training.kl_weight
        self.vae: Any = make_by("diffusers", "target.autoencoder", lambda: AutoencoderKL(**recipe.autoencoder))

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
    """Return the standard deviation of all the posteriors' means, by which the latents are divided."""
    batches = (members[rows] for rows in slices(min(len(members), SCALED_ON), 64))
    means = [vae.encode(to_model_range(torch.from_numpy(batch))).latent_dist.mean for batch in batches]
    return float(torch.cat(means).std())


def dry_run(recipe: LatentDDPMRecipe, training: TrainingRecipe, images: Shape) -> None:
    """Build autoencoder, text encoder and U-Net, and evaluate each on the outputs of the ones before.

    Raises:
        UserError: naming the setting that can't be used.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def reconstruct(vae: AutoencoderKL) -> None:
        z = vae.encode(torch.empty(BATCH, *images)).latent_dist.mean
        vae.decode(z)
        shapes["latents"] = tuple(z.shape)

    def make_vae(settings: Settings) -> AutoencoderKL:
        return AutoencoderKL(**settings)

    try_network("diffusers", "target.autoencoder", recipe.autoencoder, AutoencoderKL, make_vae, reconstruct)

    def encode(text_encoder: CLIPTextModel) -> None:
        tokens = torch.zeros(BATCH, recipe.tokens, dtype=torch.long)
        shapes["text"] = tuple(text_encoder(tokens).last_hidden_state.shape)

    def make_text_encoder(settings: Settings) -> CLIPTextModel:
        return CLIPTextModel(CLIPTextConfig(**text_settings(settings, recipe.tokens, len(vocabulary()))))

    try_network("transformers", "target.text_encoder", recipe.text_encoder, CLIPTextConfig, make_text_encoder, encode)

    def predict(unet: UNet2DConditionModel) -> None:
        text: Tensor = torch.empty(*shapes["text"])
        unet(torch.empty(*shapes["latents"]), torch.zeros(BATCH, dtype=torch.long), encoder_hidden_states=text)
        if training.lora:
            add_adapter(unet, training.lora)

    def make_unet(settings: Settings) -> UNet2DConditionModel:
        return UNet2DConditionModel(**settings | {"cross_attention_dim": shapes["text"][-1]})

    try_network("diffusers", "target.network", recipe.network, UNet2DConditionModel, make_unet, predict)
    try_optimizer(recipe.autoencoder_training.optimizer, "target.autoencoder_training.optimizer")
    try_optimizer(training.optimizer, "target.training.optimizer")
