"""The deterministic trajectory x̃_0, x̃_k, x̃_2k, … and the round trip of every step on it, for N + 1 queries an image.

Source: Duan et al. (ICML 2023), section 4. The published code walks anew from x_0 for each t_sec; one pass gives them
all, since ε_{t+k} is needed for the next step up anyway.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from secmi_exp.diffusion.ddim import ddim_step, round_trip_coefficient

PredictNoise = Callable[[Tensor, int], Tensor]
"""ε_θ(x_t, t): states [B, C, H, W] and one timestep to the predicted noise [B, C, H, W]."""


@dataclass(frozen=True)
class RoundTrip:
    """ψ(φ(x̃_t)) − x̃_t for a batch, between t = t_sec − k and t_sec."""

    t_sec: int
    """The highest timestep queried; the states compared lie at t_sec − k."""
    difference: Tensor
    """[B, C, H, W], in the precision of the predictions."""

    def t_error(self) -> Tensor:
        """‖ψ(φ(x̃_t)) − x̃_t‖², the sum of squares over all pixels, accumulated in at least float32. [B]."""
        d = self.difference.flatten(1)
        return (d.double() if d.dtype.itemsize == 8 else d.float()).square().sum(dim=1)

    def error_map(self) -> Tensor:
        """|ψ(φ(x̃_t)) − x̃_t|, the input of SecMI_NN. [B, C, H, W]."""
        return self.difference.abs()


def timesteps(k: int, t_max: int) -> list[int]:
    """The values of t_sec on a trajectory to t_max in steps of k.

    >>> timesteps(k=10, t_max=35)
    [10, 20, 30]
    """
    return list(range(k, t_max + 1, k))


def walk(
    predict_noise: PredictNoise, x_0: Tensor, alphas_cumprod: list[float], k: int, t_max: int
) -> Iterator[RoundTrip]:
    """Walk up from x̃_0 = x_0 and yield the round trip of each step, keeping one state at a time.

    Costs t_max // k + 1 queries an image. ᾱ comes as Python floats, so that no step waits for the device.

    Args:
        predict_noise: the target.
        x_0: images in [−1, 1] or scaled latents, [B, C, H, W]; taken as the state at timestep 0, whose ᾱ is ᾱ_0 < 1, as
            in the published code.
        alphas_cumprod: ᾱ_0 … ᾱ_{T−1}.
        k: the DDIM interval, in timesteps.
        t_max: the last timestep queried is the largest multiple of k that is ≤ t_max; below T.
    """
    x, eps, t = x_0, predict_noise(x_0, 0), 0
    for t_sec in timesteps(k, t_max):
        x = ddim_step(x, eps, alphas_cumprod[t], alphas_cumprod[t_sec])
        eps_up = predict_noise(x, t_sec)
        c = round_trip_coefficient(alphas_cumprod[t], alphas_cumprod[t_sec])
        yield RoundTrip(t_sec, c * (eps_up - eps))
        eps, t = eps_up, t_sec
