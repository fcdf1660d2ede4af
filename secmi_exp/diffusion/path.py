"""Gaussian paths: signal and noise of a state at each timestep, a deterministic step, and the meaning of an output.

x_t = α_t x_0 + σ_t ε. DDPM: α = √ᾱ, σ = √(1−ᾱ). Flow matching: α = 1 − σ. Variance exploding (EDM): α = 1.

Sources: Song et al., "Denoising Diffusion Implicit Models" (ICLR 2021), equation 12 with σ = 0; Salimans and Ho,
"Progressive Distillation for Fast Sampling of Diffusion Models" (ICLR 2022), v; Liu et al., "Flow Straight and Fast"
(ICLR 2023), the velocity; Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models" (NeurIPS
2022), table 1, the preconditioning; Duan et al. (ICML 2023), equations 9 to 11, φ and ψ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from secmi_exp.diffusion.timesteps import PAPER_STEPS, Prediction, Timesteps
from secmi_exp.torch_on_use import Tensor, torch


def alphas_cumprod_from_betas(betas: Tensor) -> Tensor:
    """ᾱ_t = ∏_{s≤t} (1 − β_s) in float64.

    Args:
        betas: the noise schedule, [T].

    >>> alphas_cumprod_from_betas(torch.tensor([0.5, 0.5])).tolist()
    [0.5, 0.25]
    """
    return torch.cumprod(1.0 - betas.double(), dim=0)


@dataclass(frozen=True)
class GaussianPath:
    """α and σ of each timestep, and what the network's output is.

    Raises:
        ValueError: for a prediction that this path has no meaning for; see `from_alphas_cumprod`, `flow`, `exploding`.
    """

    alphas: Sequence[float]
    """α_0 … α_{T−1}, in [0, 1], not growing."""
    sigmas: Sequence[float]
    """σ_0 … σ_{T−1}, not falling."""
    prediction: Prediction = "epsilon"
    times: Sequence[float] | None = None
    """What the network gets as its time at each timestep; None: the timestep itself, a whole number."""
    sigma_data: float = 1.0
    """Standard deviation of the data, in EDM's preconditioning alone."""

    def __post_init__(self) -> None:
        for name, value, wanted in (
            ("v_prediction", math.hypot(self.alphas[0], self.sigmas[0]), "α² + σ² = 1"),
            ("velocity", self.alphas[0] + self.sigmas[0], "α + σ = 1"),
            ("edm", self.alphas[0], "α = 1"),
        ):
            if self.prediction == name and not math.isclose(value, 1.0, rel_tol=1e-6):
                raise ValueError(f"The prediction {name} has a meaning on paths with {wanted} alone")

    @classmethod
    def from_alphas_cumprod(cls, alphas_cumprod: Sequence[float], prediction: Prediction = "epsilon") -> GaussianPath:
        """The path of DDPM: α = √ᾱ, σ = √(1−ᾱ).

        Args:
            alphas_cumprod: ᾱ_0 … ᾱ_{T−1}, in [0, 1].
            prediction: the network's output: ε, x_0, or v = √ᾱ ε − √(1−ᾱ) x_0.
        """
        alphas = [math.sqrt(alpha_bar) for alpha_bar in alphas_cumprod]
        return cls(alphas, [math.sqrt(1.0 - alpha_bar) for alpha_bar in alphas_cumprod], prediction)

    @classmethod
    def flow(cls, sigmas: Sequence[float], time_scale: float) -> GaussianPath:
        """The straight path of flow matching, α = 1 − σ, with a network that predicts the velocity v = ε − x_0.

        Args:
            sigmas: σ_0 … σ_{T−1}, in [0, 1].
            time_scale: the network gets σ times this.
        """
        return cls([1.0 - sigma for sigma in sigmas], sigmas, "velocity", [time_scale * sigma for sigma in sigmas])

    @classmethod
    def exploding(cls, sigmas: Sequence[float], prediction: Prediction, sigma_data: float = 1.0) -> GaussianPath:
        """The path of EDM, α = 1; its network gets log(σ)/4 where it is preconditioned, and otherwise σ.

        Args:
            sigmas: σ_0 … σ_{T−1}, above 0: at 0, no ε follows from x̂_0.
            prediction: edm, the raw network F of table 1; sample, the denoiser D(x, σ); or epsilon.
            sigma_data: of the preconditioning.
        """
        times = [math.log(sigma) / 4.0 for sigma in sigmas] if prediction == "edm" else sigmas
        return cls([1.0] * len(sigmas), sigmas, prediction, times, sigma_data)

    def __len__(self) -> int:
        """T."""
        return len(self.alphas)

    @cached_property
    def timesteps(self) -> Timesteps:
        """T, and up to which timestep noise and image follow from the output."""
        return Timesteps.of(self.alphas, predicts_noise=self.prediction == "epsilon")

    def add_noise(self, x_0: Tensor, eps: Tensor, t: int) -> Tensor:
        """The state x_t = α_t x_0 + σ_t ε.

        Args:
            x_0: images or latents, any shape.
            eps: noise of that shape, or one that broadcasts to it.
            t: 0 … T − 1.

        >>> GaussianPath([0.0], [1.0]).add_noise(torch.tensor([1.0]), torch.tensor([2.0]), 0).tolist()
        [2.0]
        """
        return self.alphas[t] * x_0 + self.sigmas[t] * eps

    def denoise(self, x_t: Tensor, eps: Tensor, t: int) -> Tensor:
        """x̂_0 = (x_t − σ_t ε̂) / α_t, the inverse of `add_noise` for the same noise; α_t must be above 0.

        Args:
            x_t: states, any shape.
            eps: predicted noise, the shape of ``x_t``.
            t: 0 … T − 1.

        >>> GaussianPath([0.5], [0.5]).denoise(torch.tensor([1.0]), torch.tensor([0.0]), 0).tolist()
        [2.0]
        """
        return (x_t - self.sigmas[t] * eps) / self.alphas[t]

    def step(self, x_t: Tensor, eps: Tensor, t: int, u: int) -> Tensor:
        """Move x_t to x_u = α_u x̂_0 + σ_u ε̂, the state of the same x̂_0 and ε̂: φ where u > t, ψ where u < t.

        This is DDIM's deterministic step, and an Euler step of a flow's ODE.

        Args:
            x_t: states, any shape.
            eps: predicted noise at t, the shape of ``x_t``.
            t: 0 … T − 1; α_t must be above 0.
            u: 0 … T − 1.

        >>> GaussianPath([1.0, 0.5], [0.0, 0.5]).step(torch.tensor([1.0]), torch.tensor([0.0]), 0, 1).tolist()
        [0.5]
        """
        return self.add_noise(self.denoise(x_t, eps, t), eps, u)

    def round_trip_coefficient(self, t: int, u: int) -> float:
        """c_t = σ_t − α_t σ_u / α_u, with ψ(φ(x̃_t)) − x̃_t = c_t · (ε̂_u − ε̂_t); ≤ 0 for u ≥ t.

        Follows from writing φ, then ψ with ε̂_u, in terms of x̃_t: the states cancel and only the predictions stay.

        Args:
            t: timestep of the state.
            u: timestep that φ leads to; α_u must be above 0.

        >>> GaussianPath([1.0, 0.5], [0.0, 0.5]).round_trip_coefficient(0, 1)
        -1.0
        """
        return self.sigmas[t] - self.alphas[t] * self.sigmas[u] / self.alphas[u]

    def model_input(self, x_t: Tensor, t: int) -> Tensor:
        """What the network gets in place of states x_t: with EDM's preconditioning x_t / √(σ² + σ_data²), else x_t."""
        return x_t / math.hypot(self.sigmas[t], self.sigma_data) if self.prediction == "edm" else x_t

    def model_time(self, t: int) -> float:
        """What the network gets as its time at timestep t; a whole number where its time is the timestep."""
        return t if self.times is None else self.times[t]

    def noise(self, output: Tensor, x_t: Tensor, t: int) -> Tensor:
        """ε̂ of a network's output.

        From x_0: (x_t − α x̂_0) / σ. From v: α v + σ x_t. From the velocity: x_t + α v.

        Args:
            output: of the network, [B, …].
            x_t: the states that it was predicted from, [B, …].
            t: 0 … T − 1.

        >>> x_0, eps = torch.tensor([2.0]), torch.tensor([1.0])
        >>> path = GaussianPath.from_alphas_cumprod([0.36], "v_prediction")
        >>> round(path.noise(0.6 * eps - 0.8 * x_0, path.add_noise(x_0, eps, 0), 0).item(), 6)
        1.0
        """
        alpha, sigma = self.alphas[t], self.sigmas[t]
        match self.prediction:
            case "epsilon":
                return output
            case "v_prediction":
                return alpha * output + sigma * x_t
            case "velocity":
                return x_t + alpha * output
        return (x_t - alpha * self.image(output, x_t, t)) / sigma

    def image(self, output: Tensor, x_t: Tensor, t: int) -> Tensor:
        """x̂_0 of a network's output, where α_t may be 0 unless the output is ε.

        From ε: (x_t − σ ε̂) / α. From v: α x_t − σ v. From the velocity: x_t − σ v. From EDM's F: c_skip x_t + c_out F
        with c_skip = σ_data² / (σ² + σ_data²), c_out = σ σ_data / √(σ² + σ_data²).

        Args:
            output: of the network, [B, …].
            x_t: the states that it was predicted from, [B, …].
            t: 0 … T − 1; at most `Timesteps.last_image`.

        >>> GaussianPath([0.0], [1.0], "v_prediction").image(torch.tensor([-2.0]), torch.tensor([1.0]), 0).item()
        2.0
        """
        alpha, sigma = self.alphas[t], self.sigmas[t]
        match self.prediction:
            case "epsilon":
                return self.denoise(x_t, output, t)
            case "v_prediction":
                return alpha * x_t - sigma * output
            case "velocity":
                return x_t - sigma * output
            case "edm":
                scale = math.hypot(sigma, self.sigma_data)
                return (self.sigma_data / scale) ** 2 * x_t + sigma * self.sigma_data / scale * output
        return output

    def initial(self, noise: Tensor) -> Tensor:
        """The state at T − 1 that sampling starts from: standard normal noise, times σ where the variance explodes."""
        return max(1.0, self.sigmas[-1]) * noise


def ddpm_noise_to_signal() -> list[float]:
    """σ_t/α_t of the paper's schedule, β linear from 1e-4 to 0.02: the axis on which paths are compared.

    >>> [round(ratio, 3) for ratio in ddpm_noise_to_signal()[::333]]
    [0.01, 1.462, 9.489, 157.407]
    """
    alphas_cumprod = alphas_cumprod_from_betas(torch.linspace(1e-4, 0.02, PAPER_STEPS, dtype=torch.float64)).tolist()
    return [math.sqrt((1.0 - alpha_bar) / alpha_bar) for alpha_bar in alphas_cumprod]
