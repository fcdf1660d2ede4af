"""A checkpoint of the authors' that can't be used: one sentence that says why, and a store without a trace of it."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from secmi_exp.errors import UserError
from secmi_exp.run_warnings import collect_warnings
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.targets.pixel.secmi_checkpoint import SecMICheckpoint
from secmi_exp.testing import prepare
from tests.support.authors_network import FLAGS, change, random_weights, save_checkpoint
from tests.support.hostile_files import POINTER, Opens, is_empty


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path, FLAGS, ema_model=random_weights(FLAGS, 0), net_model=random_weights(FLAGS, 1))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replace_flag(path: Path, old: str, new: str) -> None:
    flags = path.with_name("flagfile.txt")
    assert old in flags.read_text()
    flags.write_text(flags.read_text().replace(old, new))


def refusal(folder: Path, checkpoint: Path) -> str:
    """The one sentence, after which the store is as empty as before."""
    with pytest.raises(UserError) as refused:
        prepare(SecMICheckpoint("theirs", checkpoint, "ema"), folder / "store", 3, 8, 8)
    assert is_empty(folder / "store")
    message, *more = str(refused.value).splitlines()
    assert not more
    return message


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, r"There is no checkpoint .*ckpt.pt: set target.path"),
        (lambda path: path.with_name("flagfile.txt").unlink(), r"flags can't be read from .*flagfile.txt \(.*\): put"),
        (truncate, r"ckpt.pt can't be read \(.*\): is it complete"),
        (lambda path: path.write_bytes(b""), r"ckpt.pt can't be read"),
        (lambda path: path.write_text("no checkpoint at all"), r"ckpt.pt is refused, because it is no pickle"),
        (
            lambda path: torch.save(torch.zeros(3), path),
            r"ckpt.pt holds a Tensor instead of a checkpoint with ema_model",
        ),
        (lambda path: torch.save({"model": {}, "step": 1}, path), r"ckpt.pt has no ema_model but model, step: set"),
    ],
)
def test_what_is_no_checkpoint_is_refused(
    tmp_path: Path, checkpoint: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(checkpoint)
    assert re.search(message, refusal(tmp_path, checkpoint))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("head.weight", None, "head.weight has no place in the checkpoint and the shape [32, 3, 3, 3] by the flags"),
        ("more", torch.ones(2), "more has the shape [2] in the checkpoint and no place by the flags"),
        ("head.bias", torch.ones(7), "head.bias has the shape [7] in the checkpoint and the shape [32] by the flags"),
    ],
)
def test_weights_that_contradict_the_flags_are_refused(
    tmp_path: Path, checkpoint: Path, name: str, value: object, message: str
) -> None:
    change(checkpoint, name, value)
    flags = "The weights contradict the flags (T=1000, ch=32, ch_mult=[1, 2], attn=[1], num_res_blocks=1): "
    assert flags + message in refusal(tmp_path, checkpoint)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "--ch=32",
            "--ch=64",
            "ch=64.* head.weight has the shape .32, 3, 3, 3. .* the shape .64, 3, 3, 3. by the flags",
        ),
        ("--T=1000", "--T=500", "T=500.* the shape .1000, 32. in the checkpoint and the shape .500, 32. by the flags"),
        ("--attn=1", "--attn=0", "attn=.0..*: downblocks.0.attn.* has no place in the checkpoint"),
        ("--num_res_blocks=1", "--num_res_blocks=2", "num_res_blocks=2.*has no place in the checkpoint"),
        ("--ch=32", "--ch=20", "diffusers refuses the network of .*flagfile.txt: .*divisible"),
        ("--ch=32", "--ch=few", "The flag --ch=few of .* can't be used: input should be a valid integer"),
        ("--ch=32", "ch 32", "'ch 32', is no flag of the form --name=value"),
    ],
)
def test_flags_that_contradict_the_weights_are_refused(
    tmp_path: Path, checkpoint: Path, old: str, new: str, message: str
) -> None:
    replace_flag(checkpoint, old, new)
    assert re.search(message, refusal(tmp_path, checkpoint))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_execute_code_is_refused(tmp_path: Path, checkpoint: Path, zipped: bool) -> None:
    malicious = {"ema_model": {"head.weight": Opens(tmp_path / "opened")}}
    torch.save(malicious, checkpoint, _use_new_zipfile_serialization=zipped)
    assert re.search("ckpt.pt is refused, .*mkdir.* could execute code: save it", refusal(tmp_path, checkpoint))
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 8, 8), (3, 8, 16)])
def test_images_of_another_shape_are_refused_with_both(
    tmp_path: Path, checkpoint: Path, shape: tuple[int, ...]
) -> None:
    channels, height, width = shape
    theirs, ours = "3 channels and 8×8 pixels", f"{channels} channels and {height}×{width} pixels"
    with pytest.raises(UserError, match=re.escape(theirs) + ".*" + re.escape(ours)):
        prepare(SecMICheckpoint("theirs", checkpoint, "ema"), tmp_path / "store", *shape)
    assert is_empty(tmp_path / "store")


def test_a_checkpoint_is_converted_once_for_each_kind_of_weights_and_each_content(
    tmp_path: Path, checkpoint: Path
) -> None:
    def digest(weights: Literal["ema", "net"]) -> str:
        prepared = prepare(SecMICheckpoint("theirs", checkpoint, weights), tmp_path / "store", 3, 8, 8)
        assert (prepared.trained_on, prepared.samples) == (None, None)
        return prepared.digest

    first = digest("ema")
    assert digest("ema") == first
    assert len(list((tmp_path / "store" / "target").iterdir())) == 1
    assert digest("net") != first
    change(checkpoint, "head.bias", torch.ones(32))
    assert digest("ema") != first


@pytest.mark.parametrize("mean_type", ["xstart", "xprev"])
def test_a_network_predicts_the_noise_whatever_the_flag_says_that_their_trainer_does_not_read(
    tmp_path: Path, checkpoint: Path, mean_type: str
) -> None:
    def attacked() -> tuple[PreparedTarget, list[str]]:
        with collect_warnings() as warnings:
            target = prepare(SecMICheckpoint("theirs", checkpoint, "ema"), tmp_path / "store", 3, 8, 8)
        return target, [warning.code for warning in warnings]

    (noise, none) = attacked()
    replace_flag(checkpoint, "--mean_type=epsilon", f"--mean_type={mean_type}")
    (flagged, codes) = attacked()
    assert (none, codes, flagged.digest) == ([], ["mean_type_ignored"], noise.digest)
    assert flagged.load().path.prediction == "epsilon"


@pytest.mark.parametrize(
    ("replacement", "message"),
    [
        (
            lambda path: save_file({"conv_in.bias": torch.zeros(1)}, path),
            "no checkpoint of the authors' code but the weigh",
        ),
        (
            lambda path: np.savez(path.open("wb"), a=[1]),
            "is no checkpoint of the authors' code but a file of NumPy arrays",
        ),
        (lambda path: (path.unlink(), path.mkdir()), "ckpt.pt is a folder: set it to the checkpoint in it"),
        (
            lambda path: path.write_bytes(POINTER),
            "ckpt.pt is a pointer of Git LFS in place of the file: fetch .*git lfs pull",
        ),
        (
            lambda path: path.with_name("flagfile.txt").write_bytes(POINTER),
            "flagfile.txt is a pointer of Git LFS in place of the file: fetch the file by `git lfs pull`",
        ),
    ],
)
def test_a_file_of_another_kind_is_named(
    tmp_path: Path, checkpoint: Path, replacement: Callable[[Path], object], message: str
) -> None:
    replacement(checkpoint)
    assert re.search(message, refusal(tmp_path, checkpoint))
