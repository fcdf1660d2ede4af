"""Schemas of the JSON files of other people's models, checked before anything is built or allocated.

Each schema has the fields that decide how much is allocated, or at which a network would fail only when it is queried.
Other fields are left to diffusers and transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from secmi_exp.targets.loading.json_fields import (
    Blocks,
    Epsilon,
    Flag,
    FlagOrFlags,
    JsonObject,
    Kernel,
    Layers,
    LayersOrList,
    Number,
    OptionalFlag,
    OptionalNumber,
    OptionalText,
    OptionalTransformers,
    OptionalWidth,
    OptionalWidthOrWidths,
    Padding,
    PositiveNumber,
    Share,
    Sides,
    StackedLayers,
    Text,
    Token,
    Transformers,
    Width,
    WidthOrWidths,
    Widths,
)
from secmi_exp.targets.loading.transformer_schemas import (
    DiTTransformer,
    FluxTransformer,
    PixArtTransformer,
    SD3Transformer,
)

MOST_TIMESTEPS = 100_000
"""T; 1,000 in nearly all models."""
LAYERS_IN_ALL = 256
"""Levels × layers in each × transformers in each; SDXL's U-Net has 3 · 2 · 10."""


class UNet2D(JsonObject):
    """``config.json`` of a `UNet2DModel`."""

    sample_size: Sides = None
    in_channels: Width = 3
    out_channels: Width = 3
    center_input_sample: Flag = False
    time_embedding_type: Text = "positional"
    time_embedding_dim: OptionalWidth = None
    freq_shift: Number = 0
    flip_sin_to_cos: Flag = True
    down_block_types: Blocks = Field(["DownBlock2D"] * 4)
    mid_block_type: OptionalText = "UNetMidBlock2D"
    up_block_types: Blocks = Field(["UpBlock2D"] * 4)
    block_out_channels: Widths = Field([224, 448, 672, 896])
    layers_per_block: Layers = 2
    mid_block_scale_factor: PositiveNumber = 1
    downsample_padding: Padding = 1
    downsample_type: Text = "conv"
    upsample_type: Text = "conv"
    dropout: Share = 0
    act_fn: Text = "silu"
    attention_head_dim: OptionalWidth = 8
    norm_num_groups: Width = 32
    attn_norm_num_groups: OptionalWidth = None
    norm_eps: Epsilon = 1e-5
    resnet_time_scale_shift: Text = "default"
    add_attention: Flag = True
    class_embed_type: OptionalText = None
    num_class_embeds: OptionalWidth = None
    num_train_timesteps: Annotated[
        int | None, Field(ge=1, le=MOST_TIMESTEPS, description=f"a whole number from 1 to {MOST_TIMESTEPS:,}, or null")
    ] = None

    @model_validator(mode="after")
    def _not_too_many_layers(self) -> UNet2D:
        _refuse_many_layers(self.block_out_channels, self.layers_per_block)
        return self


