"""One deterministic DDIM step, the paper's φ and ψ, and the coefficient that turns their round trip into a difference.

Source: Song et al., "Denoising Diffusion Implicit Models" (ICLR 2021), equation 12 with σ = 0; Duan et al., "Are
Diffusion Models Vulnerable to Membership Inference Attacks?" (ICML 2023), equations 9 to 11.
"""

import math

import torch
from torch import Tensor


def alphas_cumprod_from_betas(betas: Tensor) -> Tensor:
    """ᾱ_t = ∏_{s≤t} (1 − β_s) in float64.

    Args:
        betas: the noise schedule, [T].

    >>> alphas_cumprod_from_betas(torch.tensor([0.5, 0.5])).tolist()
    [0.5, 0.25]
    """
    return torch.cumprod(1.0 - betas.double(), dim=0)


def noised(x_0: Tensor, eps: Tensor, alpha_bar: float) -> Tensor:
    """The state x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε.

    Args:
        x_0: images or latents, any shape.
        eps: noise of that shape, or one that broadcasts to it.
        alpha_bar: ᾱ_t, in [0, 1].

    >>> noised(torch.tensor([1.0]), torch.tensor([2.0]), alpha_bar=0.0).tolist()
    [2.0]
    """
    return math.sqrt(alpha_bar) * x_0 + math.sqrt(1.0 - alpha_bar) * eps


def denoised(x: Tensor, eps: Tensor, alpha_bar: float) -> Tensor:
    """x̂_0 = (x_t − √(1−ᾱ_t) ε̂) / √ᾱ_t, the inverse of `noised` for the same noise.

    Args:
        x: states at t, any shape.
        eps: predicted noise at t, the shape of ``x``.
        alpha_bar: ᾱ_t, in (0, 1]: where it is 0, ε̂ leaves x̂_0 open.

    >>> denoised(torch.tensor([1.0]), torch.tensor([0.0]), alpha_bar=0.25).tolist()
    [2.0]
    """
    return (x - math.sqrt(1.0 - alpha_bar) * eps) / math.sqrt(alpha_bar)


def ddim_step(x: Tensor, eps: Tensor, alpha_bar_from: float, alpha_bar_to: float) -> Tensor:
    """Move x_t to x_s = √ᾱ_s x̂_0 + √(1−ᾱ_s) ε̂, the state of the same x̂_0 and ε̂: φ where s > t, ψ where s < t.

    Args:
        x: states at t, any shape.
        eps: predicted noise at t, the shape of ``x``.
        alpha_bar_from: ᾱ_t, in (0, 1]; where it is 0, `noised` makes the step of a predicted x̂_0, and ε̂ is ``x``.
        alpha_bar_to: ᾱ_s, in [0, 1].

    >>> ddim_step(torch.tensor([1.0]), torch.tensor([0.0]), alpha_bar_from=1.0, alpha_bar_to=0.25).tolist()
    [0.5]
    """
    return noised(denoised(x, eps, alpha_bar_from), eps, alpha_bar_to)


def round_trip_coefficient(alpha_bar_t: float, alpha_bar_up: float) -> float:
    """c_t with ψ(φ(x̃_t)) − x̃_t = c_t · (ε_{t+k} − ε_t).

    c_t = √(1−ᾱ_t) − √(ᾱ_t (1−ᾱ_{t+k}) / ᾱ_{t+k}), which is ≤ 0. Follows from writing φ, then ψ with ε_{t+k}, in
    terms of x̃_t: the states cancel and only the two predictions stay.

    Args:
        alpha_bar_t: ᾱ_t, in [0, 1].
        alpha_bar_up: ᾱ_{t+k}, in (0, 1].

    >>> round_trip_coefficient(0.5, 0.5)
    0.0
    """
    return math.sqrt(1.0 - alpha_bar_t) - math.sqrt(alpha_bar_t * (1.0 - alpha_bar_up) / alpha_bar_up)
