"""Attacks that query the target a few times: each value is its published formula, with the sign that it has there."""

import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from secmi_exp.attacks.pia import normalized
from secmi_exp.attacks.signals.trial_batch import trial_batch
from secmi_exp.data.images import Images
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.errors import UserError
from tests.support.query_attacks import (
    EPS,
    IMAGES,
    SIDE,
    X_0,
    N,
    T,
    attack,
    measured,
    noise,
    noised,
)
from tests.support.runs import MEMORIZING, run_here


def loss(x_0: Tensor, t: int, j: int) -> Tensor:
    return ((EPS(noised(x_0, noise(j), t), t) - noise(j)) ** 2).mean(dim=(1, 2, 3))


def l4(x: Tensor) -> Tensor:
    return (x.abs() ** 4).sum(dim=(1, 2, 3)) ** 0.25


def expected(name: str) -> Tensor:
    match name:
        case "loss":
            return (loss(X_0, 100, 0) + loss(X_0, 100, 1) + loss(X_0, 100, 2)) / 3
        case "pia" | "pian":
            eps = EPS(X_0, 0)
            if name == "pian":
                eps = eps / eps.abs().mean(dim=(1, 2, 3), keepdim=True) * (2 / math.pi) ** 0.5
            return l4(EPS(noised(X_0, eps, 200), 200) - eps)
        case "sima":
            return l4(EPS(X_0, 100))
        case "sima_mc":
            return (l4(EPS(noised(X_0, noise(0), 100), 100)) + l4(EPS(noised(X_0, noise(1), 100), 100))) / 2
    raise AssertionError(name)


ASKED: dict[str, tuple[list[str], str, int]] = {
    "loss": (["+attack=loss", "attack.t=100", "attack.noises=3"], "loss", 3),
    "pia": (["+attack=pia"], "proximal_error", 2),
    "pian": (["+attack=pian"], "proximal_error", 2),
    "sima": (["+attack=sima", "attack.t=100"], "prediction_norm", 1),
    "sima_mc": (["+attack=sima", "attack.t=100", "attack.noises=2"], "prediction_norm", 2),
}
"""Case → overrides, the value, and the queries an image."""


@pytest.mark.parametrize("case", ASKED)
@torch.no_grad()
def test_the_value_is_the_published_formula(tmp_path: Path, case: str) -> None:
    overrides, value, queries = ASKED[case]
    found = measured(tmp_path, *overrides)
    np.testing.assert_allclose(found.numbers[value], expected(case).numpy(), rtol=1e-6)
    assert found.queries_per_sample == queries
    assert found.queries_spent == queries * N
    (scorer,) = attack(*overrides).scorers.values()
    np.testing.assert_array_equal(scorer.score(found), -found.numbers[value])


