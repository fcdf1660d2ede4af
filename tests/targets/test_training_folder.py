"""Folders as the usual training scripts leave them: average and schedule are found, and what was taken is told."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from PIL import Image

from secmi_exp.errors import UserError
from secmi_exp.run_warnings import collect_warnings
from secmi_exp.store import Store
from secmi_exp.targets.loading.training_folder import WeightsChoice
from secmi_exp.targets.pixel.diffusers_folder import DiffusersFolder
from secmi_exp.targets.text_to_image.stable_diffusion import StableDiffusion
from secmi_exp.testing import cpu_runtime, no_logger, prepare
from tests.support.diffusers_folders import network, pipeline, target
from tests.support.runs import run_here
from tests.support.text_to_image import images as captioned_images
from tests.support.text_to_image import prepared as prepared_pipeline
from tests.support.text_to_image import stable_diffusion
from tests.support.tiny_pipelines import edited, save_stable_diffusion, unet


def save_average(model: UNet2DModel, folder: Path, by: float = 0.1) -> None:
    """As diffusers' scripts save it: by EMAModel, whose own settings stand in the description then."""
    average = EMAModel(model.parameters(), model_cls=type(model), model_config=model.config)
    for shadow in average.shadow_params:
        shadow.add_(by * torch.randn_like(shadow))
    average.save_pretrained(folder)


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """The output folder of train_unconditional.py after its end: the pipeline, and a checkpoint with both networks."""
    folder, model = (
        pipeline(tmp_path / "out", scheduler=DDPMScheduler(300, beta_schedule="squaredcos_cap_v2")),
        network(),
    )
    checkpoint = folder / "checkpoint-500"
    model.save_pretrained(checkpoint / "unet")
    save_average(model, checkpoint / "unet_ema")
    for name in ("optimizer.bin", "scheduler.bin", "random_states_0.pkl"):
        (checkpoint / name).write_bytes(b"of accelerate")
    return folder


def told(folder: DiffusersFolder, store: Path) -> tuple[list[str], UNet2DModel, int]:
    """Codes of the warnings, the network that is queried, and T."""
    with collect_warnings() as warnings:
        predictor = prepare(folder, store, 3, 8, 8).load()
    return [warning.code for warning in warnings], predictor.network, len(predictor.path)


