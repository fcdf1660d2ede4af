"""DiT: a class-conditional transformer on latents.

Source: Peebles and Xie, "Scalable Diffusion Models with Transformers" (ICCV 2023).
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from secmi_exp.data.images import Images
from secmi_exp.errors import UserError
from secmi_exp.targets.labels import LabelChoice, LabelQuery
from secmi_exp.targets.loading.latent_folder import VAE, LatentFolder, Parts
from secmi_exp.targets.loading.transformer_schemas import DiTTransformer
from secmi_exp.torch_on_use import Tensor


class DiTFolder(LatentFolder):
    """A transformer that takes a class; the number after the last is for none. Its predicted variance is left out."""

    kinds: ClassVar[Mapping[str, Parts]] = {
        "DiTPipeline": {**VAE, "transformer": ("DiTTransformer2DModel", "Transformer2DModel")}  # the second at first
    }
    denoiser = "transformer"

    @cached_property
    def transformer(self) -> DiTTransformer:
        """Description of the transformer."""
        return self.description(self.denoiser, DiTTransformer)

    def label_query(self, choice: LabelChoice, guidance: float) -> LabelQuery:
        """See `LatentFolder.label_query`."""
        classes = self.transformer.num_embeds_ada_norm or 0
        return LabelQuery(choice, classes, unconditional=classes, guidance=guidance)

    def evaluate(self, network: Any, x: Tensor, times: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """See `LatentFolder.evaluate`."""
        output: Tensor = network(x, times, condition["label"]).sample
        return output[:, : x.shape[1]]

    def refuse_other_images(self, images: Images) -> None:
        """See `LatentFolder.refuse_other_images`; the network puts its patches together as a square."""
        super().refuse_other_images(images)
        _, height, width = images.shape
        if height != width:
            raise UserError(
                f"The {self.kind} in {self.path} takes square images, and the dataset's have {height}×{width} pixels: "
                "set dataset.crop=square."
            )

    def refuse_other_denoisers(self) -> None:
        """See `LatentFolder.refuse_other_denoisers`."""
        taken = self.transformer
        self.refuse_other_channels(taken.in_channels, taken.out_channels or taken.in_channels, factors=(1, 2))