class UNet2DCondition(JsonObject):
    """``config.json`` of a `UNet2DConditionModel`."""

    sample_size: Sides = None
    in_channels: Width = 4
    out_channels: Width = 4
    center_input_sample: Flag = False
    flip_sin_to_cos: Flag = True
    freq_shift: Number = 0
    down_block_types: Blocks = Field(["CrossAttnDownBlock2D"] * 4)
    mid_block_type: OptionalText = "UNetMidBlock2DCrossAttn"
    up_block_types: Blocks = Field(["CrossAttnUpBlock2D"] * 4)
    only_cross_attention: FlagOrFlags = False
    block_out_channels: Widths = Field([320, 640, 1280, 1280])
    layers_per_block: LayersOrList = 2
    downsample_padding: Padding = 1
    mid_block_scale_factor: PositiveNumber = 1
    dropout: Share = 0
    act_fn: Text = "silu"
    norm_num_groups: OptionalWidth = 32
    norm_eps: Epsilon = 1e-5
    cross_attention_dim: WidthOrWidths = 1280
    transformer_layers_per_block: Transformers = 1
    reverse_transformer_layers_per_block: OptionalTransformers = None
    encoder_hid_dim: OptionalWidth = None
    encoder_hid_dim_type: OptionalText = None
    attention_head_dim: WidthOrWidths = 8
    num_attention_heads: OptionalWidthOrWidths = None
    dual_cross_attention: Flag = False
    use_linear_projection: Flag = False
    class_embed_type: OptionalText = None
    addition_embed_type: OptionalText = None
    addition_time_embed_dim: OptionalWidth = None
    num_class_embeds: OptionalWidth = None
    upcast_attention: OptionalFlag = False
    resnet_time_scale_shift: Text = "default"
    resnet_skip_time_act: Flag = False
    resnet_out_scale_factor: PositiveNumber = 1
    time_embedding_type: Text = "positional"
    time_embedding_dim: OptionalWidth = None
    time_embedding_act_fn: OptionalText = None
    timestep_post_act: OptionalText = None
    time_cond_proj_dim: OptionalWidth = None
    conv_in_kernel: Kernel = 3
    conv_out_kernel: Kernel = 3
    projection_class_embeddings_input_dim: OptionalWidth = None
    attention_type: Text = "default"
    class_embeddings_concat: Flag = False
    mid_block_only_cross_attention: OptionalFlag = None
    cross_attention_norm: OptionalText = None
    addition_embed_type_num_heads: Width = 64

    @model_validator(mode="after")
    def _not_too_many_layers(self) -> UNet2DCondition:
        _refuse_many_layers(self.block_out_channels, self.layers_per_block, self.transformer_layers_per_block)
        return self


class Autoencoder(JsonObject):
    """``config.json`` of an `AutoencoderKL`; the defaults are its own."""

    in_channels: Width = 3
    out_channels: Width = 3
    down_block_types: Blocks = Field(["DownEncoderBlock2D"])
    up_block_types: Blocks = Field(["UpDecoderBlock2D"])
    block_out_channels: Widths = Field([64])
    layers_per_block: Layers = 1
    act_fn: Text = "silu"
    latent_channels: Width = 4
    norm_num_groups: Width = 32
    sample_size: Sides = 32
    scaling_factor: Annotated[
        float | None, Field(gt=0, le=1e6, description="a number above 0, and at most 1,000,000, or null")
    ] = 0.18215
    shift_factor: OptionalNumber = None
    latents_mean: Annotated[
        list[Annotated[float, Field(ge=-1e6, le=1e6)]] | None, Field(description="a number for each channel, or null")
    ] = None
    latents_std: Annotated[
        list[Annotated[float, Field(gt=0, le=1e6)]] | None,
        Field(description="a number above 0 for each channel, or null"),
    ] = None
    force_upcast: OptionalFlag = True
    use_quant_conv: Flag = True
    use_post_quant_conv: Flag = True
    mid_block_add_attention: Flag = True

    @property
    def encoded_channels(self) -> int:
        """Channels of the latents."""
        return self.latent_channels

    @model_validator(mode="after")
    def _one_for_each_channel(self) -> Autoencoder:
        _refuse_many_layers(self.block_out_channels, self.layers_per_block)
        for name in ("latents_mean", "latents_std"):
            values = getattr(self, name)
            if values and len(values) != self.latent_channels:
                raise ValueError(f"its {name} has {len(values)} numbers for latent_channels={self.latent_channels}")
        return self


class VectorQuantizer(Autoencoder):
    """``config.json`` of a `VQModel`.

    Without a scaling_factor, the description is older than that setting, and the latents were not scaled: diffusers'
    later default isn't theirs (https://github.com/huggingface/diffusers/issues/6725).
    """

    latent_channels: Width = 3
    num_vq_embeddings: Annotated[int, Field(ge=1, le=10**6, description="a whole number from 1 to 1,000,000")] = 256
    vq_embed_dim: OptionalWidth = None
    norm_type: Text = "group"
    scaling_factor: Annotated[
        float | None, Field(gt=0, le=1e6, description="a number above 0, and at most 1,000,000, or null")
    ] = 1.0

    @property
    def encoded_channels(self) -> int:
        """See `Autoencoder.encoded_channels`."""
        return self.vq_embed_dim or self.latent_channels


