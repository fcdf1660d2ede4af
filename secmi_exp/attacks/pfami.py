"""PFAMI: how much the loss changes when the image is cropped a little; members lie at a local minimum of it.

Source: Fu et al., "A Probabilistic Fluctuation based Membership Inference Attack for Diffusion Models" (2023), the
statistic of the authors' code without a reference model.
"""

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, NonNegativeInt
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.signals.query_attack import QueryAttack
from secmi_exp.attacks.signals.query_batch import QueryBatch
from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError
from secmi_exp.targets.interface import InputSpace
from secmi_exp.torch_on_use import Tensor, torch

center_crop = Deferred("torchvision.transforms.functional:center_crop")
resize = Deferred("torchvision.transforms.functional:resize")


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PFAMI(QueryAttack):
    """Its value is ``fluctuation``; members have more. Two queries a timestep."""

    version: ClassVar[int] = 1
    values: ClassVar[tuple[str, ...]] = ("fluctuation",)

    timesteps: Annotated[list[NonNegativeInt], Field(min_length=1)]
    crop: Annotated[float, Field(gt=0, lt=1)]
    """Side of the centre crop, which is resized to the image's own, as a share of it."""
    seed: NonNegativeInt
    """Seed of the noises."""

    @property
    def queried_timesteps(self) -> dict[str, int]:
        """See `QueryAttack.queried_timesteps`."""
        return {"timesteps": max(self.timesteps)}

    def check_space(self, space: InputSpace) -> None:
        """See `Attack.check_space`: of a latent target, an image's crop would have to be encoded again."""
        if space == "latents":
            raise UserError("attack=pfami crops images in pixels, and is for targets in pixel space: choose another.")

    def query(self, batch: QueryBatch) -> dict[str, Tensor]:
        """Mean over timesteps of (L_t(crop) − L_t(image)) / L_t(image), both with the same noise. [B]."""
        cropped = centre_crop(batch.x_0, self.crop)
        fluctuations = []
        for j, t in enumerate(self.timesteps):
            loss = batch.loss(t, self.seed, j)
            fluctuations.append((batch.loss(t, self.seed, j, cropped) - loss) / loss)
        return {"fluctuation": torch.stack(fluctuations).mean(dim=0)}


def centre_crop(images: Tensor, share: float) -> Tensor:
    """The middle of images [B, C, H, W], resized to all of it, bilinear with antialiasing."""
    size = list(images.shape[-2:])
    side = [max(1, int(length * share)) for length in size]
    cropped: Tensor = resize(center_crop(images, side), size, antialias=True)
    return cropped
