"""The target's training: the paper's network, members only, and the averaged weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from secmi_exp.configuration.components import component
from secmi_exp.data.digits import Digits
from secmi_exp.engine.batches import Piece
from secmi_exp.errors import UserError
from secmi_exp.store import Key, Store, write_json
from secmi_exp.targets.interface import PIXEL_PIPELINE_FILES
from secmi_exp.targets.pixel.ddpm import DDPM
from secmi_exp.targets.pixel.training import PixelTraining
from secmi_exp.testing import compose_config, configured, cpu_runtime, prepare, random_images
from tests.support.hostile_files import is_empty
from tests.support.runs import run_here


def test_preset_is_the_papers_network() -> None:
    config = compose_config("target=ddpm", "dataset.image_size=32", "dataset.channels=3")
    module = PixelTraining(component(config, "target"))
    assert sum(p.numel() for p in module.network.parameters()) / 1e6 == pytest.approx(35.7, abs=0.05)
    assert config.target.max_steps == 800_000
    betas = module.objective.scheduler.betas
    assert (len(betas), betas[0].item(), betas[-1].item()) == (1000, pytest.approx(1e-4), pytest.approx(0.02))


def test_training_sees_member_images_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    step = PixelTraining.training_step

    def watched(self: PixelTraining, batch: Any, batch_idx: int) -> torch.Tensor:
        seen.append(batch[0].clone())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(PixelTraining, "training_step", watched)
    run_here(tmp_path, "target.max_steps=8", "target.warmup_steps=2")
    config = compose_config("experiment=smoke")
    digits: Digits = component(config, "dataset")
    image_set = digits.load(Store(tmp_path / "store"), progress_bar=False)
    images, split = image_set.pixels, component(config, "split").split(image_set)
    trained = {image.tobytes() for image in torch.cat(seen).numpy()}
    assert trained == {image.tobytes() for image in images[split.members]}
    assert not trained & {image.tobytes() for image in images[split.holdouts]}


def test_flips_mirror_whole_images_half_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    config = compose_config("target.horizontal_flip=true", "experiment=smoke")
    module = PixelTraining(component(config, "target"))
    clean: list[torch.Tensor] = []
    add_noise = module.objective.scheduler.add_noise

    def record(x_0: torch.Tensor, eps: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        clean.append(x_0)
        return add_noise(x_0, eps, t)

    monkeypatch.setattr(module.objective.scheduler, "add_noise", record)
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False)
    monkeypatch.setattr(module, "_trainer", trainer)
    ramp = np.broadcast_to(np.arange(8, dtype=np.uint8), (400, 1, 8, 8)).copy()
    module.training_step([torch.from_numpy(ramp), Piece(0, 400, 400)], 0)
    flipped = (clean[0][:, 0, 0, 0] > clean[0][:, 0, 0, -1]).float().mean().item()
    assert 0.4 < flipped < 0.6


def ddpm(*overrides: str) -> DDPM:
    target: DDPM = configured("target", "target=ddpm", *overrides)
    return target


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """An entry of a store with a target of 8×8 gray images and 60 timesteps."""

    def build(workspace: Path) -> None:
        unet = UNet2DModel(
            sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8,), layers_per_block=1,
            down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), add_attention=False, norm_num_groups=4,
        )  # fmt: skip
        DDPMPipeline(unet=unet, scheduler=DDPMScheduler(60)).save_pretrained(workspace)
        (workspace / "samples.png").write_bytes(b"a picture")

    key = Key("target", 1, {}, {"members": random_images(2, (1, 8, 8)).digest}, files=PIXEL_PIPELINE_FILES)
    return Store(tmp_path / "elsewhere").get_or_build(key, build).path


@pytest.mark.parametrize("by", ["entry", "run"])
def test_a_target_that_was_trained_before_is_attacked_as_it_is(tmp_path: Path, trained: Path, by: str) -> None:
    path = trained
    if by == "run":
        path = tmp_path / "run"
        path.mkdir()
        write_json(path / "results.json", {"target": "ddpm", "target_folder": str(trained)})
    target = ddpm(f"target.path={path}")
    prepared = prepare(target, tmp_path / "store", 1, 8, 8)
    assert prepared.folder == trained
    assert prepared.trained_on == random_images(2, (1, 8, 8)).digest
    assert prepared.samples == trained / "samples.png"
    assert target.timesteps.count == len(prepared.load().path) == 60
    assert is_empty(tmp_path / "store")


def test_of_a_mere_pipeline_nobody_knows_what_it_was_trained_on(tmp_path: Path, trained: Path) -> None:
    for name in ("entry.json", "samples.png"):
        (trained / name).unlink()
    prepared = prepare(ddpm(f"target.path={trained}"), tmp_path / "store", 1, 8, 8)
    assert (prepared.trained_on, prepared.samples) == (None, None)


def test_what_was_not_trained_before_is_refused(tmp_path: Path, trained: Path) -> None:
    def refused(path: Path, message: str, *shape: int) -> None:
        with pytest.raises(UserError, match=message):
            prepare(ddpm(f"target.path={path}"), tmp_path / "store", *shape)
        assert is_empty(tmp_path / "store")

    refused(trained, "1 channels and 8×8 pixels, and the dataset's images have 3 channels and 16×16 pixels", 3, 16, 16)
    refused(
        trained / "unet/diffusion_pytorch_model.safetensors",
        "safetensors is no folder but the weights of a network without its",
        1,
        8,
        8,
    )
    refused(tmp_path / "nowhere", "There is no folder .*nowhere: set target.path to a model's folder", 1, 8, 8)
    write_json(tmp_path / "results.json", {"target_folder": str(tmp_path / "gone")})
    refused(tmp_path, r"The target of the run .* isn't there any more \(.*gone\): set target.path", 1, 8, 8)
    (trained / "samples.png").write_bytes(b"another picture")
    refused(trained, r"The target in .* is damaged \(samples.png .*\): train it again", 1, 8, 8)


@pytest.mark.parametrize("content", ["[]", '{"key": {"type": "note"}}', '{"key": 3, "seconds": 1, "files": {}}'])
def test_an_entry_json_of_somebody_else_is_refused_in_a_sentence(tmp_path: Path, trained: Path, content: str) -> None:
    (trained / "entry.json").write_text(content)
    with pytest.raises(
        UserError, match=r"entry\.json can't be read, or is none.* none of secmi_exp's, remove that file"
    ):
        prepare(ddpm(f"target.path={trained}"), tmp_path / "store", 1, 8, 8)


def test_a_target_in_the_place_of_another_is_refused(tmp_path: Path, trained: Path) -> None:
    elsewhere = trained.rename(tmp_path / "my_target")
    assert prepare(ddpm(f"target.path={elsewhere}"), tmp_path / "store", 1, 8, 8).trained_on
    other = elsewhere.rename(tmp_path / ("0" * 32))
    with pytest.raises(UserError, match=rf"The target in {other} is damaged \(it holds target \w+ instead\)"):
        prepare(ddpm(f"target.path={other}"), tmp_path / "store", 1, 8, 8)


def test_a_recipe_for_images_of_another_shape_is_refused(tmp_path: Path) -> None:
    target = ddpm("dataset.image_size=8", "dataset.channels=1")
    with pytest.raises(UserError, match=r"target\.network describes takes images of 1 channels and 8×8 pixels, and"):
        prepare(target, tmp_path / "store", 3, 8, 8)
    assert is_empty(tmp_path / "store")


def test_only_targets_whose_networks_draw_have_other_keys_than_before_these_were_seeded_apart() -> None:
    keys = [
        ddpm(f"target={name}").key(random_images(2, (1, 8, 8)), cpu_runtime())
        for name in ("ddpm_small", "ddpm", "dit_small")
    ]
    assert ["drawing_within" in key.config for key in keys] == [False, True, True]


def test_the_path_decides_no_key() -> None:
    assert "path" not in ddpm().key(random_images(2, (1, 8, 8)), cpu_runtime()).config
