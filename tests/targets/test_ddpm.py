"""The target's training: the paper's network, members only, and the averaged weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from secmi_exp.components import component
from secmi_exp.data.digits import Digits
from secmi_exp.store import Store
from secmi_exp.targets.ddpm import DDPMTraining
from tests.conftest import CONF, run_here


def test_preset_is_the_papers_network() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", ["target=ddpm", "dataset.image_size=32", "dataset.channels=3"])
    module = DDPMTraining(component(config, "target"))
    assert sum(p.numel() for p in module.network.parameters()) / 1e6 == pytest.approx(35.7, abs=0.05)
    assert config.target.max_steps == 800_000
    betas = module.scheduler.betas
    assert (len(betas), betas[0].item(), betas[-1].item()) == (1000, pytest.approx(1e-4), pytest.approx(0.02))


def test_training_sees_member_images_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    step = DDPMTraining.training_step

    def watched(self: DDPMTraining, batch: Any, batch_idx: int) -> torch.Tensor:
        seen.append(batch[0].clone())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(DDPMTraining, "training_step", watched)
    run_here(tmp_path, "target.max_steps=20")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", ["experiment=smoke"])
    digits: Digits = component(config, "dataset")
    image_set = digits.load(Store(tmp_path / "store"), progress_bar=False)
    images, split = image_set.pixels, component(config, "split").split(image_set)
    trained = {image.tobytes() for image in torch.cat(seen).numpy()}
    assert trained == {image.tobytes() for image in images[split.members]}
    assert not trained & {image.tobytes() for image in images[split.holdouts]}


def test_flips_mirror_whole_images_half_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", ["target.horizontal_flip=true", "experiment=smoke"])
    module = DDPMTraining(component(config, "target"))
    clean: list[torch.Tensor] = []
    add_noise = module.scheduler.add_noise

    def record(x_0: torch.Tensor, eps: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        clean.append(x_0)
        return add_noise(x_0, eps, t)

    monkeypatch.setattr(module.scheduler, "add_noise", record)
    monkeypatch.setattr(module, "log", lambda *args, **kwargs: None)
    ramp = np.broadcast_to(np.arange(8, dtype=np.uint8), (400, 1, 8, 8)).copy()
    module.training_step((torch.from_numpy(ramp),), 0)
    flipped = (clean[0][:, 0, 0, 0] > clean[0][:, 0, 0, -1]).float().mean().item()
    assert 0.4 < flipped < 0.6
