"""The deterministic trajectory x̃_0, x̃_k, x̃_2k, … and the round trip of every step on it, for N + 1 queries an image.

Source: Duan et al. (ICML 2023), section 4. The published code walks anew from x_0 for each t_sec; one pass gives them
all, since ε_{t+k} is needed for the next step up anyway.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from secmi_exp.diffusion.path import GaussianPath
from secmi_exp.diffusion.timesteps import timesteps

PredictNoise = Callable[[Tensor, int], Tensor]
"""ε_θ(x_t, t): states [B, C, H, W] and one timestep to the predicted noise [B, C, H, W]."""
PredictImage = Callable[[Tensor, int], Tensor]
"""x̂_0 of states [B, C, H, W] at one timestep, [B, C, H, W]; costs a query as well."""


@dataclass(frozen=True)
class State:
    """A state on a trajectory, with the noise predicted there."""

    t: int
    x: Tensor
    """x̃_t, [B, C, H, W]."""
    eps: Tensor
    """ε_θ(x̃_t, t), [B, C, H, W]."""


@dataclass(frozen=True)
class RoundTrip:
    """ψ(φ(x̃_t)) − x̃_t for a batch, between t = t_sec − k and t_sec."""

    state: State
    """State at t_sec, the highest timestep queried; the states compared lie at t_sec − k."""
    difference: Tensor
    """[B, C, H, W], in the precision of the predictions."""

    @property
    def t_sec(self) -> int:
        """The highest timestep queried."""
        return self.state.t

    def t_error(self) -> Tensor:
        """‖ψ(φ(x̃_t)) − x̃_t‖², the sum of squares over all pixels, accumulated in at least float32. [B]."""
        d = self.difference
        return (d.double() if d.dtype.itemsize == 8 else d.float()).square().sum(dim=tuple(range(1, d.dim())))

    def error_map(self) -> Tensor:
        """|ψ(φ(x̃_t)) − x̃_t|, the input of SecMI_NN. [B, C, H, W]."""
        return self.difference.abs()


def begin(predict_noise: PredictNoise, x: Tensor, t: int = 0) -> State:
    """The state that a walk begins with: one query an image.

    Args:
        predict_noise: the target.
        x: images in [−1, 1] or scaled latents, [B, C, H, W], taken as the state at timestep 0, whose α is α_0 < 1, as
            in the published code; or where `approach` has led them.
        t: timestep of ``x``.
    """
    return State(t, x, predict_noise(x, t))


def approach(predict_noise: PredictNoise, x_0: Tensor, path: GaussianPath, k: int, t: int) -> Tensor:
    """x̃_t by DDIM steps from x_0 of which nothing is compared, [B, C, H, W]; `approach_queries` an image.

    Args:
        predict_noise: the target, of which no difference is taken: a lower precision does little.
        x_0: images or latents, [B, C, H, W].
        path: the target's.
        k: the interval of a step, in timesteps; the last one is as long as is left.
        t: timestep of the step's end, at most `Timesteps.last_image`.
    """
    x = x_0
    for start in range(0, t, k):
        x = path.step(x, predict_noise(x, start), start, min(start + k, t))
    return x


def walk(
    predict_noise: PredictNoise,
    state: State,
    path: GaussianPath,
    k: int,
    t_max: int,
    predict_image: PredictImage | None = None,
) -> Iterator[RoundTrip]:
    """Walk up from a state and yield the round trip of each step, keeping one state at a time.

    Costs (t_max − t) // k queries an image. α and σ are Python floats, so that no step waits for the device.

    Args:
        predict_noise: the target.
        state: `begin`'s, or the last one of an earlier walk, which is then continued as if it had not ended.
        path: the target's.
        k: the interval of a step, in timesteps.
        t_max: the last timestep queried is the largest t + i·k that is ≤ t_max; at most `Timesteps.last_image`.
        predict_image: the target's x̂_0, for a last timestep with α = 0.
    """
    for t_up in timesteps(k, t_max, state.t):
        x_up = path.step(state.x, state.eps, state.t, t_up)
        if path.alphas[t_up] == 0.0 and predict_image:
            step = last_round_trip(predict_image, state, State(t_up, x_up, x_up), path)
        else:
            eps_up = predict_noise(x_up, t_up)
            c = path.round_trip_coefficient(state.t, t_up)
            step = RoundTrip(State(t_up, x_up, eps_up), c * (eps_up - state.eps))
        state = step.state
        yield step


def last_round_trip(predict_image: PredictImage, state: State, up: State, path: GaussianPath) -> RoundTrip:
    """The round trip between a state and one with α = 0, where c_t is infinite, and ε̂ is the state itself.

    ψ(φ(x̃_t)) − x̃_t = α_t (x̂_0(x̃_{t+k}) − x̂_0(x̃_t)): both states have the noise ε_t in common, so that only the
    images differ.

    Args:
        predict_image: the target's x̂_0; one query an image.
        state: x̃_t, with α_t above 0.
        up: x̃_{t+k} = ε_t.
        path: the target's.
    """
    image = path.denoise(state.x, state.eps, state.t)
    return RoundTrip(up, path.alphas[state.t] * (predict_image(up.x, up.t) - image))
