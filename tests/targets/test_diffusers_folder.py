"""`target=diffusers`: any unconditional pixel-space model in diffusers' layout, and one sentence for every other."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, PNDMScheduler, SchedulerMixin
from safetensors.torch import load_file
from torch import Tensor, nn

from secmi_exp.diffusion.path import GaussianPath
from secmi_exp.testing import prepare
from tests.support.diffusers_folders import (
    BIN,
    SAFETENSORS,
    change_json,
    change_weights,
    network,
    pipeline,
    refusal,
    target,
)
from tests.support.hostile_files import Opens, is_empty


class Predicts(nn.Module):
    """A network that tells the ε of another one in other terms."""

    dtype = torch.float32

    def __init__(self, predictor: Any, tell: Callable[[Tensor, Tensor, float, float], Tensor], path: GaussianPath):
        super().__init__()
        self.predictor, self.tell, self.path, self.config = predictor, tell, path, predictor.config

    def forward(self, x: Tensor, times: Tensor) -> "Predicts":
        (t,) = times.unique().tolist()
        self.sample = self.tell(self.predictor(x, t).sample, x, self.path.alphas[t], self.path.sigmas[t])
        return self


@pytest.mark.parametrize(
    ("prediction", "tell"),
    [
        ("v_prediction", lambda eps, x, alpha, sigma: (eps - sigma * x) / alpha),
        ("sample", lambda eps, x, alpha, sigma: (x - sigma * eps) / alpha),
    ],
)
@torch.no_grad()
def test_v_and_x_0_give_the_noise_of_the_same_model(
    tmp_path: Path, prediction: str, tell: Callable[[Tensor, Tensor, float, float], Tensor]
) -> None:
    eps = prepare(target(pipeline(tmp_path / "eps")), tmp_path / "store", 3, 8, 8).load()
    folder = pipeline(tmp_path / "other", scheduler=DDPMScheduler(400, prediction_type=prediction))
    other = prepare(target(folder), tmp_path / "store", 3, 8, 8).load()
    other.unet = Predicts(other.unet, tell, eps.path)
    x = torch.randn(2, 3, 8, 8)
    for t in (10, 100, 399):
        torch.testing.assert_close(other.predict_noise(x, t), eps.predict_noise(x, t), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("scheduler", "channels", "size"),
    [(DDPMScheduler(300), 1, 8), (DDIMScheduler(300), 3, (8, 16)), (PNDMScheduler(300), 3, None)],
)
@torch.no_grad()
def test_a_pipeline_is_attacked_with_its_own_network_and_schedule(
    tmp_path: Path, scheduler: SchedulerMixin, channels: int, size: int | tuple[int, int] | None
) -> None:
    unet = network(channels, size)
    folder = target(pipeline(tmp_path / "theirs", unet, scheduler))
    height, width = size if isinstance(size, tuple) else (8, 8)
    prepared = prepare(folder, tmp_path / "store", channels, height, width)
    predictor = prepared.load()
    x = torch.randn(2, channels, height, width)
    assert torch.equal(predictor.predict_noise(x, 7), unet(x, 7).sample)
    assert folder.timesteps.count == 300
    torch.testing.assert_close(torch.tensor(predictor.path.alphas).float() ** 2, scheduler.alphas_cumprod)
    assert (prepared.folder, prepared.trained_on, prepared.samples) == (tmp_path / "theirs", None, None)
    assert is_empty(tmp_path / "store")


@torch.no_grad()
def test_a_network_alone_takes_the_schedule_of_the_configuration(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    unet = network()
    unet.save_pretrained(tmp_path / "alone")
    alone = target(tmp_path / "alone")
    predictor = prepare(alone, tmp_path / "store", 3, 8, 8).load()
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(predictor.predict_noise(x, 7), unet(x, 7).sample)
    assert alone.timesteps.count == len(predictor.path) == 1000
    assert caplog.text.count("has no scheduler") == 1


@torch.no_grad()
def test_a_pipeline_may_lie_flat(tmp_path: Path) -> None:
    network().save_pretrained(tmp_path)
    DDPMScheduler(300, prediction_type="v_prediction").save_pretrained(tmp_path)
    (tmp_path / "model_index.json").write_text(
        json.dumps({"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"], "scheduler": ["x", "Y"]})
    )
    predictor = prepare(target(tmp_path), tmp_path / "store", 3, 8, 8).load()
    assert len(predictor.path) == 300


@torch.no_grad()
def test_a_variance_that_is_predicted_too_is_left_out(tmp_path: Path) -> None:
    unet = network(out_channels=6)
    predictor = prepare(target(pipeline(tmp_path / "theirs", unet)), tmp_path / "store", 3, 8, 8).load()
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(predictor.predict_noise(x, 7), unet(x, 7).sample[:, :3])


def test_pixels_come_in_the_range_that_is_configured(tmp_path: Path) -> None:
    folder = pipeline(tmp_path / "theirs")
    digests = []
    for input_range in ((-1.0, 1.0), (0.0, 1.0)):
        prepared = prepare(target(folder, input_range), tmp_path / "store", 3, 8, 8)
        pixels = prepared.load().encode(torch.tensor([0, 255], dtype=torch.uint8))
        assert pixels.tolist() == pytest.approx(list(input_range))
        digests.append(prepared.digest)
    assert digests[0] != digests[1]


def test_the_digest_follows_what_is_read(tmp_path: Path) -> None:
    def digest() -> str:
        return prepare(target(tmp_path / "theirs"), tmp_path / "store", 3, 8, 8).digest

    folder = pipeline(tmp_path / "theirs")
    first = digest()
    (folder / "README.md").write_text("nothing that is read")
    assert digest() == first
    DDPMScheduler(300).save_pretrained(folder / "scheduler")
    second = digest()
    change_weights(folder, lambda weights: weights["conv_in.bias"].add_(1))
    assert len({first, second, digest()}) == 3


def test_where_a_network_was_loaded_from_is_no_part_of_the_key(tmp_path: Path) -> None:
    folder = pipeline(tmp_path / "theirs")
    before = prepare(target(folder), tmp_path / "store", 3, 8, 8).digest
    for origin in ("/somebody/else/store/work", "google/ddpm"):
        change_json(folder / "unet/config.json", _name_or_path=origin)
        assert prepare(target(folder), tmp_path / "store", 3, 8, 8).digest == before


@torch.no_grad()
def test_pickled_weights_and_old_names_of_attention_are_read(tmp_path: Path) -> None:
    folder, unet = pipeline(tmp_path / "theirs"), network()
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(folder / "unet" / SAFETENSORS)
    for new_name, old_name in old.items():
        weights = {name.replace(new_name, old_name): tensor for name, tensor in weights.items()}
    (folder / "unet" / SAFETENSORS).unlink()
    torch.save(weights, folder / "unet" / BIN)
    x = torch.randn(2, 3, 8, 8)
    predictor = prepare(target(folder), tmp_path / "store", 3, 8, 8).load()
    assert torch.equal(predictor.predict_noise(x, 7), unet(x, 7).sample)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: change_weights(folder, lambda weights: weights.pop("conv_in.bias")),
            f"{SAFETENSORS} contradict the config.json beside them: conv_in.bias is missing; put",
        ),
        (
            lambda folder: change_weights(folder, lambda weights: weights.update(more=torch.ones(1))),
            "contradict the config.json beside them: more is unexpected; put",
        ),
        (
            lambda folder: change_weights(folder, lambda weights: weights.update({"conv_in.bias": torch.ones(7)})),
            "contradict the config.json beside them: conv_in.bias has the shapes [7] and [8]; put",
        ),
        (lambda folder: os.truncate(folder / "unet" / SAFETENSORS, 5000), f"{SAFETENSORS} can't be read ("),
        (
            lambda folder: (folder / "unet" / SAFETENSORS).unlink(),
            "unet holds no diffusion_pytorch_model.safetensors or",
        ),
        (lambda folder: (folder / "unet/config.json").write_text("{"), "unet/config.json can't be read ("),
        (lambda folder: (folder / "unet/config.json").write_text("[]"), "unet/config.json holds a list where settings"),
        (lambda folder: (folder / "unet/config.json").unlink(), "holds neither unet/config.json nor config.json: set"),
        (
            lambda folder: change_json(folder / "unet/config.json", norm_num_groups=3),
            "diffusers refuses the network in",
        ),
        (
            lambda folder: change_json(folder / "unet/config.json", out_channels=4),
            "in_channels=3 and out_channels=4, the",
        ),
        (
            lambda folder: change_json(folder / "unet/config.json", class_embed_type="timestep"),
            "has class_embed_type=timestep: only class labels",
        ),
        (
            lambda folder: change_json(folder / "unet/config.json", _class_name="UNet2DConditionModel"),
            "is a UNet2DConditionModel: it must be one of UNet2DModel, DiTTransformer2DModel",
        ),
        (
            lambda folder: change_json(folder / "model_index.json", _class_name="LDM", vqvae=["diffusers", "VQModel"]),
            "also has a vqvae (VQModel): only an unconditional pipeline in pixel space",
        ),
        (
            lambda folder: change_json(folder / "scheduler/scheduler_config.json", _class_name="IPNDMScheduler"),
            "The scheduler IPNDMScheduler has neither ᾱ",
        ),
    ],
)
def test_what_cannot_be_attacked_is_refused(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(pipeline(tmp_path / "theirs"))
    assert message in refusal(tmp_path / "theirs", tmp_path / "store", 3, 8, 8)


def test_a_pickle_that_would_execute_code_is_refused(tmp_path: Path) -> None:
    folder = pipeline(tmp_path / "theirs")
    (folder / "unet" / SAFETENSORS).unlink()
    torch.save({"conv_in.bias": Opens(tmp_path / "opened")}, folder / "unet" / BIN)
    sentence = refusal(folder, tmp_path / "store", 3, 8, 8)
    assert f"{BIN} is refused, because it is no pickle of weights alone" in sentence
    assert "mkdir" in sentence
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize(
    ("size", "shape", "message"),
    [
        (
            8,
            (1, 8, 8),
            "takes images of 3 channels and 8×8 pixels, and the dataset's images have 1 channels and 8×8 pixels",
        ),
        (8, (3, 16, 16), "3 channels and 8×8 pixels, and the dataset's images have 3 channels and 16×16 pixels: set"),
        (
            (8, 16),
            (3, 8, 8),
            "3 channels and 8×16 pixels, and the dataset's images have 3 channels and 8×8 pixels: set",
        ),
        (None, (3, 9, 8), "halves its images 1 times, and the dataset's images have 3 channels and 9×8 pixels: set"),
    ],
)
def test_images_of_another_shape_are_refused_with_both(
    tmp_path: Path, size: int | tuple[int, int] | None, shape: tuple[int, ...], message: str
) -> None:
    folder = pipeline(tmp_path / "theirs", network(3, size))
    assert message in refusal(folder, tmp_path / "store", *shape)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "/nowhere/at/all",
            "There is no folder /nowhere/at/all: set target.path to a model's folder or a repository",
        ),
        ("./nowhere", "There is no folder ./nowhere: set"),
        ("somebody/model", "There is no folder somebody/model here, and a repository of this name can't be fetched"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    assert message in refusal(path, tmp_path / "store", 3, 8, 8)


def test_a_repository_that_was_fetched_before_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    repository, revision = tmp_path / "cache" / "models--somebody--model", "0" * 40
    pipeline(repository / "snapshots" / revision)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    prepared = prepare(target("somebody/model"), tmp_path / "store", 3, 8, 8)
    assert prepared.folder == repository / "snapshots" / revision
