"""Targets whose schedule ends in mere noise: ᾱ is 0 at the last of their timesteps."""

from pathlib import Path
from typing import Any

from diffusers import DDIMScheduler

from tests.targets.test_diffusers_folder import network, pipeline


def zero_snr(folder: Path, prediction: str, channels: int = 3, **settings: Any) -> Path:
    """A pipeline with random weights and a zero terminal SNR."""
    scheduler = DDIMScheduler(
        1000, prediction_type=prediction, rescale_betas_zero_snr=True, clip_sample=False, set_alpha_to_one=True,
        timestep_spacing="trailing", **settings,
    )  # fmt: skip
    return pipeline(folder, network(channels), scheduler)
