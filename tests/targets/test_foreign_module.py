"""A checkpoint that nobody here trained, read by target=module: it denoises as a trained model does, and is audited."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from secmi_exp.store import Store
from secmi_exp.testing import configured
from tests.support.commands import REPOSITORY
from tests.support.runs import run_here

FOREIGN = REPOSITORY / "tests/foreign"
TARGET = [
    "target=module",
    "target.factory=tests.support.foreign_mnist.ForeignMNIST",
    f"target.weights={FOREIGN}/ddpm_mnist.pt",
    "target.prefix=network.",
    "target.path={kind: ddpm, num_train_timesteps: 1000, beta_schedule: linear, beta_start: 0.0001, beta_end: 0.02}",
    "target.prediction=epsilon",
]


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The overrides that name the first few dozen images of each side."""
    folder = tmp_path_factory.mktemp("sides")
    for name in ("train", "test"):
        pq.write_table(pq.read_table(FOREIGN / f"{name}.parquet").slice(0, 24), folder / f"{name}.parquet")
    given = [f"dataset.members={folder}/train.parquet", f"dataset.holdout={folder}/test.parquet"]
    return ["dataset=image_folder", "dataset.image_size=28", "dataset.channels=1", *given]


@torch.no_grad()
def test_its_loss_on_real_images_is_that_of_a_trained_model(sides: list[str], tmp_path: Path) -> None:
    predictor = configured("target", *TARGET).load()
    images = configured("dataset", *sides).load(Store(tmp_path), progress_bar=False)
    x_0 = predictor.encode(torch.from_numpy(images.pixels.copy()))
    eps = torch.from_numpy(np.random.default_rng(0).standard_normal(x_0.shape, dtype=np.float32))
    x_t = predictor.path.add_noise(x_0, eps, 500)
    assert (predictor.predict_noise(x_t, 500) - eps).square().mean().item() == pytest.approx(0.017, abs=0.002)


def test_it_is_audited_with_images_in_parquet(sides: list[str], tmp_path: Path) -> None:
    short = ["attack.t_sec=50", "attack.k=50", "attack.t_max=50", "evaluation.bootstrap_rounds=50"]
    folder = run_here(tmp_path, "+attack=stat", *short, *TARGET, *sides, base=["trainer=cpu"])
    results = json.loads((folder / "results.json").read_text())
    assert (results["n_member"], results["n_holdout"], results["queries_per_sample"]) == (19, 19, 2)
    assert 0.0 <= results["metrics"]["auc"] <= 1.0
