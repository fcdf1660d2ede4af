"""Training text-to-image targets: a pipeline's U-Net, whole or by an adapter, and a small latent model from scratch."""

import dataclasses
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, DiffusionPipeline, StableDiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor

from secmi_exp.data.images import Images
from secmi_exp.engine.batches import Piece
from secmi_exp.engine.launch import end_rank_group
from secmi_exp.engine.optimization import Draws
from secmi_exp.errors import UserError
from secmi_exp.run_warnings import collect_warnings
from secmi_exp.store import Store
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.targets.text_to_image.fine_tuning import TrainedTextToImage
from secmi_exp.targets.text_to_image.prompts import own_captions
from secmi_exp.targets.text_to_image.unet_training import TextToImageTraining
from secmi_exp.testing import configured, cpu_runtime, no_logger
from tests.support.hostile_files import naming
from tests.support.tiny_pipelines import SIDE, edited, save_stable_diffusion, save_stable_diffusion_xl

pytestmark = pytest.mark.usefixtures("sampled_quickly")
CAPTIONS = ["a seven", "a zero", None, "a one"] * 3
PIXELS = np.random.default_rng(0).integers(0, 256, (len(CAPTIONS), 3, SIDE, SIDE), dtype=np.uint8)
MEMBERS = dataclasses.replace(Images.from_pixels(PIXELS), captions=CAPTIONS)
SHORT = [
    "target.training.max_steps=4", "target.training.batch_size=6", "target.training.samples=0",
    "target.training.checkpoint_every=2", "target.training.optimizer._target_=torch.optim.SGD",
    "~target.training.optimizer.weight_decay", "target.training.optimizer.lr=0.05",
]  # fmt: skip
SMALL = [
    "dataset=captioned", f"dataset.image_size={SIDE}", "target=latent_ddpm", "target.training.max_steps=3",
    "target.autoencoder_training.max_steps=3", "target.autoencoder.block_out_channels=[8,8]",
    "target.network.block_out_channels=[8,16]", "target.training.samples=5",
]  # fmt: skip


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pipelines")
    return {
        "sd": save_stable_diffusion(root / "sd"),
        "v": save_stable_diffusion(root / "v", prediction_type="v_prediction"),
        "sample": save_stable_diffusion(root / "sample", prediction_type="sample"),
        "xl": save_stable_diffusion_xl(root / "xl"),
    }


def recipe(*overrides: str) -> TrainedTextToImage:
    made: TrainedTextToImage = configured("target", *overrides)
    return made


def trained(target: TrainedTextToImage, store: Path, members: Images = MEMBERS, **machine: Any) -> PreparedTarget:
    return target.prepare(members, Store(store), cpu_runtime(**machine), no_logger)


def unet(target: PreparedTarget) -> dict[str, Tensor]:
    return dict(load_file(target.folder / "unet/diffusion_pytorch_model.safetensors"))


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max((one[name] - other[name]).abs().max().item() for name in one)


