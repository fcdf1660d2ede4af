"""Each augmentation against its definition, one image at a time; and a batch in parts is the whole batch."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from secmi_exp.data.model_range import to_model_range
from secmi_exp.defenses.cutout import Cutout
from secmi_exp.defenses.defense import Defense
from secmi_exp.defenses.randaugment import RandAugment
from secmi_exp.defenses.transformations import TransformationsByImage
from tests.support.defended import draws, recipe


def images(n: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (n, *shape), dtype=np.uint8))


@pytest.mark.parametrize(("fraction", "size"), [(0.5, 4), (0.4, 3), (0.01, 1), (1.0, 8)])
def test_cutout_blanks_a_square_around_a_pixel(fraction: float, size: int) -> None:
    batch = images(40, 3, 8, 10)
    holed = Cutout("cutout", fraction).model_input(batch, draws(0, 40, 40))
    again = draws(0, 40, 40)
    rows, columns = again.integers(8).tolist(), again.integers(10).tolist()
    for image, result, row, column in zip(to_model_range(batch), holed, rows, columns, strict=True):
        expected = image.clone()
        top, left = row - size // 2, column - size // 2
        expected[:, max(0, top) : max(0, top + size), max(0, left) : max(0, left + size)] = 0
        assert torch.equal(result, expected)
    assert len(set(rows)) > 4
    assert len(set(columns)) > 4


class Told(v2.RandAugment):  # type: ignore[misc]
    """torchvision's own, with an operation that is told rather than drawn."""

    told: list[str]

    def _get_random_item(self, dct: dict[str, Any]) -> tuple[str, Any]:
        name = self.told.pop(0)
        return name, dct[name]


def one_by_one(batch: Tensor, names: list[list[str]], negative: list[list[bool]], monkeypatch: Any) -> Tensor:
    """By torchvision, whose coin for the sign is told as well."""
    results = []
    for image, mine, signs in zip(batch, names, negative, strict=True):
        augment = Told(num_ops=len(mine), magnitude=9)
        augment.told = list(mine)
        signed = [turn for name, turn in zip(mine, signs, strict=True) if augment._AUGMENTATION_SPACE[name][1]]
        coins = iter([torch.tensor(0.0 if turn else 1.0) for turn in signed])
        with monkeypatch.context() as patch:
            patch.setattr(torch, "rand", lambda *shape, coins=coins: next(coins))
            results.append(augment(image[None])[0])
    return torch.stack(results)


@pytest.mark.parametrize("channels", [1, 3])
def test_randaugment_transforms_each_image_as_torchvision_would(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    transformations = TransformationsByImage(num_ops=2, magnitude=9)
    names, drawn = transformations.names, np.random.default_rng(2)
    n = 4 * len(names)
    choices = np.stack([np.arange(n) % len(names), drawn.integers(len(names), size=n)], axis=1)
    negative = drawn.integers(2, size=(n, 2)) == 1
    batch = images(n, channels, 12, 12)
    expected = one_by_one(
        batch, [[names[each] for each in row] for row in choices], negative.tolist(), monkeypatch
    )  # fmt: skip
    assert torch.equal(transformations(batch, choices, negative), expected)
    assert not torch.equal(expected, batch)


@pytest.mark.parametrize(
    "defense", [Cutout("cutout", 0.5), RandAugment("randaugment", 5, 9)], ids=["cutout", "randaugment"]
)
def test_pieces_of_a_batch_get_what_the_whole_batch_draws(defense: Defense) -> None:
    batch = images(20, 1, 8, 8)
    whole = defense.model_input(batch, draws(0, 20, 20))
    pieces = [defense.model_input(batch[low:high], draws(low, high, 20)) for low, high in [(0, 7), (7, 20)]]
    assert torch.equal(torch.cat(pieces), whole)
    assert not torch.equal(defense.model_input(batch, draws(0, 20, 20, step=4)), whole)
    assert (whole.dtype, whole.min() >= -1, whole.max() <= 1) == (torch.float32, True, True)


def test_randaugment_draws_for_each_image() -> None:
    same = images(1, 1, 8, 8).expand(60, 1, 8, 8)
    transformed = RandAugment("randaugment", 1, 9).model_input(same, draws(0, 60, 60))
    assert len({image.numpy().tobytes() for image in transformed}) > 10


def test_l2_is_a_penalty_in_adams_gradient() -> None:
    small = recipe("defense=l2")
    assert recipe().optimizer["_target_"] == "torch.optim.AdamW"
    assert small.defended.optimizer == {"_target_": "torch.optim.Adam", "lr": 2.0e-3, "weight_decay": 5.0e-4}
    other = recipe("defense=l2", "target.optimizer._target_=torch.optim.SGD", "defense.weight_decay=0.1").defended
    assert other.optimizer == {"_target_": "torch.optim.SGD", "lr": 2.0e-3, "weight_decay": 0.1}
