"""The files in ``conf/target`` of models trained elsewhere."""

from pathlib import Path

import pytest

from secmi_exp.errors import UserError
from secmi_exp.targets.pixel.adm_checkpoint import ADMCheckpoint
from secmi_exp.targets.pixel.adm_format import ADMFlags
from secmi_exp.targets.pixel.diffusers_folder import DiffusersFolder
from secmi_exp.targets.pixel.secmi_checkpoint import SecMICheckpoint
from secmi_exp.testing import configured


def test_each_names_its_class() -> None:
    theirs = configured("target", "target=secmi_checkpoint", "target.path=ckpt.pt")
    assert theirs == SecMICheckpoint("secmi_checkpoint", Path("ckpt.pt"), "ema")
    adm = configured("target", "target=adm_checkpoint", "target.path=ema.pt", "target.flags.channel_mult='1,2'")
    assert adm == ADMCheckpoint("adm_checkpoint", Path("ema.pt"), ADMFlags(channel_mult=(1, 2)))
    folder = configured("target", "target=diffusers", "target.path=somebody/model", "target.input_range=[0,1]")
    assert isinstance(folder, DiffusersFolder)
    assert (folder.path, folder.input_range, folder.prediction_type) == ("somebody/model", (0.0, 1.0), "epsilon")


MODULE = [
    "target=module", "target.factory=a.b", "target.weights=w", "target.path={kind: flow, num_train_timesteps: 9}",
    "target.prediction=velocity", "target.time=float",
]  # fmt: skip


@pytest.mark.parametrize("choice", ["ddpm_small", "flow_small", "dit_small"])
def test_a_target_without_a_path_is_trained_here_and_one_with_a_path_is_not(choice: str) -> None:
    assert configured("target", f"target={choice}").trained_here
    assert not configured("target", f"target={choice}", "target.path=somewhere").trained_here


@pytest.mark.parametrize(
    ("chosen", "trained_here"),
    [
        (["target=latent_ddpm"], True),
        (["target=finetuned", "target.path=x"], True),
        (["target=finetuned_lora", "target.path=x"], True),
        (["target=stable_diffusion", "target.path=x"], False),
        (["target=pipeline", "target.path=x"], False),
        (["target=diffusers", "target.path=x"], False),
        (["target=secmi_checkpoint", "target.path=x"], False),
        (["target=adm_checkpoint", "target.path=x"], False),
        (MODULE, False),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_whether_others_are_trained_here_is_said_by_their_kind(chosen: list[str], trained_here: bool) -> None:
    assert configured("target", *chosen).trained_here is trained_here


@pytest.mark.parametrize("choice", ["secmi_checkpoint", "diffusers", "adm_checkpoint"])
def test_a_path_must_be_given(choice: str) -> None:
    with pytest.raises(UserError, match=r"target\.path"):
        configured("target", f"target={choice}")


def test_a_value_that_is_none_is_named() -> None:
    with pytest.raises(UserError, match=r"target\.weights='best' can't be used: input should be 'ema' or 'net'"):
        configured("target", "target=secmi_checkpoint", "target.path=ckpt.pt", "target.weights=best")