@torch.no_grad()
def test_pfami_is_the_relative_growth_of_the_loss_under_a_crop(tmp_path: Path) -> None:
    found = measured(tmp_path, "+attack=pfami", "attack.timesteps=[0,50]", "attack.crop=0.75")
    cropped = torch.nn.functional.interpolate(
        X_0[:, :, 1:7, 1:7], (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False
    )
    growth = [(loss(cropped, t, j) - loss(X_0, t, j)) / loss(X_0, t, j) for j, t in enumerate((0, 50))]
    np.testing.assert_allclose(found.numbers["fluctuation"], (sum(growth) / 2).numpy(), rtol=1e-6)
    assert found.queries_per_sample == 4
    (scorer,) = attack("+attack=pfami").scorers.values()
    assert np.array_equal(scorer.score(found), found.numbers["fluctuation"])


def test_gradients_are_computed_in_the_layout_of_cuda_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that are laid out anew while gradients are off could never require any."""
    plain = measured(tmp_path / "plain", "+attack=gsa", "attack.timesteps=3")
    monkeypatch.setattr("secmi_exp.engine.queries.first_device", lambda runtime: torch.device("cuda"))
    laid_out = measured(tmp_path / "laid_out", "+attack=gsa", "attack.timesteps=3")
    np.testing.assert_allclose(laid_out.values["features"][:], plain.values["features"][:], rtol=1e-9)


def test_gsa_is_the_gradients_norm_in_each_parameter(tmp_path: Path) -> None:
    found = measured(tmp_path, "+attack=gsa", "attack.timesteps=3")
    parameters = list(EPS.parameters())
    for row in range(N):
        mean = sum(loss(X_0[row : row + 1], j * (T // 3), j) for j in range(3)) / 3
        norms = [each.norm().item() for each in torch.autograd.grad(mean, parameters)]  # type: ignore[arg-type]
        np.testing.assert_allclose(found.values["features"][row], norms, rtol=1e-6)
    assert found.queries_per_sample == 3
    assert list(found.numbers) == [name for name, _ in EPS.named_parameters()]


def test_losses_at_several_timesteps_are_kept_one_by_one(tmp_path: Path) -> None:
    found = measured(tmp_path, "+attack=loss", "attack.t=[10,20]", "attack.noises=2")
    assert list(found.numbers) == ["loss", "loss_10", "loss_20"]
    np.testing.assert_allclose(found.numbers["loss"], (found.numbers["loss_10"] + found.numbers["loss_20"]) / 2)
    single = measured(tmp_path, "+attack=loss", "attack.t=20", "attack.noises=2")
    np.testing.assert_allclose(single.numbers["loss"], found.numbers["loss_20"])


@pytest.mark.parametrize("case", ["loss", "sima_mc"])
def test_an_images_value_depends_on_no_other_image_and_no_batch(tmp_path: Path, case: str) -> None:
    overrides, value, _ = ASKED[case]
    whole = measured(tmp_path / "whole", *overrides, size=7)
    some = measured(
        tmp_path / "some", *overrides, size=2, images=Images(IMAGES.pixels, IMAGES.digests, np.array([5, 2]))
    )
    np.testing.assert_allclose(some.numbers[value], whole.numbers[value][[5, 2]], rtol=1e-9)


def test_what_was_asked_is_not_asked_again(tmp_path: Path) -> None:
    first = measured(tmp_path, "+attack=loss")
    again = measured(tmp_path, "+attack=loss", size=5)
    assert (first.queries_spent, again.queries_spent) == (5 * N, 0)
    assert np.array_equal(first.numbers["loss"], again.numbers["loss"])
    assert measured(tmp_path, "+attack=loss", "attack.noises=1").queries_spent == N
    assert measured(tmp_path, "+attack=loss", precision="32").queries_spent == 5 * N


def test_timesteps_beyond_the_targets_are_refused() -> None:
    for overrides, name in (
        (["+attack=loss", "attack.t=300"], "t"),
        (["+attack=loss", "attack.t=[0,300]"], "t"),
        (["+attack=pfami"], "timesteps"),
    ):
        with pytest.raises(UserError, match=rf"attack\.{name}=\d+ exceeds the last timestep .* at most 299"):
            attack(*overrides).check(Timesteps.with_signal_everywhere(T))


def test_normalised_noise_has_the_mean_size_of_normal_noise() -> None:
    eps = normalized(
        torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 5).reshape(4, 1, 1, 1)
    )
    torch.testing.assert_close(eps.abs().mean(dim=(1, 2, 3)), torch.full((4,), math.sqrt(2 / math.pi)))


@pytest.mark.parametrize(
    "overrides",
    [["+attack=pia"], ["+attack=pian"], ["+attack=sima"], ["+attack=loss"], ["+attack=loss", "attack.t=[0,9]"],
     ["+attack=pfami"]],
    ids=" ".join,
)  # fmt: skip
def test_the_names_that_are_known_without_torch_are_those_of_the_values(overrides: list[str]) -> None:
    made = attack(*overrides)
    assert made.measured_names == {*made.query(trial_batch()), "features", "pixels"}


def test_values_that_are_too_many_for_columns_of_their_own_are_there_by_name(tmp_path: Path) -> None:
    many = ["+attack=loss", f"attack.t={list(range(40))}", "attack.noises=1"]
    found = measured(tmp_path, *many)
    np.testing.assert_allclose(found.numbers["loss"], found.values["features"][:, 1:].mean(axis=1))
    scores = pq.read_table(run_here(tmp_path, *many, base=MEMORIZING) / "scores.parquet")
    assert "score_loss" in scores.column_names
    assert not {"loss", "loss_39"} & {*scores.column_names}


def test_cdi_takes_all_values_of_a_part_that_has_many(tmp_path: Path) -> None:
    found = measured(tmp_path, "+attack=cdi", f"attack.parts.losses.t={list(range(40))}")
    assert found.values["features"].shape == (N, 5 + 41)
    assert {"losses/loss", "losses/loss_39"} < found.unlisted
    assert "pia/proximal_error" not in found.unlisted
    few = measured(tmp_path, "+attack=cdi", "attack.parts.losses.t=[0,100]")
    assert (few.key.config, few.unlisted) == ({}, frozenset())  # as it is named in stores of earlier versions
    assert found.key.config  # which had the scores of the other parts alone


@pytest.mark.parametrize("part", ["blind", "over_representation"])
def test_cdi_refuses_a_part_without_numbers_before_it_queries(part: str) -> None:
    made = attack("+attack=cdi", "attack.parts.losses.t=[0]", f"+attack@attack.parts.x={part}")
    with pytest.raises(UserError, match=r"attack\.parts\.x measures no single numbers of an image"):
        made.check(Timesteps.with_signal_everywhere(1000))


def test_cdi_has_the_values_of_all_its_parts_and_their_queries(tmp_path: Path) -> None:
    overrides = ["+attack=cdi", "attack.parts.losses.t=[0,100]"]
    found = measured(tmp_path, *overrides)
    assert found.queries_per_sample == 4 + 5 + 2 + 2 + 2 + 1  # the stored ones too
    assert {"secmi/t_error", "loss/loss", "losses/loss_100", "pia/proximal_error"} < set(found.numbers)
    assert found.values["features"].shape == (N, len(found.numbers))
    assert measured(tmp_path, *overrides).queries_spent == 0
    alone = measured(tmp_path, "+attack=pia")
    assert alone.queries_spent == 0  # as the part has asked already
    np.testing.assert_array_equal(alone.numbers["proximal_error"], found.numbers["pia/proximal_error"])
