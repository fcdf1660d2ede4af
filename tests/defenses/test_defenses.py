"""The config group: every choice trains, none changes nothing, and each has the key that its weights need."""

from functools import partial
from pathlib import Path

import pytest
import torch

from secmi_exp.configuration.components import Components
from secmi_exp.defenses.dp_sgd import DPSGD
from secmi_exp.errors import UserError
from secmi_exp.store import Store
from secmi_exp.targets.pixel import training
from secmi_exp.testing import compose_config, cpu_runtime, no_logger
from tests.support import gradient_descent
from tests.support.commands import CONF
from tests.support.defended import MEMBERS, recipe, trained, weights

train = partial(training.train, runtime=cpu_runtime(), logger=None)
CHOICES = sorted(file.stem for file in (CONF / "defense").glob("*.yaml"))
QUICK = ("dp_sgd", "l2", "randaugment")
"""One for the step, one for the optimizer, and one for the images: the default suite trains with these."""


@pytest.mark.parametrize(
    "choice", [each if each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in CHOICES]
)
def test_every_choice_trains(tmp_path: Path, choice: str) -> None:
    target = recipe(f"defense={choice}", "target.max_steps=2")
    assert target.defense.name == choice
    prepared = target.prepare(MEMBERS, Store(tmp_path), cpu_runtime(), no_logger)
    assert all(torch.isfinite(weights(prepared.load().network)))
    assert prepared.samples is not None
    assert prepared.samples.is_file()
    assert set(prepared.facts) == ({"privacy"} if choice == "dp_sgd" else set())
    again = recipe(f"target.path={prepared.folder}").prepare(MEMBERS, Store(tmp_path), cpu_runtime(), no_logger)
    assert (again.facts, again.digest) == (prepared.facts, prepared.digest)


def test_without_a_defense_the_weights_are_what_they_were(tmp_path: Path) -> None:
    """The numbers are those of the training before there were defenses."""
    module = train(gradient_descent.recipe("target.horizontal_flip=true"), gradient_descent.MEMBERS, tmp_path)
    assert weights(module.network).double().norm().item() == pytest.approx(20.449454, rel=1e-5)
    assert module.network.conv_out.bias.item() == pytest.approx(0.00122095, abs=1e-5)
    assert module.network.conv_out.weight[0, 0, 0].tolist() == pytest.approx(
        [-0.0314728, 0.0921262, -0.0303726], abs=1e-5
    )


def test_without_a_defense_the_key_is_what_it_was() -> None:
    assert recipe().key(MEMBERS, cpu_runtime()).digest == "afc514fb1c017173d9fa25275e441bf6"


def test_what_decides_the_weights_decides_the_key() -> None:
    def digest(*overrides: str) -> str:
        return recipe(*overrides).key(MEMBERS, cpu_runtime()).digest

    digests = [digest(f"defense={choice}") for choice in CHOICES]
    digests += [digest("defense=cutout", "defense.fraction=0.25"), digest("defense=dp_sgd", "defense.delta=1e-6")]
    assert len(set(digests)) == len(CHOICES) + 2
    assert digest("defense=hflip") == digest("target.horizontal_flip=true")
    assert digest("defense=cutout", "defense.name=holes") == digest("defense=cutout")


def test_a_flipped_target_flips(tmp_path: Path) -> None:
    flipped = weights(trained(tmp_path / "a", "defense=hflip"))
    assert torch.equal(flipped, weights(trained(tmp_path / "b", "target.horizontal_flip=true")))
    assert not torch.equal(flipped, weights(trained(tmp_path / "c")))


def test_settings_come_from_the_command_line_and_mistakes_are_named() -> None:
    defense = recipe("defense=dp_sgd", "defense.noise_multiplier=0.7", "evaluation.delta=1e-4").defense
    assert isinstance(defense, DPSGD)
    assert (defense.noise_multiplier, defense.delta) == (0.7, 1e-4)
    with pytest.raises(UserError, match=r"defense\.noise_multiplier=-1 can't be used: input should be greater"):
        recipe("defense=dp_sgd", "defense.noise_multiplier=-1")
    with pytest.raises(UserError, match=r"defense\.fraction=2 can't be used: input should be less"):
        recipe("defense=cutout", "defense.fraction=2")


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (["ddpm_small", "target.path=x"], r"target=ddpm_small is read from target\.path, trained already: leave out"),
        (["latent_ddpm"], "target=latent_ddpm has none that it could act on"),
    ],
    ids=["trained already", "without defenses"],
)
def test_a_defense_without_a_training_to_act_on_is_refused(target: list[str], sentence: str) -> None:
    chosen, *others = target
    with pytest.raises(UserError, match=f"defense=cutout acts on .*{sentence}"):
        Components.from_config(compose_config("defense=cutout", f"target={chosen}", *others))
