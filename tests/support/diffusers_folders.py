"""Small models in diffusers' layout, as targets, and what may be wrong with them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, SchedulerMixin, UNet2DModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from secmi_exp.attacks.signals.trajectories import compute_trajectories
from secmi_exp.errors import UserError
from secmi_exp.store import Store
from secmi_exp.targets.loading.training_folder import WeightsChoice
from secmi_exp.targets.noise_schedule import NoiseSchedule
from secmi_exp.targets.pixel.diffusers_folder import DiffusersFolder
from secmi_exp.testing import cpu_runtime, prepare, random_images
from tests.support.hostile_files import is_empty


def zero_snr(folder: Path, prediction: str, channels: int = 3, **settings: Any) -> Path:
    """A pipeline with random weights and a zero terminal SNR."""
    scheduler = DDIMScheduler(
        1000, prediction_type=prediction, rescale_betas_zero_snr=True, clip_sample=False, set_alpha_to_one=True,
        timestep_spacing="trailing", **settings,
    )  # fmt: skip
    return pipeline(folder, network(channels), scheduler)


SAFETENSORS, BIN = "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"

PAPER = NoiseSchedule(num_train_timesteps=1000, beta_schedule="linear", beta_start=1e-4, beta_end=0.02)


def network(channels: int = 3, size: int | tuple[int, int] | None = 8, **settings: object) -> UNet2DModel:
    torch.manual_seed(0)
    return UNet2DModel(
        **{
            "sample_size": size,
            "in_channels": channels,
            "out_channels": channels,
            "block_out_channels": (8, 16),
            "layers_per_block": 1,
            "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
            "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
            "norm_num_groups": 4,
            **settings,
        }
    ).eval()


def pipeline(folder: Path, unet: UNet2DModel | None = None, scheduler: SchedulerMixin | None = None) -> Path:
    DDPMPipeline(unet=unet or network(), scheduler=scheduler or DDPMScheduler(400)).save_pretrained(folder)
    return folder


def target(
    path: Path | str,
    input_range: tuple[float, float] = (-1.0, 1.0),
    weights: WeightsChoice = "auto",
    variant: str | None = None,
) -> DiffusersFolder:
    return DiffusersFolder("foreign", str(path), input_range, PAPER, "epsilon", weights, variant)


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(folder / "unet" / SAFETENSORS)
    change(weights)
    save_file(weights, folder / "unet" / SAFETENSORS, metadata={"format": "pt"})


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refusal(folder: Path | str, store: Path, channels: int, height: int, width: int) -> str:
    """The one sentence of a run on this folder, after which the store is as empty as before."""
    shape = channels, height, width

    def attack() -> None:
        prepared, images = prepare(target(folder), store, *shape), random_images(2, shape)
        compute_trajectories(prepared, images, k=10, t_max=20, maps=[20], store=Store(store), runtime=cpu_runtime())

    with pytest.raises(UserError) as refused:
        attack()
    assert is_empty(store)
    message, *more = str(refused.value).splitlines()
    assert not more
    return message
