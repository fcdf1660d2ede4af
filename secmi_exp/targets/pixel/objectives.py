"""What a pixel-space network is trained to predict, and how images are drawn from it, by the path that it is on."""

from dataclasses import asdict
from typing import Any, Protocol

import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from secmi_exp.engine.optimization import Draws
from secmi_exp.errors import UserError
from secmi_exp.targets.noise_schedule import FlowSchedule, NoiseSchedule


class Objective(Protocol):
    """The states that a network is trained on, and its goal."""

    scheduler: Any
    """Scheduler of diffusers that describes the path and is saved beside the weights."""

    def draw(self, x_0: Tensor, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """Noise images [B, C, H, W]: their states [B, C, H, W], the network's times [B], and its goal [B, C, H, W]."""

    def sampler(self, steps: int) -> Any:
        """Return a deterministic scheduler of diffusers that samples in at most so many steps."""


class NoiseObjective:
    """L_simple: ε in √ᾱ_t x_0 + √(1−ᾱ_t) ε, t uniform in 0 … T−1.

    Source: Ho et al., "Denoising Diffusion Probabilistic Models" (NeurIPS 2020), algorithm 1.

    Raises:
        UserError: for a schedule without signal at its end.
    """

    def __init__(self, schedule: NoiseSchedule):
        self.scheduler: Any = DDPMScheduler(**asdict(schedule))
        self.steps = schedule.num_train_timesteps
        signal = int((self.scheduler.alphas_cumprod > 0).sum())
        if signal < self.steps:
            raise UserError(
                f"target.schedule brings ᾱ to 0 at timestep {signal}, from which a network that predicts the noise "
                "can't be sampled: lower target.schedule.beta_end."
            )

    def draw(self, x_0: Tensor, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """See `Objective.draw`."""
        t = draws.integers(self.steps)
        eps = draws.normal(*x_0.shape[1:])
        return self.scheduler.add_noise(x_0, eps, t), t, eps

    def sampler(self, steps: int) -> Any:
        """See `Objective.sampler`: DDIM."""
        sampler = DDIMScheduler.from_config(self.scheduler.config)
        sampler.set_timesteps(min(steps, self.steps))
        return sampler


class FlowObjective:
    """Rectified flow: the velocity ε − x_0 in (1 − σ) x_0 + σ ε, with time σ · T.

    Source: Liu et al., "Flow Straight and Fast" (ICLR 2023), equation 1.
    """

    def __init__(self, schedule: FlowSchedule):
        self.schedule = schedule
        self.scheduler: Any = FlowMatchEulerDiscreteScheduler(schedule.num_train_timesteps)

    def draw(self, x_0: Tensor, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """See `Objective.draw`."""
        normal = draws.normal()
        gaussian = self.schedule.sigma == "logit_normal"
        sigma = torch.sigmoid(normal) if gaussian else torch.special.ndtr(normal)  # Φ makes it uniform
        eps = draws.normal(*x_0.shape[1:])
        share = sigma[:, None, None, None]
        return (1.0 - share) * x_0 + share * eps, sigma * self.schedule.num_train_timesteps, eps - x_0

    def sampler(self, steps: int) -> Any:
        """See `Objective.sampler`: Euler steps of the flow."""
        sampler = FlowMatchEulerDiscreteScheduler.from_config(self.scheduler.config)
        sampler.set_timesteps(min(steps, self.schedule.num_train_timesteps))
        return sampler


def objective_of(schedule: NoiseSchedule | FlowSchedule) -> Objective:
    """Return what a network on this path is trained for."""
    return FlowObjective(schedule) if isinstance(schedule, FlowSchedule) else NoiseObjective(schedule)
