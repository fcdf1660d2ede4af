"""Models in diffusers' layout trained elsewhere: any prediction, scheduler, range and size; and what is refused."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    PNDMScheduler,
    ScoreSdeVeScheduler,
    UNet2DConditionModel,
    UNet2DModel,
)
from torch import Tensor, nn

from secmi_exp.data.images import Images
from secmi_exp.errors import UserError
from secmi_exp.runtime import Runtime
from secmi_exp.store import Store
from secmi_exp.targets.diffusers_folder import DiffusersFolder
from secmi_exp.targets.interface import NoisePredictor, PreparedTarget
from secmi_exp.targets.unconditional import Unconditional

RUNTIME = Runtime(accelerator="cpu", precision="32-true", query_batch_size=8, progress_bar=False)
BARE: dict[str, Any] = {
    "name": "diffusers",
    "input_range": (-1.0, 1.0),
    "prediction_type": "epsilon",
    "schedule": {"num_train_timesteps": 1000, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
}


def network(channels: int = 3, side: int = 8, **settings: Any) -> UNet2DModel:
    torch.manual_seed(0)
    small = {
        "block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1, "add_attention": False,
        "down_block_types": ("DownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "UpBlock2D"),
    }  # fmt: skip
    return UNet2DModel(sample_size=side, in_channels=channels, **({"out_channels": channels} | small | settings))


def images(channels: int = 3, side: int = 8) -> Images:
    return Images.of(np.random.default_rng(0).integers(0, 256, (4, channels, side, side), dtype=np.uint8))


def prepared(path: Path | str, seen: Images | None = None, **settings: Any) -> PreparedTarget:
    target = DiffusersFolder(path=str(path), **(BARE | settings))
    return target.prepare(images() if seen is None else seen, Store(Path("store")), RUNTIME, None)


def loaded(path: Path | str, seen: Images | None = None, **settings: Any) -> NoisePredictor:
    return prepared(path, seen, **settings).load()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 20])
@torch.no_grad()
def test_a_pipelines_own_network_schedule_and_size_are_used(channels: int, side: int) -> None:
    unet = network(channels, side).eval()
    schedule = DDPMScheduler(num_train_timesteps=300, beta_schedule="squaredcos_cap_v2")
    DDPMPipeline(unet=unet, scheduler=schedule).save_pretrained("model")
    predictor = loaded("model", images(channels, side))
    torch.testing.assert_close(torch.tensor(predictor.alphas_cumprod), schedule.alphas_cumprod, rtol=0, atol=1e-6)
    x_0 = predictor.encode(torch.from_numpy(images(channels, side)[:]))
    assert torch.equal(predictor.predict_noise(x_0, 7), unet(x_0, 7).sample)
    assert (predictor.queries, x_0.min().item(), x_0.max().item()) == (4, -1.0, 1.0)


@pytest.mark.parametrize("kind", [DDIMScheduler, PNDMScheduler])
def test_any_scheduler_with_a_beta_schedule_serves(kind: type[Any]) -> None:
    schedule = kind(num_train_timesteps=500, beta_start=1e-4, beta_end=0.01)
    DDIMPipeline(unet=network(), scheduler=schedule).save_pretrained("model")
    assert DiffusersFolder(path="model", **BARE).timesteps == 500
    alphas = torch.tensor(loaded("model").alphas_cumprod)
    torch.testing.assert_close(alphas, schedule.alphas_cumprod, rtol=0, atol=1e-6)


class Oracle(nn.Module):
    """Predicts in its own way the noise of states whose x_0 is known."""

    def __init__(self, kind: str, x_0: Tensor, alphas_cumprod: list[float]):
        super().__init__()
        self.kind, self.x_0, self.alphas_cumprod = kind, x_0, alphas_cumprod

    def forward(self, x_t: Tensor, t: int) -> Any:
        a = self.alphas_cumprod[t]
        eps = (x_t - a**0.5 * self.x_0) / (1 - a) ** 0.5
        prediction = {"epsilon": eps, "sample": self.x_0, "v_prediction": a**0.5 * eps - (1 - a) ** 0.5 * self.x_0}
        return type("Output", (), {"sample": prediction[self.kind]})


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_every_kind_of_prediction_gives_the_same_noise(kind: str) -> None:
    DDPMPipeline(unet=network(), scheduler=DDPMScheduler(prediction_type=kind)).save_pretrained("model")
    predictor = loaded("model")
    assert isinstance(predictor, Unconditional)
    x_0, eps = torch.randn(2, 2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    predictor.unet = Oracle(kind, x_0, predictor.alphas_cumprod)
    for t in (0, 100, 900):
        a = predictor.alphas_cumprod[t]
        torch.testing.assert_close(predictor.predict_noise(a**0.5 * x_0 + (1 - a) ** 0.5 * eps, t), eps)


@torch.no_grad()
def test_a_predicted_variance_is_left_out() -> None:
    unet = network(out_channels=6).eval()
    schedule = DDPMScheduler(variance_type="learned_range")
    DDPMPipeline(unet=unet, scheduler=schedule).save_pretrained("model")
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(loaded("model").predict_noise(x, 5), unet(x, 5).sample[:, :3])


@torch.no_grad()
def test_a_network_alone_takes_schedule_and_prediction_from_the_config(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    network().save_pretrained("alone")
    schedule = BARE["schedule"] | {"num_train_timesteps": 100}
    predictor = loaded("alone", schedule=schedule, prediction_type="sample")
    assert isinstance(predictor, Unconditional)
    assert (len(predictor.alphas_cumprod), predictor.prediction) == (100, "sample")
    assert "assuming target.schedule" in caplog.text
    predictor = loaded("alone", input_range=(0.0, 1.0))
    x_0 = predictor.encode(torch.tensor([0, 255], dtype=torch.uint8))
    assert x_0.tolist() == [0.0, 1.0]


def test_the_oldest_layout_without_folders_is_read() -> None:
    network().save_pretrained("old")
    DDPMScheduler(num_train_timesteps=200).save_pretrained("old")
    Path("old/model_index.json").write_text(
        json.dumps({"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"]})
    )
    assert len(loaded("old").alphas_cumprod) == 200


def test_pickled_weights_without_safetensors_are_read_as_mere_weights() -> None:
    unet = network()
    unet.save_pretrained("alone", safe_serialization=False)
    assert not [*Path("alone").glob("*.safetensors")]
    predictor = loaded("alone")
    assert isinstance(predictor, Unconditional)
    assert torch.equal(predictor.unet.conv_in.weight, unet.conv_in.weight)


def test_the_digest_follows_weights_schedule_and_range() -> None:
    network().save_pretrained("alone")
    digests = {
        prepared("alone").digest,
        prepared("alone", input_range=(0.0, 1.0)).digest,
        prepared("alone", prediction_type="sample").digest,
    }
    network(block_out_channels=(8, 24)).save_pretrained("alone")
    digests.add(prepared("alone").digest)
    assert len(digests) == 4


class Malicious:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("executed",)


def malicious() -> None:
    network().save_pretrained("model", safe_serialization=False)
    torch.save({"conv_in.weight": Malicious()}, "model/diffusion_pytorch_model.bin")


def malicious_old_pickle() -> None:
    malicious()
    Path("model/diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Malicious()))


def truncated() -> None:
    network().save_pretrained("model")
    file = Path("model/diffusion_pytorch_model.safetensors")
    file.write_bytes(file.read_bytes()[:-100])


def other_weights() -> None:
    network().save_pretrained("model")
    network(block_out_channels=(16, 16)).save_config("model")


def further_blocks() -> None:
    network().save_pretrained("model")
    network(layers_per_block=2).save_config("model")


def no_weights() -> None:
    network().save_config("model")


def conditional() -> None:
    UNet2DConditionModel(
        sample_size=8, block_out_channels=(8,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
        norm_num_groups=4, cross_attention_dim=8,
    ).save_pretrained("model")  # fmt: skip


def on_classes() -> None:
    network(num_class_embeds=10).save_pretrained("model")


def latent() -> None:
    Path("model").mkdir()
    content = {"_class_name": "LDMPipeline", "vqvae": ["diffusers", "VQModel"], "unet": ["diffusers", "UNet2DModel"]}
    Path("model/model_index.json").write_text(json.dumps(content))


def no_betas() -> None:
    DDPMPipeline(unet=network(), scheduler=DDPMScheduler()).save_pretrained("model")
    ScoreSdeVeScheduler().save_pretrained("model/scheduler")


def unknown_scheduler() -> None:
    network().save_pretrained("model")
    Path("model/scheduler_config.json").write_text('{"_class_name": "os"}')


def unknown_prediction() -> None:
    network().save_pretrained("model")
    DDPMScheduler(prediction_type="flow").save_pretrained("model")


def broken_json() -> None:
    network().save_pretrained("model")
    Path("model/config.json").write_text("{")


def empty() -> None:
    Path("model").mkdir()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (malicious, "would mean to execute .*mkdir"),
        (malicious_old_pickle, "would mean to execute"),
        (truncated, "model can't be read"),
        (other_weights, r"model can't be read .*\[8, 3, 3, 3\].*\[16, 3, 3, 3\]"),
        (further_blocks, r"model can't be read .*shape"),
        (no_weights, "model can't be read"),
        (conditional, "is a UNet2DConditionModel: an unconditional pixel-space"),
        (on_classes, "conditional on classes"),
        (latent, r"The LDMPipeline in model has a latent space \(vqvae\)"),
        (no_betas, "ScoreSdeVeScheduler has no β schedule"),
        (unknown_scheduler, "The scheduler os is none of diffusers"),
        (unknown_prediction, "predicts 'flow'"),
        (broken_json, "config.json can't be read"),
        (empty, "neither a model_index.json nor a config.json"),
    ],
)
def test_what_cannot_be_attacked_is_told_in_a_sentence(make: Callable[[], None], sentence: str) -> None:
    make()
    with pytest.raises(UserError, match=sentence) as raised:
        loaded("model")
    assert "\n" not in str(raised.value)
    assert not Path("executed").exists()


@pytest.mark.parametrize("seen", [images(side=16), images(channels=1)])
def test_images_of_another_shape_are_refused_with_both(seen: Images) -> None:
    network().save_pretrained("model")
    with pytest.raises(UserError) as raised:
        loaded("model", seen)
    assert "(3, 8, 8)" in str(raised.value)
    assert str(seen.shape) in str(raised.value)


def test_a_path_that_is_no_folder_and_a_hub_that_has_no_answer_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="missing has neither"):
        loaded("/somewhere/that/is/missing")

    def unreachable(name: str, allow_patterns: list[str]) -> str:
        raise OSError("no route to the hub")

    monkeypatch.setattr("secmi_exp.targets.diffusers_folder.snapshot_download", unreachable)
    with pytest.raises(
        UserError, match=r"There is no folder .*someone/model, and the hub gives no someone/model \(no route"
    ):
        loaded("someone/model")


def test_a_hub_id_is_downloaded_without_what_isnt_read(monkeypatch: pytest.MonkeyPatch) -> None:
    DDPMPipeline(unet=network(), scheduler=DDPMScheduler()).save_pretrained("snapshot")
    asked: list[list[str]] = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        return str(Path("snapshot").absolute())

    monkeypatch.setattr("secmi_exp.targets.diffusers_folder.snapshot_download", download)
    assert len(loaded("someone/model").alphas_cumprod) == 1000
    (patterns,) = asked
    assert {Path(pattern).suffix for pattern in patterns} == {".json", ".safetensors", ".bin"}