def same(one: torch.nn.Module, folder: Path) -> bool:
    other = UNet2DModel.from_pretrained(folder).state_dict()
    return all(torch.equal(value, other[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize(
    ("path", "weights", "codes", "read"),
    [
        ("checkpoint-500", "auto", ["weights_chosen", "schedule_elsewhere"], "unet_ema"),
        ("checkpoint-500", "ema", ["schedule_elsewhere"], "unet_ema"),
        ("checkpoint-500", "net", ["schedule_elsewhere"], "unet"),
        ("checkpoint-500/unet", "auto", ["schedule_elsewhere"], ""),
        ("checkpoint-500/unet_ema", "auto", ["schedule_elsewhere"], ""),
        ("unet", "auto", ["schedule_elsewhere"], ""),
        (".", "auto", [], "unet"),
    ],
)
def test_average_and_schedule_are_found_where_the_scripts_leave_them(
    training: Path, tmp_path: Path, path: str, weights: WeightsChoice, codes: list[str], read: str
) -> None:
    found, queried, timesteps = told(target(training / path, weights=weights), tmp_path / "store")
    assert (found, timesteps) == (codes, 300)
    assert same(queried, training / path / read)


@torch.no_grad()
def test_what_is_predicted_is_that_of_the_average_and_the_schedule_put_together(training: Path, tmp_path: Path) -> None:
    put_together = tmp_path / "together"
    average = UNet2DModel.from_pretrained(training / "checkpoint-500/unet_ema")
    pipeline(put_together, average, DDPMScheduler(300, beta_schedule="squaredcos_cap_v2"))
    ours, theirs = (
        prepare(target(folder), tmp_path / "store", 3, 8, 8).load()
        for folder in (training / "checkpoint-500", put_together)
    )
    x = torch.randn(2, 3, 8, 8)
    assert ours.path == theirs.path
    assert torch.equal(ours.predict_noise(x, 50), theirs.predict_noise(x, 50))


def test_an_average_beside_the_network_of_a_pipeline_is_told_and_not_taken(training: Path, tmp_path: Path) -> None:
    save_average(network(), training / "unet_ema")
    found, queried, _ = told(target(training), tmp_path / "store")
    assert found == ["weights_chosen"]
    assert same(queried, training / "unet")


def test_without_any_schedule_the_configured_one_is_assumed_and_told(training: Path, tmp_path: Path) -> None:
    (training / "scheduler/scheduler_config.json").unlink()
    found, _, timesteps = told(target(training / "checkpoint-500"), tmp_path / "store")
    assert (found, timesteps) == (["weights_chosen", "schedule_assumed"], 1000)


@pytest.mark.parametrize(
    ("damage", "weights", "message"),
    [
        (
            lambda folder: (folder / "unet_ema/config.json").unlink(),
            "ema",
            "has no unet_ema/config.json, which target.w",
        ),
        (
            lambda folder: (folder / "unet/config.json").unlink(),
            "net",
            "has no unet/config.json, which target.weights=net",
        ),
        (
            lambda folder: [(folder / name / "config.json").unlink() for name in ("unet", "unet_ema")],
            "auto",
            "is a state of accelerate's, which describes no network: load it with the training script",
        ),
    ],
)
def test_what_a_checkpoint_lacks_is_said(
    training: Path, tmp_path: Path, damage: Callable[[Path], object], weights: WeightsChoice, message: str
) -> None:
    damage(training / "checkpoint-500")
    with pytest.raises(UserError, match=re.escape(message)):
        told(target(training / "checkpoint-500", weights=weights), tmp_path / "store")


def test_settings_that_diffusers_leaves_out_are_told(training: Path, tmp_path: Path) -> None:
    edited(training / "unet/config.json", gated_attention=True)
    with collect_warnings() as warnings:
        prepare(target(training), tmp_path / "store", 3, 8, 8)
    assert [warning.code for warning in warnings] == ["network_settings_unknown"]
    assert "gated_attention" in warnings[0].sentence


@pytest.fixture
def finetuning(tmp_path: Path) -> Path:
    """The output folder of train_text_to_image.py."""
    folder = save_stable_diffusion(tmp_path / "out")
    torch.manual_seed(1)
    model = unet()
    model.save_pretrained(folder / "checkpoint-20/unet")
    save_average(model, folder / "checkpoint-20/unet_ema")
    return folder


def noise_of(pipeline_target: StableDiffusion, store: Path) -> tuple[list[str], dict[str, torch.Tensor]]:
    with collect_warnings() as warnings:
        made = pipeline_target.prepare(captioned_images(), Store(store), cpu_runtime(), no_logger)
    return [warning.code for warning in warnings], made.load().network.state_dict()


@pytest.mark.parametrize(
    ("weights", "codes", "read"),
    [("auto", ["weights_chosen"], "unet_ema"), ("ema", [], "unet_ema"), ("net", [], "unet")],
)
def test_a_checkpoint_of_text_to_image_training_is_attacked_in_its_pipeline(
    finetuning: Path, tmp_path: Path, weights: WeightsChoice, codes: list[str], read: str
) -> None:
    found, state = noise_of(stable_diffusion(finetuning / "checkpoint-20", weights=weights), tmp_path / "store")
    assert found == codes
    expected = type(unet()).from_pretrained(finetuning / "checkpoint-20" / read).state_dict()
    assert all(torch.equal(state[name], value) for name, value in expected.items())


def test_a_pipeline_and_its_checkpoint_share_what_their_encoders_make(finetuning: Path) -> None:
    whole, checkpoint = (stable_diffusion(path).folder for path in (finetuning, finetuning / "checkpoint-20"))
    assert whole.key("posteriors", "vae") == checkpoint.key("posteriors", "vae")
    assert whole.key("noise", "unet", "scheduler") != checkpoint.key("noise", "unet", "scheduler")


def test_a_checkpoint_without_its_pipeline_is_named(finetuning: Path, tmp_path: Path) -> None:
    (finetuning / "model_index.json").unlink()
    with pytest.raises(
        UserError, match=r"checkpoint-20 holds a U-Net alone, and there is no model_index\.json there or"
    ):
        prepared_pipeline(finetuning / "checkpoint-20", tmp_path / "store")


def test_an_adapter_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-20").mkdir()
    (tmp_path / "checkpoint-20/pytorch_lora_weights.safetensors").touch()
    with pytest.raises(UserError, match=r"holds a low-rank adapter without the network .* target\.lora"):
        prepared_pipeline(tmp_path / "checkpoint-20", tmp_path / "store")


def test_what_was_taken_stands_in_the_results(tmp_path: Path) -> None:
    model = network(1)
    DDPMScheduler(300).save_pretrained(tmp_path / "out/scheduler")
    model.save_pretrained(tmp_path / "out/checkpoint-500/unet", variant="fp16")
    save_average(model, tmp_path / "out/checkpoint-500/unet_ema")
    checkpoint = ["target=diffusers", f"target.path={tmp_path}/out/checkpoint-500", "target.weights=net"]
    for name, pixels in zip(
        ("a", "b"), np.random.default_rng(0).integers(0, 256, (2, 50, 8, 8), np.uint8), strict=True
    ):
        (tmp_path / name).mkdir()
        for number, image in enumerate(pixels):
            Image.fromarray(image).save(tmp_path / name / f"{number}.png")
    folders = [f"dataset.members={tmp_path}/a", f"dataset.holdout={tmp_path}/b", "dataset.image_size=8"]
    given = ["dataset=image_folder", *folders, "dataset.channels=1", "trainer=cpu", "evaluation.bootstrap_rounds=20"]
    folder = run_here(tmp_path, "+attack=stat", "attack.t_sec=20", *checkpoint, base=given)
    codes = [warning["code"] for warning in json.loads((folder / "results.json").read_text())["warnings"]]
    assert {"weights_variant", "schedule_elsewhere"} <= set(codes)
    assert not {"weights_chosen", "schedule_assumed"} & set(codes)


def test_settings_of_the_average_stand_in_its_description(training: Path) -> None:
    """What the other tests rely on: the description of the average is none of the network alone."""
    assert "update_after_step" in json.loads((training / "checkpoint-500/unet_ema/config.json").read_text())
