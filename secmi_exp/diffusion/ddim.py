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


def ddim_step(x: Tensor, eps: Tensor, alpha_bar_from: float, alpha_bar_to: float) -> Tensor:
    """Move x_t to x_s along the noise ε: φ where s > t, ψ where s < t.

    x_s = √ᾱ_s · (x_t − √(1−ᾱ_t) ε) / √ᾱ_t + √(1−ᾱ_s) ε

    Args:
        x: states at t, any shape.
        eps: predicted noise at t, the shape of ``x``.
        alpha_bar_from: ᾱ_t, in (0, 1].
        alpha_bar_to: ᾱ_s, in (0, 1].

    >>> ddim_step(torch.tensor([1.0]), torch.tensor([0.0]), alpha_bar_from=1.0, alpha_bar_to=0.25).tolist()
    [0.5]
    """
    x_0 = (x - math.sqrt(1.0 - alpha_bar_from) * eps) / math.sqrt(alpha_bar_from)
    return math.sqrt(alpha_bar_to) * x_0 + math.sqrt(1.0 - alpha_bar_to) * eps


def round_trip_coefficient(alpha_bar_t: float, alpha_bar_up: float) -> float:
    """c_t with ψ(φ(x̃_t)) − x̃_t = c_t · (ε_{t+k} − ε_t).

    c_t = √(1−ᾱ_t) − √(ᾱ_t (1−ᾱ_{t+k}) / ᾱ_{t+k}), which is ≤ 0. Follows from writing φ, then ψ with ε_{t+k}, in
    terms of x̃_t: the states cancel and only the two predictions stay.

    Args:
        alpha_bar_t: ᾱ_t.
        alpha_bar_up: ᾱ_{t+k}.

    >>> round_trip_coefficient(0.5, 0.5)
    0.0
    """
    return math.sqrt(1.0 - alpha_bar_t) - math.sqrt(alpha_bar_t * (1.0 - alpha_bar_up) / alpha_bar_up)
