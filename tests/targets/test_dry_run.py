"""Networks are tried before the first stage, unless a training in the store has made the same."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from secmi_exp.configuration.preparation import prepare
from secmi_exp.errors import UserError
from secmi_exp.store import Key, Store
from secmi_exp.targets.pixel import training
from secmi_exp.testing import compose_config
from tests.support.store_entries import leaving


def configuration(output: Path, *arguments: str) -> DictConfig:
    return compose_config(f"paths.output={output}", "logger=none", "trainer=cpu", *arguments)


SMALL, LATENT = "experiment=smoke", "experiment=latent_digits"


class Tried(Exception):
    """The network was built."""


def test_a_network_that_was_trained_before_is_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tried(*arguments: object) -> None:
        raise Tried

    monkeypatch.setattr(training, "dry_run", tried)
    config = configuration(tmp_path, SMALL)
    with pytest.raises(UserError, match="Tried"):
        prepare(config)
    recipe: Any = prepare(
        configuration(tmp_path, SMALL, "+attack=blind")
    ).parts.target  # an attack that needs no target
    trained = {"network": recipe.network, "optimizer": recipe.optimizer, "batch_size": 3}
    key = Key("target", 1, trained, {"members": "others"}, files=("weights",))
    Store(tmp_path / "store").get_or_build(key, leaving("weights", b"w"))
    prepare(config)
    with pytest.raises(UserError, match="Tried"):
        prepare(configuration(tmp_path, SMALL, "target.network.norm_eps=1e-4"))


def test_the_network_of_the_paper_is_tried_without_memory(tmp_path: Path) -> None:
    prepare(configuration(tmp_path, "target=ddpm", "dataset.image_size=32"))


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("target.autoencoder.norm_num_groups=7", ["diffusers refuses target.autoencoder", "num_groups (7)"]),
        ("target.text_encoder.num_attention_heads=5", ["transformers refuses target.text_encoder"]),
        ("target.network.in_channels=5", ["diffusers refuses target.network.in_channels=5"]),
        ("target.training.optimizer.lr=-1", ["target.training.optimizer.lr=-1", "from 0 on"]),
        ("target.autoencoder_training.optimizer._target_=x.y", ["target.autoencoder_training.optimizer", "'x'"]),
        ("dataset.image_size=15", ["multiple of 2"]),
        ("target.training.lora={rank:4,alpha:4,modules:[nowhere]}", ["peft refuses target.training.lora"]),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_all_networks_of_a_latent_model_are_tried(tmp_path: Path, setting: str, parts: list[str]) -> None:
    with pytest.raises(UserError) as raised:
        prepare(configuration(tmp_path, LATENT, setting))
    assert all(part in str(raised.value) for part in parts), raised.value


@pytest.mark.slow
def test_a_latent_model_that_is_in_order_passes(tmp_path: Path) -> None:
    prepare(configuration(tmp_path, LATENT))
