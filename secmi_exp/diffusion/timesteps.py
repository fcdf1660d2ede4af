"""The timesteps of a schedule and of a trajectory, and the kinds of predictions; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Prediction = Literal["epsilon", "sample", "v_prediction", "velocity", "edm"]
"""Kind of a network's output: ε, x_0, v = √ᾱ_t ε − √(1−ᾱ_t) x_0 (diffusers' names), the velocity ε − x_0 of flow
matching, or EDM's F, of which x_0 is made by preconditioning."""

TimeAxis = Literal["ddpm", "native"]
"""What timestep t means on a continuous path: the noise-to-signal ratio σ/α of the paper's DDPM schedule at t, or the
t-th of T levels that are the family's own. Discrete schedules have their own timesteps in any case."""

PAPER_STEPS = 1000
"""T of the paper's schedule."""


@dataclass(frozen=True)
class Timesteps:
    """The timesteps 0 … T − 1 of a target, and up to which of them its predictions tell something.

    With a zero terminal SNR (Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", WACV 2024) α
    is 0 at the last one. The state is mere noise there: a prediction of ε leaves x_0 open, and any other says nothing
    of ε, which is the state itself.
    """

    count: int
    """T."""
    last_image: int
    """The last timestep at which a prediction tells x̂_0, which a step from there needs."""
    last_noise: int
    """The last timestep at which ε̂ depends on the network."""

    @classmethod
    def of(cls, alphas: Sequence[float], *, predicts_noise: bool) -> Timesteps:
        """The timesteps of a schedule.

        Args:
            alphas: α_0 … α_{T−1}, the share of x_0 in a state, descending.
            predicts_noise: whether the network's output is ε.

        >>> Timesteps.of([0.9, 0.5, 0.0], predicts_noise=True)
        Timesteps(count=3, last_image=1, last_noise=2)
        >>> Timesteps.of([0.9, 0.5, 0.0], predicts_noise=False)
        Timesteps(count=3, last_image=2, last_noise=1)
        """
        count = len(alphas)
        noisy = sum(alpha > 0.0 for alpha in alphas) - 1
        if predicts_noise:
            return cls(count, last_image=noisy, last_noise=count - 1)
        return cls(count, last_image=min(noisy + 1, count - 1), last_noise=noisy)

    @classmethod
    def with_signal_everywhere(cls, count: int) -> Timesteps:
        """The timesteps of a schedule whose α is above 0 everywhere."""
        return cls(count, count - 1, count - 1)


def timesteps(k: int, t_max: int, start: int = 0) -> list[int]:
    """The values of t_sec on a trajectory from ``start`` to t_max in steps of k.

    >>> timesteps(k=10, t_max=35)
    [10, 20, 30]
    """
    return list(range(start + k, t_max + 1, k))


def approach_queries(k: int, t: int) -> int:
    """Queries an image of a way from timestep 0 to t in steps of k, the last of which may be shorter.

    >>> approach_queries(k=30, t=90), approach_queries(k=30, t=91), approach_queries(k=30, t=0)
    (3, 4, 0)
    """
    return -(-t // k)
