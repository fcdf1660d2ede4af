"""The authors' format: the same network under diffusers' names, for any flags, exactly."""

import logging
import time
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DModel
from hypothesis import given, settings
from hypothesis import strategies as st

from secmi_exp.errors import UserError
from secmi_exp.targets.loading.blank_networks import network_without_memory
from secmi_exp.targets.pixel.authors_format import Flags, from_authors, read_flags, to_authors
from secmi_exp.targets.pixel.secmi_checkpoint import SecMICheckpoint
from secmi_exp.testing import prepare
from tests.support.authors_network import predict, random_weights, save_checkpoint

NETWORKS = [
    Flags(ch=32, ch_mult=(1,), attn=(0,), num_res_blocks=1, img_size=8),
    Flags(ch=32, ch_mult=(1, 2), attn=(), num_res_blocks=2, img_size=8),
    Flags(ch=96, ch_mult=(1, 1), attn=(0,), num_res_blocks=1, img_size=8),
    Flags(ch=32, ch_mult=(1, 2, 2, 2), attn=(1, 2), num_res_blocks=2, img_size=8),
    Flags(ch=32, ch_mult=(1, 3), attn=(0, 1), num_res_blocks=3, img_size=4, T=1200),
]


@pytest.mark.parametrize("flags", NETWORKS, ids=str)
@torch.no_grad()
def test_a_converted_network_predicts_what_the_authors_does(flags: Flags) -> None:
    theirs = random_weights(flags, 0)
    network = UNet2DModel(**flags.network).eval()
    network.load_state_dict(from_authors(theirs, flags, network, Path("ckpt.pt")))
    x = torch.randn(2, 3, flags.img_size, flags.img_size, dtype=torch.float64)
    for t in (0, 10, 100, 500, 999):
        ours = network.double()(x, t).sample
        torch.testing.assert_close(ours, predict(theirs, flags, x, t), rtol=0, atol=1e-10)


@st.composite
def any_flags(draw: st.DrawFn) -> Flags:
    multipliers = [1, *draw(st.lists(st.integers(1, 3), max_size=3))]
    return Flags(
        T=draw(st.integers(1, 50)),
        ch=32,
        ch_mult=tuple(multipliers),
        attn=tuple(draw(st.sets(st.integers(0, len(multipliers) - 1)))),
        num_res_blocks=draw(st.integers(1, 3)),
        img_size=16,
    )


@settings(max_examples=12, deadline=None)
@given(any_flags())
def test_there_and_back_every_bit_is_the_same(flags: Flags) -> None:
    network = UNet2DModel(**flags.network)
    ours = network.state_dict()
    theirs = to_authors(ours, flags)
    assert len(theirs) == len(ours)
    prefixed = {f"module.{name}": tensor for name, tensor in theirs.items()}
    back = from_authors(
        prefixed, flags, network_without_memory(UNet2DModel, flags.network, "the network"), Path("ckpt.pt")
    )
    assert list(back) == list(ours)
    assert all(torch.equal(back[name], ours[name]) for name in ours)


def test_a_network_of_the_papers_size_converts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    flags = Flags()
    path = save_checkpoint(tmp_path, flags, ema_model=random_weights(flags, 0))
    caplog.set_level(logging.INFO)
    started = time.monotonic()
    prepared = prepare(SecMICheckpoint("paper", path, "ema"), tmp_path / "store", 3, 32, 32)
    assert "35.75 M parameters" in caplog.text
    assert time.monotonic() - started < 60
    assert (prepared.folder / "unet" / "diffusion_pytorch_model.safetensors").is_file()


def test_a_flag_file_is_read_as_absl_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "flagfile.txt"
    path.write_text(
        "# of a training\n--T=500\n--beta_T=0.01\n--ch=64\n--ch=96\n\n--ch_mult=1\n--ch_mult=3\n--attn=0\n"
        "-img_size=64\n--mean_type=xstart\n--noparallel\n--train\n--logdir=./logs/a=b\n// the end\n"
    )
    flags = read_flags(path)
    assert flags == Flags(T=500, beta_T=0.01, ch=96, ch_mult=(1, 3), attn=(0,), img_size=64, mean_type="xstart")
    assert flags.scheduler["prediction_type"] == "epsilon"
    path.write_text("")
    assert read_flags(path) == Flags()
    assert Flags().network["block_out_channels"] == [128, 256, 256, 256]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--ch=many", "The flag --ch=many of .*flagfile.txt can't be used: input should be a valid integer"),
        ("--ch", "The flag --ch= of"),
        ("--attn=-1", "The flag --attn=-1 of .* greater than or equal to 0"),
        ("--mean_type=x0", "The flag --mean_type=x0 of .* 'epsilon', 'xstart' or 'xprev'"),
        ("--ch_mult=2", r"The flags --ch_mult=\[2\] of .* widen the first level"),
        ("--flagfile=other.txt", "Line 2 of .*, '--flagfile=other.txt', is no flag"),
        ("channels: 32", "Line 2 of .*, 'channels: 32', is no flag"),
    ],
)
def test_flags_that_make_no_sense_are_refused(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "flagfile.txt").write_text(f"--T=1000\n{line}\n")
    with pytest.raises(UserError, match=message):
        read_flags(tmp_path / "flagfile.txt")
