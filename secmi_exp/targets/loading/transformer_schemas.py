"""Schemas of the descriptions of transformers that denoise; see `model_file_schemas`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from secmi_exp.targets.loading.json_fields import (
    Epsilon,
    Flag,
    JsonObject,
    OptionalFlag,
    OptionalNumber,
    OptionalText,
    OptionalWidth,
    Share,
    StackedLayers,
    Text,
    Width,
)

Side = Annotated[int, Field(ge=1, le=512, description="a whole number from 1 to 512")]
"""Side of a network's input, in latents. It is bounded because position tables grow with its square, and are computed
rather than read from the weights, so that no comparison with the weights would find too large a one."""
_LayersOrNone = Annotated[int, Field(ge=0, le=256, description="a whole number up to 256")]


class DiTTransformer(JsonObject):
    """``config.json`` of a `DiTTransformer2DModel`."""

    num_attention_heads: Width = 16
    attention_head_dim: Width = 72
    in_channels: Width = 4
    out_channels: OptionalWidth = None
    num_layers: StackedLayers = 28
    dropout: Share = 0
    norm_num_groups: Width = 32
    attention_bias: Flag = True
    sample_size: Side = 32
    patch_size: Side = 2
    activation_fn: Text = "gelu-approximate"
    num_embeds_ada_norm: OptionalWidth = 1000
    upcast_attention: Flag = False
    norm_type: Text = "ada_norm_zero"
    norm_elementwise_affine: Flag = False
    norm_eps: Epsilon = 1e-5


class SD3Transformer(JsonObject):
    """``config.json`` of an `SD3Transformer2DModel`; the defaults are its own."""

    sample_size: Side = 128
    patch_size: Side = 2
    in_channels: Width = 16
    num_layers: StackedLayers = 18
    attention_head_dim: Width = 64
    num_attention_heads: Width = 18
    joint_attention_dim: Width = 4096
    caption_projection_dim: Width = 1152
    pooled_projection_dim: Width = 2048
    out_channels: OptionalWidth = 16
    pos_embed_max_size: Side = 96
    dual_attention_layers: Annotated[
        list[Annotated[int, Field(ge=0, le=256)]], Field(max_length=256, description="a list of numbers of layers")
    ] = Field([])
    qk_norm: OptionalText = None


class FluxTransformer(JsonObject):
    """``config.json`` of a `FluxTransformer2DModel`; the defaults are its own."""

    patch_size: Annotated[int, Field(ge=1, le=1, description="1, as latents are packed before")] = 1
    in_channels: Width = 64
    out_channels: OptionalWidth = None
    num_layers: _LayersOrNone = 19
    num_single_layers: _LayersOrNone = 38
    attention_head_dim: Width = 128
    num_attention_heads: Width = 24
    joint_attention_dim: Width = 4096
    pooled_projection_dim: Width = 768
    guidance_embeds: Flag = False
    axes_dims_rope: Annotated[
        list[Annotated[int, Field(ge=2, le=65_536)]],
        Field(min_length=3, max_length=3, description="a list of three whole numbers from 2 to 65,536"),
    ] = Field([16, 56, 56])


class PixArtTransformer(JsonObject):
    """``config.json`` of a `PixArtTransformer2DModel`, which was first published as a `Transformer2DModel`."""

    num_attention_heads: Width = 16
    attention_head_dim: Width = 72
    in_channels: Width = 4
    out_channels: OptionalWidth = 8
    num_layers: StackedLayers = 28
    dropout: Share = 0
    norm_num_groups: Width = 32
    cross_attention_dim: OptionalWidth = 1152
    attention_bias: Flag = True
    sample_size: Side = 128
    patch_size: Side = 2
    activation_fn: Text = "gelu-approximate"
    num_embeds_ada_norm: OptionalWidth = 1000
    upcast_attention: Flag = False
    norm_type: Text = "ada_norm_single"
    norm_elementwise_affine: Flag = False
    norm_eps: Epsilon = 1e-6
    interpolation_scale: OptionalNumber = None
    use_additional_conditions: OptionalFlag = None
    caption_channels: OptionalWidth = None
    attention_type: OptionalText = "default"
