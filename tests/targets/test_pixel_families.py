"""Flows, transformers and class-conditional networks: trained here, read again as any pipeline, and attacked."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from secmi_exp.data.images import Images
from secmi_exp.data.labels import LabelCells, Labels
from secmi_exp.diffusion.path import ddpm_noise_to_signal
from secmi_exp.engine.batches import Piece
from secmi_exp.engine.optimization import Draws
from secmi_exp.errors import UserError
from secmi_exp.store import Store
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.targets.noise_schedule import FlowSchedule
from secmi_exp.targets.pixel.objectives import FlowObjective
from secmi_exp.testing import configured, cpu_runtime, measure, no_logger, random_images

pytestmark = pytest.mark.usefixtures("sampled_quickly")
CLASSES = [0, 1, 2, 9, 1, 2, 3, 4]


def labelled(classes: list[int | None]) -> Images:
    return replace(random_images(len(classes)), labels=Labels(partial(LabelCells, classes)))


MEMBERS = labelled([*CLASSES])
SMALL = [
    "dataset.image_size=8", "dataset.channels=1", "target.max_steps=3", "target.batch_size=6", "target.warmup_steps=1",
]  # fmt: skip
UNET = ["target.network.block_out_channels=[8,8]", "target.network.norm_num_groups=4"]
DIT = ["target.network.num_layers=1", "target.network.num_attention_heads=1", "target.network.attention_head_dim=8"]
RECIPES = {
    "flow": ["target=flow_small", *UNET],
    "transformer": ["target=dit_small", *DIT],
    "transformer with labels": ["target=dit_small", *DIT, "target.network.num_embeds_ada_norm=10"],
    "U-Net with labels": ["target=ddpm_small_labelled", *UNET],
}


def prepared(root: Path, recipe: str, *overrides: str, members: Images = MEMBERS) -> PreparedTarget:
    target = configured("target", *RECIPES[recipe], *SMALL, *overrides)
    found: PreparedTarget = target.prepare(members, Store(root), cpu_runtime(), no_logger)
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of targets that were trained for three steps each."""
    return tmp_path_factory.mktemp("store")


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_trained_target_is_attacked_by_the_general_formula(store: Path, recipe: str) -> None:
    target = prepared(store, recipe)
    attack = configured("attack", "+attack=stat", "attack.t_sec=20", "attack.k=20", "attack.t_max=20")
    found = measure(attack, store, images=MEMBERS, target=target)
    predictor = target.load().double()
    condition = {"label": torch.tensor(CLASSES)} if "labels" in recipe else {}
    x = predictor.encode(torch.from_numpy(MEMBERS[:]))
    path = predictor.path
    with torch.no_grad():
        eps = predictor.predict_noise(x, 0, condition)
        image = (x - path.sigmas[0] * eps) / path.alphas[0]
        up = path.alphas[20] * image + path.sigmas[20] * eps
        eps_up = predictor.predict_noise(up, 20, condition)
        back = path.alphas[0] * (up - path.sigmas[20] * eps_up) / path.alphas[20] + path.sigmas[0] * eps_up
    expected = (back - x).square().flatten(1).sum(1)
    torch.testing.assert_close(torch.tensor(found.values["t_error"]).double(), expected, rtol=1e-5, atol=0)
    assert found.facts["noise_to_signal"] == pytest.approx(ddpm_noise_to_signal()[20])
    assert ("labels" in found.facts) == ("labels" in recipe)


@torch.no_grad()
def test_a_flow_is_given_sigma_as_its_time_and_its_velocity_becomes_noise(store: Path) -> None:
    predictor = prepared(store, "flow").load()
    x, sigma = torch.randn(2, 1, 8, 8), predictor.path.sigmas[300]
    velocity = predictor.unet(x, torch.full((2,), 1000 * sigma)).sample
    torch.testing.assert_close(predictor.predict_noise(x, 300), x + (1 - sigma) * velocity)
    native = prepared(store, "flow", "target.time_axis=native")
    assert native.load().path.sigmas[300] == 0.3
    assert native.digest != prepared(store, "flow").digest  # the same weights at other noise levels
    assert native.folder == prepared(store, "flow").folder