class Transformer(JsonObject):
    """Fields that all descriptions of transformers' networks have in common."""

    num_labels: Annotated[int, Field(ge=0, le=100_000, description="a whole number up to 100,000")] = 2
    attn_implementation: Annotated[
        Literal["eager", "sdpa"] | None, Field(description="eager, sdpa or null, as any other could be fetched code")
    ] = None
    inner_attn_implementation: Annotated[
        Literal["eager", "sdpa"] | None,
        Field(alias="_attn_implementation", description="eager, sdpa or null, as any other could be fetched code"),
    ] = None
    hidden_size: Width = 512
    intermediate_size: Width = 2048
    num_hidden_layers: StackedLayers = 12
    num_attention_heads: Width = 8
    projection_dim: Annotated[int, Field(ge=0, le=65_536, description="a whole number up to 65,536")] = 512
    hidden_act: Text = "quick_gelu"
    layer_norm_eps: Epsilon = 1e-5
    attention_dropout: Share = 0
    initializer_range: Annotated[float, Field(ge=0, le=1e6, description="a number from 0 to 1,000,000")] = 0.02
    initializer_factor: Annotated[float, Field(ge=0, le=1e6, description="a number from 0 to 1,000,000")] = 1


class TextEncoder(Transformer):
    """``config.json`` of a `CLIPTextModel`, or one with a projection; the defaults are its own."""

    vocab_size: Annotated[int, Field(ge=1, le=10**7, description="a whole number from 1 to 10,000,000")] = 49_408
    max_position_embeddings: Annotated[int, Field(ge=2, le=65_536, description="a whole number from 2 to 65,536")] = 77
    pad_token_id: Token = None
    bos_token_id: Token = None
    eos_token_id: Token = None


class T5Encoder(Transformer):
    """``config.json`` of a `T5EncoderModel`; the defaults are its own."""

    vocab_size: Annotated[int, Field(ge=1, le=10**7, description="a whole number from 1 to 10,000,000")] = 32_128
    d_model: Width = 512
    d_kv: Width = 64
    d_ff: Width = 2048
    num_layers: StackedLayers = 6
    num_heads: Width = 8
    relative_attention_num_buckets: Width = 32
    relative_attention_max_distance: Width = 128
    dropout_rate: Share = 0.1
    layer_norm_epsilon: Epsilon = 1e-6
    feed_forward_proj: Text = "relu"
    is_decoder: Flag = False
    pad_token_id: Token = None
    eos_token_id: Token = None


class BlipText(TextEncoder):
    """``text_config`` of a BLIP model."""

    encoder_hidden_size: Width = 1


class BlipVision(Transformer):
    """``vision_config`` of a BLIP model."""

    image_size: Annotated[int, Field(ge=1, le=4096, description="a whole number from 1 to 4,096")] = 384
    patch_size: Annotated[int, Field(ge=1, le=4096, description="a whole number from 1 to 4,096")] = 16


class Blip(Transformer):
    """``config.json`` of a BLIP model."""

    model_type: Text = "blip"
    text_config: Annotated[BlipText, Field(description="settings of BLIP's text decoder")] = BlipText()
    vision_config: Annotated[BlipVision, Field(description="settings of BLIP's vision encoder")] = BlipVision()


class BlipImages(JsonObject):
    """Preparation of a BLIP model's images."""

    size: Annotated[
        dict[str, Annotated[int, Field(ge=1, le=4096)]],
        Field(description="an object of whole numbers from 1 to 4,096, such as height and width"),
    ] = Field({})


class BlipProcessing(BlipImages):
    """``preprocessor_config.json`` of a BLIP model, or ``processor_config.json``, which newer transformers write."""

    image_processor: Annotated[BlipImages, Field(description="settings of BLIP's images")] = BlipImages()


