"""PixArt-α and PixArt-Σ: a transformer with cross-attention to T5's tokens.

Sources: Chen et al., "PixArt-α" (ICLR 2024); Chen et al., "PixArt-Σ" (ECCV 2024).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from secmi_exp.targets.loading.latent_folder import VAE, Parts
from secmi_exp.targets.loading.model_file_schemas import T5Encoder
from secmi_exp.targets.loading.transformer_schemas import PixArtTransformer
from secmi_exp.targets.text_to_image.pipeline_folder import T5, T5_TOKENIZERS, TextToImageFolder
from secmi_exp.torch_on_use import Tensor, torch

ALPHA, SIGMA = "PixArtAlphaPipeline", "PixArtSigmaPipeline"
PARTS: Parts = {
    **VAE,
    "transformer": ("PixArtTransformer2DModel", "Transformer2DModel"),  # the second as it was first published
    **{"tokenizer": T5_TOKENIZERS, "text_encoder": T5},
}


class PixArtFolder(TextToImageFolder):
    """A transformer that takes T5's embeddings with a mask, and in α at 1,024 pixels the size of the image too.

    It predicts noise and variance; the variance is left out. Captions are put in lower case, as the pipelines do, and
    not cleaned further.
    """

    kinds: ClassVar[Mapping[str, Parts]] = {ALPHA: PARTS, SIGMA: PARTS}
    denoiser = "transformer"
    embeddings = ("text", "mask")

    @property
    def t5_tokens(self) -> int:
        """See `TextToImageFolder.t5_tokens`."""
        return 120 if self.kind == ALPHA else 300

    @cached_property
    def transformer(self) -> PixArtTransformer:
        """Description of the transformer."""
        return self.description(self.denoiser, PixArtTransformer)

    def embed(
        self, pipeline: Any, prompts: list[str], device: torch.device | str = "cpu", *, negative: bool = False
    ) -> dict[str, Tensor]:
        """See `TextToImageFolder.embed`."""
        encoded = pipeline.encode_prompt(prompts, negative, device=device, max_sequence_length=self.t5_tokens)
        named = zip(("text", "mask", "negative_text", "negative_mask"), encoded, strict=True)
        return {name: rows.to(encoded[0].dtype) for name, rows in named if rows is not None}

    def evaluate(self, network: Any, x: Tensor, times: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """See `LatentFolder.evaluate`."""
        added = None
        if network.use_additional_conditions:
            height, width = (side * self.pixels_per_latent for side in x.shape[-2:])
            added = {"resolution": x.new_tensor([[height, width]]), "aspect_ratio": x.new_tensor([[height / width]])}
            added = {name: values.expand(len(x), -1) for name, values in added.items()}
        output: Tensor = network(x, condition["text"], times, added, encoder_attention_mask=condition["mask"]).sample
        return output[:, : x.shape[1]]

    def refuse_other_denoisers(self) -> None:
        """See `LatentFolder.refuse_other_denoisers`."""
        taken, t5 = self.transformer, self.description("text_encoder", T5Encoder)
        self.refuse_other_channels(taken.in_channels, taken.out_channels or taken.in_channels, factors=(1, 2))
        self.refuse_other_texts(taken.caption_channels or taken.cross_attention_dim or 0, t5.d_model)