@torch.no_grad()
def test_labels_reach_the_network_and_none_is_the_transformers_own_class(store: Path) -> None:
    unet, transformer, alone = (prepared(store, name).load() for name in ("U-Net with labels", *list(RECIPES)[2:0:-1]))
    x, t = torch.randn(2, 1, 8, 8), torch.full((2,), 7)
    labels = torch.tensor([3, 9])
    given = unet.predict_noise(x, 7, {"label": labels})
    assert torch.equal(given, unet.unet(x, t, class_labels=labels).sample)
    assert not torch.equal(given, unet.predict_noise(x, 7, {"label": labels.flip(0)}))
    nothing = torch.full((2,), 10)
    assert torch.equal(transformer.predict_noise(x, 7), transformer.unet(x, t, class_labels=nothing).sample)
    assert torch.equal(alone.predict_noise(x, 7), alone.unet(x, t, class_labels=torch.ones_like(t)).sample)


@torch.no_grad()
def test_guidance_leads_away_from_the_class_for_none(store: Path) -> None:
    target = prepared(store, "transformer with labels", "target.guidance=3")
    arrays = target.inputs(MEMBERS, Store(store), cpu_runtime()).arrays()
    condition = {name: torch.from_numpy(rows[:]) for name, rows in arrays.condition.items()}
    predictor, x, times = target.load(), torch.randn(len(MEMBERS), 1, 8, 8), torch.full((len(MEMBERS),), 7)
    with_class, without = (
        predictor.unet(x, times, class_labels=each).sample for each in (condition["label"], torch.full_like(times, 10))
    )
    torch.testing.assert_close(predictor.predict_noise(x, 7, condition), without + 3 * (with_class - without))
    assert predictor.queries == 2 * len(MEMBERS)


def test_the_labels_of_the_members_decide_the_weights(store: Path) -> None:
    assert (
        prepared(store, "U-Net with labels", members=labelled([*reversed(CLASSES)])).digest
        != prepared(store, "U-Net with labels").digest
    )


@pytest.mark.parametrize("sigma", ["uniform", "logit_normal"])
def test_a_flow_is_trained_on_the_velocity_of_straight_lines(sigma: Any) -> None:
    objective = FlowObjective(FlowSchedule(num_train_timesteps=1000, sigma=sigma))
    x_0 = torch.rand(4000, 1, 2, 2)
    x_t, times, goal = objective.draw(x_0, Draws(Piece(0, 4000, 4000), torch.device("cpu"), 0, 0))
    share: Tensor = times[:, None, None, None] / 1000
    torch.testing.assert_close(x_t - share * goal, x_0)  # back along the velocity
    inside = ((times > 250) & (times < 750)).float().mean().item()
    assert inside == pytest.approx(0.5 if sigma == "uniform" else 0.728, abs=0.03)


@pytest.mark.parametrize(
    ("recipe", "overrides", "members", "message"),
    [
        ("U-Net with labels", [], labelled([0, 10, *[1] * 6]), "class label of .* is 10.* has 10 classes"),
        ("U-Net with labels", [], random_images(8), "the members have none that it could be trained with"),
        ("U-Net with labels", ["target.guidance=2"], MEMBERS, "guidance=2 .* unconditional class, and it has none"),
        ("transformer", ["target.network.patch_size=3"], MEMBERS, "takes 3×3 pixels as one, .* a multiple of 3"),
        ("transformer", ["dataset.image_size=16"], MEMBERS, "images of 1 channels and 16×16 pixels"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, recipe: str, overrides: list[str], members: Images, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        inputs_of(tmp_path, recipe, *overrides, members=members)


def inputs_of(root: Path, recipe: str, *overrides: str, members: Images) -> None:
    """Make the inputs that a target is queried with, as a run does."""
    prepared(root, recipe, *overrides, members=members).inputs(members, Store(root), cpu_runtime()).arrays()


def test_any_pipeline_is_read_by_its_class(store: Path) -> None:
    for recipe in RECIPES:
        trained = prepared(store, recipe)
        read = {}
        for name in ("pipeline", "diffusers"):
            target = configured("target", f"target={name}", f"target.path={trained.folder}", *SMALL[:2])
            read[name] = target.prepare(MEMBERS, Store(store), cpu_runtime(), no_logger)
            assert target.conditions == (("labels",) if "labels" in recipe else ())
        assert read["pipeline"].key == read["diffusers"].key
        again = configured("target", "target=ddpm_small", f"target.path={trained.folder}", *SMALL[:2])
        assert again.conditions == target.conditions
        x = torch.randn(2, 1, 8, 8)
        condition = {"label": torch.tensor([0, 1])} if "labels" in recipe else {}
        ours, theirs = (each.load().predict_noise(x, 30, condition) for each in (trained, read["pipeline"]))
        assert torch.equal(ours, theirs)
