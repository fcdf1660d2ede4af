"""A checkpoint of guided-diffusion: its network's output, or one sentence and an empty store."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from pydantic import TypeAdapter
from torch import Tensor

from secmi_exp.errors import UserError
from secmi_exp.targets.loading.blank_networks import network_without_memory
from secmi_exp.targets.pixel.adm_checkpoint import ADMCheckpoint
from secmi_exp.targets.pixel.adm_format import ADMFlags, from_adm
from secmi_exp.testing import prepare
from tests.support.adm_network import predict, random_weights
from tests.support.hostile_files import Opens, is_empty

SMALL: dict[str, Any] = {
    "image_size": 8, "num_channels": 32, "num_res_blocks": 1, "num_head_channels": 16, "channel_mult": (1, 2),
    "attention_resolutions": (4,),
}  # fmt: skip

RELEASED: dict[str, Any] = {
    "num_channels": 192, "num_res_blocks": 3, "attention_resolutions": (32, 16, 8), "num_head_channels": 64,
    "learn_sigma": True, "noise_schedule": "cosine", "resblock_updown": True, "use_new_attention_order": True,
    "class_cond": True,
}  # fmt: skip
"""Of the released 64×64 model, as its README lists them."""


def flags(**changes: Any) -> ADMFlags:
    return ADMFlags(**SMALL | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_scale_shift_norm": False, "num_head_channels": -1, "num_heads": 1, "attention_resolutions": (8, 4)},
        {"resblock_updown": True, "learn_sigma": True, "use_new_attention_order": True, "num_res_blocks": 2},
        {"resblock_updown": True, "attention_resolutions": (8, 2), "channel_mult": (1, 2, 2), "class_cond": True,
         "num_classes": 5},
        {"num_head_channels": -1, "num_heads": 2},
    ],
)  # fmt: skip
def test_the_converted_network_gives_the_outputs_of_theirs(changes: dict[str, Any]) -> None:
    given = flags(**changes)
    weights = random_weights(given)
    network = network_without_memory(UNet2DModel, given.network, "a network")
    network.load_state_dict(from_adm(weights, given, network, Path("file.pt")), assign=True)
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([0.0, 731.0])
    labels = torch.tensor([4, 0]) if given.class_cond else None
    with torch.no_grad():
        expected = predict(weights, given, x, t, labels)
        found = network(x, t, class_labels=labels).sample
    assert found.shape == expected.shape == (2, 6 if given.learn_sigma else 3, 8, 8)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_released_models_flags_are_those_of_a_network_and_their_lists_may_be_texts() -> None:
    released = ADMFlags(**RELEASED)
    network = network_without_memory(UNet2DModel, released.network, "a network")
    assert round(sum(each.numel() for each in network.parameters()) / 1e6) == 296  # as the paper's table 4 has it
    texts = TypeAdapter(ADMFlags).validate_python({"attention_resolutions": "32,16,8", "channel_mult": ""})
    assert texts == ADMFlags(attention_resolutions=(32, 16, 8))
    assert (texts.multiples, texts.attends) == ((1, 2, 3, 4), [False, True, True, True])
    assert ADMFlags(diffusion_steps=4000).scheduler["beta_end"] == pytest.approx(0.005)
    assert ADMFlags(**RELEASED).scheduler["beta_schedule"] == "squaredcos_cap_v2"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.save(dict(random_weights(flags())), tmp_path / "ema.pt")
    return tmp_path / "ema.pt"


def target(checkpoint: Path, **changes: Any) -> ADMCheckpoint:
    return ADMCheckpoint("theirs", checkpoint, flags(**changes))


def test_a_checkpoint_is_converted_once_and_predicts_the_noise(tmp_path: Path, checkpoint: Path) -> None:
    prepared = prepare(target(checkpoint), tmp_path / "store", 3, 8, 8)
    again = prepare(target(checkpoint), tmp_path / "store", 3, 8, 8)
    assert (prepared.digest, prepared.trained_on) == (again.digest, None)
    assert len(list((tmp_path / "store/target").iterdir())) == 1
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected = predict(random_weights(flags()), flags(), x, torch.tensor([100.0, 100.0]))
        torch.testing.assert_close(prepared.load().predict_noise(x, 100, {}), expected, rtol=1e-5, atol=1e-5)
    assert target(checkpoint).timesteps.count == 1000


def refusal(path: Path, store: Path, **changes: Any) -> str:
    with pytest.raises(UserError) as refused:
        prepare(target(path, **changes), store, 3, 8, 8)
    assert is_empty(store)
    (sentence,) = str(refused.value).splitlines()
    return sentence


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_channels": 64}, r"ema.pt contradict target.flags: \d+ are of another shape \(.*input_blocks.0.0.weight: "
         r"\[32, 3, 3, 3\] in place of \[64, 3, 3, 3\]|another shape \(.*\); set the flags of its training"),
        ({"num_res_blocks": 2}, r"contradict target.flags: \d+ of \d+ tensors are missing"),
        ({"attention_resolutions": (8,)}, r"are missing \(.*\), .* superfluous"),
        ({"channel_mult": (2, 2)}, r"first of channel_mult=\[2.0, 2.0\] isn't 1, .* can't express"),
        ({"channel_mult": ()}, "no channel_mult for image_size=8: set target.flags.channel_mult"),
        ({"num_head_channels": -1, "attention_resolutions": (8, 4)},
         "num_heads=4 splits attention over 32, 64 channels"),
        ({"num_head_channels": -1, "num_heads_upsample": 2}, "num_heads_upsample=2 differs from num_heads=4"),
        ({"rescale_timesteps": True, "diffusion_steps": 50}, "stretches diffusion_steps=50 to 1000 timesteps"),
        ({"image_size": 16}, "takes images of 3 channels and 16×16 pixels"),
    ],
)  # fmt: skip
def test_flags_that_contradict_the_weights_or_cannot_be_expressed_are_refused(
    tmp_path: Path, checkpoint: Path, changes: dict[str, Any], message: str
) -> None:
    assert re.search(message, refusal(checkpoint, tmp_path / "store", **changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda weights: [1], "holds a list instead of weights by their names"),
        (lambda weights: weights | {"more": torch.ones(1)}, r"1 is superfluous \(more\)"),
        (
            lambda weights: weights | {"out.2.bias": torch.zeros(1).expand(10**12)},
            r"out.2.bias: \[1\] in place of \[3\]",
        ),
        (lambda weights: weights | {"out.2.bias": torch.full((3,), torch.inf)}, "holds 3 weights that are NaN or inf"),
        (lambda weights: weights | {"out.2.bias": "text"}, "holds 'out.2.bias', which is no dense tensor but a str"),
        (lambda weights: weights | {"out.2.bias": Opens(Path("opened"))}, "could execute code"),
    ],
)
def test_files_with_anything_else_are_refused(
    tmp_path: Path, checkpoint: Path, content: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    torch.save(content(torch.load(checkpoint, weights_only=True)), checkpoint)
    assert re.search(message, refusal(checkpoint, tmp_path / "store"))
    assert "There is no file" in refusal(tmp_path / "nowhere.pt", tmp_path / "store")
