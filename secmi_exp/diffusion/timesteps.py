"""The timesteps of a schedule and of a trajectory, which also those need to know who never walk one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Timesteps:
    """The timesteps 0 … T − 1 of a target, and up to which of them its predictions tell something.

    With a zero terminal SNR (Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", WACV 2024) ᾱ
    is 0 at the last one. The state is mere noise there: a prediction of ε leaves x_0 open, and one of v or x_0 says
    nothing of ε, which is the state itself.
    """

    count: int
    """T."""
    last_image: int
    """The last timestep at which a prediction tells x̂_0, which a DDIM step from there needs."""
    last_noise: int
    """The last timestep at which ε̂ depends on the network."""

    @classmethod
    def of(cls, alphas_cumprod: Sequence[float], *, predicts_noise: bool) -> Timesteps:
        """The timesteps of a schedule.

        Args:
            alphas_cumprod: ᾱ_0 … ᾱ_{T−1}, descending.
            predicts_noise: whether the network's output is ε, rather than v or x_0.

        >>> Timesteps.of([0.9, 0.5, 0.0], predicts_noise=True)
        Timesteps(count=3, last_image=1, last_noise=2)
        >>> Timesteps.of([0.9, 0.5, 0.0], predicts_noise=False)
        Timesteps(count=3, last_image=2, last_noise=1)
        """
        count = len(alphas_cumprod)
        noisy = sum(alpha_bar > 0.0 for alpha_bar in alphas_cumprod) - 1
        if predicts_noise:
            return cls(count, last_image=noisy, last_noise=count - 1)
        return cls(count, last_image=min(noisy + 1, count - 1), last_noise=noisy)

    @classmethod
    def with_signal_everywhere(cls, count: int) -> Timesteps:
        """The timesteps of a schedule whose ᾱ is above 0 everywhere."""
        return cls(count, count - 1, count - 1)


def timesteps(k: int, t_max: int, start: int = 0) -> list[int]:
    """The values of t_sec on a trajectory from ``start`` to t_max in steps of k.

    >>> timesteps(k=10, t_max=35)
    [10, 20, 30]
    """
    return list(range(start + k, t_max + 1, k))
