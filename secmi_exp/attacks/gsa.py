"""GSA: sizes of the loss's gradient in each of the target's parameters. White box.

Source: Pang et al., "White-box Membership Inference Attacks against Diffusion Models" (PoPETs 2025), GSA1: the losses
of all timesteps are averaged before one backward pass. As in the authors' code, a layer's weights and biases count each
on their own, and norms are not squared.
"""

from typing import ClassVar

from pydantic import ConfigDict, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.signals.query_attack import QueryAttack
from secmi_exp.attacks.signals.query_batch import QueryBatch
from secmi_exp.diffusion.noise_predictor_type import NoisePredictor
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.errors import UserError
from secmi_exp.torch_on_use import Tensor, torch


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class GSA(QueryAttack):
    """Its ``features`` are a norm for each parameter tensor, [n, F]. As many queries as timesteps."""

    version: ClassVar[int] = 1
    gradients: ClassVar[bool] = True

    timesteps: PositiveInt
    """How many, equally far apart from 0 on."""
    seed: NonNegativeInt
    """Seed of the noises."""

    @property
    def measured_names(self) -> None:
        """None: the target has them."""

    @property
    def queried_timesteps(self) -> dict[str, int]:
        """None: they follow from the schedule."""
        return {}

    def check(self, timesteps: Timesteps) -> None:
        """See `Attack.check`; the schedule must have so many."""
        if self.timesteps > timesteps.count:
            raise UserError(
                f"attack.timesteps={self.timesteps} exceeds the {timesteps.count} timesteps of the target's schedule: "
                "choose at most as many."
            )
        super().check(timesteps)

    def value_names(self, predictor: NoisePredictor) -> list[str]:
        """Names of the network's parameters."""
        return [name for name, _ in predictor.network.named_parameters()]

    def query(self, batch: QueryBatch) -> dict[str, Tensor]:
        """‖∇_w mean_t L_t(x)‖_2 for each parameter tensor w and image x. [B].

        Image by image: gradients of a batch's images side by side take a copy of the network each.
        """
        network = batch.predictor.network
        weights = [each.requires_grad_() for each in network.parameters()]
        spacing = len(batch.predictor.path) // self.timesteps
        rows = []
        for i in range(len(batch.x_0)):
            image = batch.row(i)
            loss = torch.stack([image.loss(j * spacing, self.seed, j) for j in range(self.timesteps)]).mean()
            gradients = torch.autograd.grad(loss, weights, allow_unused=True)
            nothing = loss.new_zeros(())
            rows.append(torch.stack([nothing if each is None else each.norm().to(loss) for each in gradients]))
        norms = torch.stack(rows).detach()
        return dict(zip(self.value_names(batch.predictor), norms.T, strict=True))
