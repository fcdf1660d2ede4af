"""Query attacks on flows and EDM: defined values by the general formulas."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from secmi_exp.diffusion.path import GaussianPath
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.targets.loading.scheduler_path import exploding_path, flow_path
from secmi_exp.testing import SMALL_X_0, SmallPredictor, configured, measure, numbered_noise

PATHS = {
    "flow": flow_path(1000, "ddpm"),
    "EDM": exploding_path(1000, 0.002, 80.0, "edm", "ddpm"),
    "denoiser": exploding_path(1000, 0.002, 80.0, "sample", "native"),
}


class OnPath(SmallPredictor):
    """The same network, whose output is what a path says."""

    def __init__(self, path: GaussianPath):
        super().__init__()
        self.path = path


def on(name: str) -> PreparedTarget:
    return PreparedTarget(Path(), name, partial(OnPath, PATHS[name]))


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("attack", ["stat", "distance", "loss", "pia", "pian", "sima", "pfami", "gsa", "cdi"])
def test_every_attack_has_finite_values_on_every_path(tmp_path: Path, attack: str, name: str) -> None:
    found = measure(configured("attack", f"+attack={attack}"), tmp_path, target=on(name))
    for values in found.numbers.values():
        assert np.isfinite(values).all()
        assert values.std() > 0


@pytest.mark.parametrize("name", PATHS)
def test_loss_and_pia_noise_the_image_as_the_path_does(tmp_path: Path, name: str) -> None:
    path, predictor = PATHS[name], OnPath(PATHS[name]).double()
    eps = numbered_noise(0, 0, (1, 8, 8))
    with torch.no_grad():
        predicted = predictor.predict_noise(path.alphas[50] * SMALL_X_0 + path.sigmas[50] * eps, 50)
        own = predictor.predict_noise(SMALL_X_0, 0)
        again = predictor.predict_noise(path.alphas[50] * SMALL_X_0 + path.sigmas[50] * own, 50)
    loss = configured("attack", "+attack=loss", "attack.t=50", "attack.noises=1")
    found = measure(loss, tmp_path, target=on(name)).values["loss"]
    np.testing.assert_allclose(np.asarray(found), (predicted - eps).square().mean(dim=(1, 2, 3)).numpy(), rtol=1e-9)
    pia = configured("attack", "+attack=pia", "attack.t=50", "attack.p=2")
    found = measure(pia, tmp_path, target=on(name)).values["proximal_error"]
    np.testing.assert_allclose(np.asarray(found), (again - own).flatten(1).norm(dim=1).numpy(), rtol=1e-9)