@pytest.mark.parametrize("kind", ["sd", *(pytest.param(each, marks=pytest.mark.slow) for each in ("v", "xl"))])
def test_a_finetuned_pipeline_is_a_pipeline_with_another_unet(
    pipelines: dict[str, Path], tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    target = trained(recipe("target=finetuned", f"target.path={pipelines[kind]}", *SHORT), tmp_path)
    pipeline, base = (DiffusionPipeline.from_pretrained(path) for path in (target.folder, pipelines[kind]))
    assert type(pipeline) is type(base)
    assert distance(pipeline.unet.state_dict(), base.unet.state_dict()) > 1e-4
    for part in ("vae", "text_encoder"):
        assert distance(getattr(pipeline, part).state_dict(), getattr(base, part).state_dict()) == 0
    assert pipeline.scheduler.config.prediction_type == base.scheduler.config.prediction_type
    assert target.trained_on == MEMBERS.digest
    assert naming(target.folder, pipelines[kind].parent) == naming(target.folder, tmp_path) == []
    assert "3 of the 12 members that the target is trained on have no caption" in caplog.text


def test_an_adapter_is_trained_in_place_of_all_weights(pipelines: dict[str, Path], tmp_path: Path) -> None:
    adapter = ["target=finetuned_lora", f"target.path={pipelines['sd']}", "target.training.lora.rank=2"]
    target = trained(recipe(*adapter, *SHORT), tmp_path)
    ours, base = unet(target), dict(load_file(pipelines["sd"] / "unet/diffusion_pytorch_model.safetensors"))
    assert ours.keys() == base.keys()
    moved = {name for name in ours if not torch.equal(ours[name], base[name])}
    assert moved
    assert all(".to_" in name for name in moved)
    pipeline = StableDiffusionPipeline.from_pretrained(pipelines["sd"])
    pipeline.load_lora_weights(target.folder / "lora")
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    assert distance(dict(pipeline.unet.state_dict()), ours) < 1e-6
    assert naming(target.folder, pipelines["sd"].parent) == naming(target.folder, tmp_path) == []


def test_a_variant_is_trained_further_and_kept_by_the_default_names(pipelines: dict[str, Path], tmp_path: Path) -> None:
    rounded = shutil.copytree(pipelines["sd"], tmp_path / "rounded")
    for part in ("unet", "vae"):
        (rounded / part / "diffusion_pytorch_model.safetensors").rename(
            rounded / part / "diffusion_pytorch_model.fp16.safetensors"
        )
    edited(rounded / "vae/config.json", _name_or_path=str(tmp_path))
    with collect_warnings() as warnings:
        target = trained(recipe("target=finetuned", f"target.path={rounded}", *SHORT), tmp_path / "store")
    assert [warning.code for warning in warnings] == ["weights_variant", "captions_missing_in_training"]
    assert naming(target.folder, tmp_path) == []
    StableDiffusionPipeline.from_pretrained(target.folder)


def test_layers_that_are_not_there_cannot_be_adapted(pipelines: dict[str, Path], tmp_path: Path) -> None:
    adapter = ["target=finetuned_lora", f"target.path={pipelines['sd']}", "target.training.lora.modules=[nowhere]"]
    with pytest.raises(UserError, match=r"peft refuses target\.training\.lora \(Target modules"):
        trained(recipe(*adapter, *SHORT), tmp_path)


class Recorded(torch.nn.Module):
    """Stands in for the U-Net, and tells what it was given."""

    dtype = torch.float32

    def forward(self, x_t: Tensor, t: Tensor, **condition: Any) -> Any:
        self.given = (x_t, t, condition["encoder_hidden_states"])
        return type("Output", (), {"sample": torch.zeros_like(x_t)})


@pytest.mark.parametrize("kind", ["sd", "v", "sample"])
@pytest.mark.parametrize("dropout", [pytest.param(0.0, marks=pytest.mark.slow), 1.0])
def test_the_loss_is_that_of_what_the_scheduler_predicts(
    pipelines: dict[str, Path], tmp_path: Path, kind: str, dropout: float
) -> None:
    target = recipe("target=finetuned", f"target.path={pipelines[kind]}", f"target.training.caption_dropout={dropout}")
    base = target.base(MEMBERS, Store(tmp_path), cpu_runtime(), no_logger)
    module = TextToImageTraining(target.training, target.seed, base, ("text", "negative_text"), fused=False)
    module.network = Recorded()
    torch.manual_seed(0)
    mean, std, text, empty = torch.randn(4, 4, 8, 8), torch.rand(4, 4, 8, 8), torch.ones(4, 2, 8), torch.zeros(4, 2, 8)
    draws = Draws(Piece(2, 6, 8), torch.device("cpu"), seed=3, step=5)
    draws.begin()
    loss = module.loss([mean, std, text, empty], draws)
    x_t, t, given = module.network.given
    assert torch.equal(given, empty if dropout else text)
    draws.begin()
    noise = torch.randn(8, 4, 8, 8)[2:6]
    torch.rand(8)
    assert torch.equal(t, torch.randint(1000, (8,))[2:6])
    eps, x_0 = torch.randn(8, 4, 8, 8)[2:6], (mean + std * noise) * 0.7
    alpha_bar = DDPMScheduler.from_pretrained(base.path / "scheduler").alphas_cumprod[t][:, None, None, None]
    torch.testing.assert_close(x_t, alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps)
    v = alpha_bar.sqrt() * eps - (1 - alpha_bar).sqrt() * x_0
    torch.testing.assert_close(loss, {"sd": eps, "v": v, "sample": x_0}[kind].square().mean())


def test_a_network_with_dropout_has_another_key_than_before_it_was_seeded_apart(tmp_path: Path) -> None:
    keys = []
    for dropout in (0.0, 0.1):
        base = save_stable_diffusion(tmp_path / str(dropout))
        edited(base / "unet/config.json", dropout=dropout)
        target = recipe("target=finetuned", f"target.path={base}")
        store, runtime = Store(tmp_path), cpu_runtime()
        keys.append(
            target.key(target.base(MEMBERS, store, runtime, no_logger), own_captions(MEMBERS), MEMBERS, store, runtime)
        )
    assert ["drawing_within" in key.config for key in keys] == [False, True]


def test_parts_of_a_batch_take_the_steps_of_the_whole(pipelines: dict[str, Path], tmp_path: Path) -> None:
    target = recipe("target=finetuned", f"target.path={pipelines['sd']}", *SHORT, "target.training.caption_dropout=0.5")
    whole = trained(target, tmp_path / "whole")
    parts = trained(target, tmp_path / "parts", device_batch_size=2)
    assert distance(unet(whole), unet(parts)) < 1e-5


def test_a_killed_training_continues_to_the_undisturbed_weights(
    pipelines: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    target = recipe("target=finetuned", f"target.path={pipelines['sd']}", *SHORT, "target.training.ema_decay=0.5")
    undisturbed = trained(target, tmp_path / "whole")
    loss, step = TextToImageTraining.loss, []

    def killed(self: TextToImageTraining, *arguments: Any) -> Tensor:
        step.append(self.global_step)
        if self.global_step == 3:
            raise KeyboardInterrupt
        return loss(self, *arguments)

    monkeypatch.setattr(TextToImageTraining, "loss", killed)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trained(target, tmp_path / "killed")
    monkeypatch.setattr(TextToImageTraining, "loss", loss)
    continued = trained(target, tmp_path / "killed")
    assert "Continuing target from step=000000002" in caplog.text
    assert distance(unet(undisturbed), unet(continued)) == 0


def test_how_a_target_is_queried_does_not_train_it_anew(pipelines: dict[str, Path], tmp_path: Path) -> None:
    start = ["target=finetuned", f"target.path={pipelines['sd']}", *SHORT, "target.training.max_steps=1"]
    first = trained(recipe(*start), tmp_path)
    others = (["target.prompt=none"], ["target.guidance=3"], ["target.latents=mode"], ["target.training.samples=1"])
    assert {trained(recipe(*start, *other), tmp_path).folder for other in others} == {first.folder}
    assert trained(recipe(*start, "target.training.caption_dropout=0.1"), tmp_path).folder != first.folder
    other_captions = dataclasses.replace(MEMBERS, captions=CAPTIONS[::-1])
    assert trained(recipe(*start), tmp_path, other_captions).folder != first.folder


@pytest.mark.slow
def test_a_latent_model_from_scratch_is_a_pipeline_that_makes_images_of_captions(tmp_path: Path) -> None:
    target = trained(recipe(*SMALL), tmp_path)
    pipeline = StableDiffusionPipeline.from_pretrained(target.folder)
    assert pipeline.unet.config.cross_attention_dim == pipeline.text_encoder.config.hidden_size
    assert pipeline.tokenizer("a")["input_ids"] == [512, ord("a") + 256, 513]
    assert target.samples
    assert target.samples.is_file()
    latents = target.inputs(MEMBERS, Store(tmp_path), cpu_runtime()).arrays().x_0
    assert latents.shape == (len(MEMBERS), 4, SIDE // 2, SIDE // 2)
    means = latents.mean[:] * pipeline.vae.config.scaling_factor  # type: ignore[attr-defined]
    assert np.std(means) == pytest.approx(1, rel=1e-3)
    assert len([*tmp_path.glob("base_pipeline/*")]) == 1
    assert naming(tmp_path, tmp_path) == []
    other = trained(recipe(*SMALL, "target.training.max_steps=2", "target.training.samples=0"), tmp_path)
    assert other.samples is None
    assert len([*tmp_path.glob("base_pipeline/*")]) == 1  # which the longer training shares


def test_settings_that_the_libraries_refuse_are_told(tmp_path: Path) -> None:
    for override, message in (
        ("target.network.norm_num_groups=3", r"diffusers refuses target\.network: "),
        ("target.autoencoder.norm_num_groups=3", r"diffusers refuses target\.autoencoder: "),
        ("target.text_encoder.num_attention_heads=5", r"transformers refuses target\.text_encoder: "),
        ("target.training.optimizer.lr=-1", r"torch refuses target\.training\.optimizer: "),
        (
            "target.autoencoder.block_out_channels=[8,8,8,8,8,8]",
            r"32×32 pixels, .* have 16×16: set dataset\.image_size",
        ),
    ):
        with pytest.raises(UserError, match=message):
            trained(recipe(*SMALL, override), tmp_path)


def test_a_width_that_no_latents_fill_is_told(tmp_path: Path) -> None:
    members = dataclasses.replace(Images.from_pixels(PIXELS[..., :-1]), captions=CAPTIONS)
    with pytest.raises(UserError, match=r"2×2 pixels, and the images have 16×15: set dataset\.image_size"):
        trained(recipe(*SMALL), tmp_path, members)


def test_members_without_captions_cannot_be_trained_on(pipelines: dict[str, Path], tmp_path: Path) -> None:
    target = recipe("target=finetuned", f"target.path={pipelines['sd']}", *SHORT)
    with pytest.raises(UserError, match="None of the images has a caption"):
        trained(target, tmp_path, Images.from_pixels(PIXELS))


@pytest.fixture
def _two_ranks() -> Any:
    yield
    end_rank_group()


@pytest.mark.slow
@pytest.mark.usefixtures("_two_ranks")
def test_two_processes_encode_and_train_as_one(pipelines: dict[str, Path], tmp_path: Path) -> None:
    target = recipe("target=finetuned", f"target.path={pipelines['sd']}", *SHORT)
    one, two = trained(target, tmp_path / "one"), trained(target, tmp_path / "two", devices=2)
    assert distance(unet(one), unet(two)) < 1e-5
    for name in ("posteriors/*/mean.npy", "embeddings/*/text.npy"):
        first, second = (np.load(next((tmp_path / folder).glob(name))) for folder in ("one", "two"))
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)