class Scheduler(JsonObject):
    """``scheduler_config.json`` of any of diffusers' schedulers."""

    num_train_timesteps: Annotated[
        int, Field(ge=1, le=MOST_TIMESTEPS, description=f"a whole number from 1 to {MOST_TIMESTEPS:,}")
    ] = 1000
    beta_start: Share = 1e-4
    beta_end: Share = 0.02
    beta_schedule: Text = "linear"
    trained_betas: Annotated[
        list[Annotated[float, Field(ge=0, le=1)]] | None,
        Field(
            min_length=1,
            max_length=MOST_TIMESTEPS,
            description=f"null, or a list of 1 to {MOST_TIMESTEPS:,} numbers from 0 to 1",
        ),
    ] = None
    prediction_type: Text = "epsilon"
    rescale_betas_zero_snr: OptionalFlag = False
    clip_sample: OptionalFlag = True
    set_alpha_to_one: OptionalFlag = True
    steps_offset: Annotated[int, Field(ge=0, le=MOST_TIMESTEPS, description="a whole number from 0 on")] = 0

    @model_validator(mode="after")
    def _growing_noise(self) -> Scheduler:
        if self.trained_betas is None and self.beta_schedule.endswith("linear") and self.beta_start > self.beta_end:
            raise ValueError(f"its beta_start={self.beta_start} is above its beta_end={self.beta_end}")
        return self


class PipelineIndex(JsonObject):
    """``model_index.json``; its parts are checked where the kind of pipeline is known."""

    kind: Annotated[str, Field(alias="_class_name", description="the name of a pipeline")]
    force_zeros_for_empty_prompt: OptionalFlag = True


class WeightsIndex(JsonObject):
    """Index of weights in parts."""

    weight_map: Annotated[
        dict[str, Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^/\\\x00]+$")]],
        Field(min_length=1, description="an object of names of weights with names of files in the same folder"),
    ]


class Tokenizer(JsonObject):
    """``tokenizer_config.json``."""

    model_max_length: Annotated[
        float | None, Field(ge=3, description="a whole number from 3 on (two tokens are the ends of a text), or null")
    ] = None


class Spent(JsonObject):
    """``privacy.json``, which a training with DP-SGD writes beside its weights."""

    steps: Annotated[int, Field(ge=0, description="a whole number from 0 on")]
    planned_steps: Annotated[int, Field(ge=0, description="a whole number from 0 on")]
    max_epsilon: Annotated[float | None, Field(gt=0, description="a number above 0, or null")]


class RunResultsFile(JsonObject):
    """``results.json`` of a run: the field that names the run's target."""

    target_folder: Annotated[str, Field(max_length=4096, description="the path of a folder")]


NETWORKS: Mapping[str, type[JsonObject]] = {
    "UNet2DModel": UNet2D,
    "DiTTransformer2DModel": DiTTransformer,
    "UNet2DConditionModel": UNet2DCondition,
    "SD3Transformer2DModel": SD3Transformer,
    "FluxTransformer2DModel": FluxTransformer,
    "PixArtTransformer2DModel": PixArtTransformer,
    "AutoencoderKL": Autoencoder,
    "VQModel": VectorQuantizer,
    "T5EncoderModel": T5Encoder,
    "CLIPTextModel": TextEncoder,
    "CLIPTextModelWithProjection": TextEncoder,
    "BlipForConditionalGeneration": Blip,
}
"""Class of a network → schema of its ``config.json``."""


def _refuse_many_layers(levels: list[int], layers: object, transformers: object = 1) -> None:
    in_all = len(levels) * _largest(layers) * max(_largest(transformers), 1)
    if in_all > LAYERS_IN_ALL:
        raise ValueError(f"it describes a network of {in_all} layers, where {LAYERS_IN_ALL} are the most that are read")


def _largest(layers: object) -> int:
    if isinstance(layers, list):
        return max(map(_largest, layers), default=0)
    return layers if isinstance(layers, int) else 0
