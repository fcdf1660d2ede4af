"""Checkpoints of the authors' code: the same network after conversion, whatever its flags, and every mistake told."""

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from hypothesis import given, settings
from hypothesis import strategies as st

from secmi_exp.data.images import Images
from secmi_exp.errors import UserError
from secmi_exp.runtime import Runtime
from secmi_exp.store import Store
from secmi_exp.targets.authors_format import Flags, from_authors, read_flags
from secmi_exp.targets.secmi_checkpoint import SecMICheckpoint
from secmi_exp.targets.unconditional import Unconditional
from tests.targets.authors_network import AuthorsNetwork, random_weights, to_authors, write_checkpoint

RUNTIME = Runtime(accelerator="cpu", precision="32-true", query_batch_size=8, progress_bar=False)
TINY = Flags(T=50, ch=32, ch_mult=(1, 2), attn=(1,), num_res_blocks=1, img_size=8)
GOLDEN = Path(__file__).parents[1] / "golden"

FLAGS = st.builds(
    Flags,
    T=st.just(50),
    ch=st.just(32),
    ch_mult=st.lists(st.integers(1, 3), max_size=2).map(lambda further: (1, *further)),
    attn=st.lists(st.integers(0, 2), max_size=2, unique=True).map(tuple),
    num_res_blocks=st.integers(1, 3),
    img_size=st.just(8),
)


def images(side: int = 8, channels: int = 3) -> Images:
    return Images.of(np.random.default_rng(0).integers(0, 256, (4, channels, side, side), dtype=np.uint8))


def prepared(path: Path, weights: Any = "ema", seen: Images | None = None) -> Unconditional:
    target = SecMICheckpoint(name="secmi_checkpoint", path=path, weights=weights)
    loaded = target.prepare(seen or images(), Store(path.parent / "store"), RUNTIME, None).load()
    assert isinstance(loaded, Unconditional)
    return loaded


@settings(max_examples=8, deadline=None, derandomize=True)
@given(flags=FLAGS)
@torch.no_grad()
def test_any_flags_convert_into_the_very_same_function(flags: Flags) -> None:
    theirs = {name: weight.double() for name, weight in random_weights(flags).items()}
    network = UNet2DModel(**flags.network).double().eval()
    network.load_state_dict(from_authors(theirs, flags, network.state_dict()))
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    reference = AuthorsNetwork(theirs, flags)
    for t in (0, 1, 49):
        torch.testing.assert_close(network(x, t).sample, reference(x, t), rtol=0, atol=1e-5)  # of float32 sines
    assert reference(x, 49).std() > 0.1


@settings(max_examples=15, deadline=None, derandomize=True)
@given(flags=FLAGS)
def test_ours_to_theirs_to_ours_is_exact_to_the_bit(flags: Flags) -> None:
    ours = UNet2DModel(**flags.network).state_dict()
    again = from_authors(to_authors(ours, flags), flags, ours)
    assert set(again) == set(ours)
    assert all(torch.equal(again[name], ours[name]) for name in ours)


@pytest.mark.parametrize("weights", ["ema", "net"])
@torch.no_grad()
def test_golden_network_is_the_authors_through_save_and_reload(tmp_path: Path, weights: str) -> None:
    for name in ("checkpoint.pt", "flagfile.txt"):
        shutil.copy(GOLDEN / name, tmp_path)
    predictor = prepared(tmp_path / "checkpoint.pt", weights, images(side=32))
    checkpoint = torch.load(GOLDEN / "checkpoint.pt", weights_only=True)
    reference = AuthorsNetwork(checkpoint[f"{weights}_model"], read_flags(GOLDEN / "flagfile.txt"))
    x = predictor.encode(torch.from_numpy(images(side=32)[:]))
    for t in (0, 10, 100, 500, 999):
        torch.testing.assert_close(predictor.predict_noise(x, t), reference(x, t), rtol=0, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_are_chosen_and_prefixes_do_not_matter(tmp_path: Path, prefix: str) -> None:
    path = write_checkpoint(tmp_path, TINY, prefix=prefix)
    for weights, seed in (("net", 1), ("ema", 2)):
        head = prepared(path, weights).unet.conv_in.weight
        assert torch.equal(head, random_weights(TINY, seed)["head.weight"])


def test_schedule_and_prediction_follow_the_flags(tmp_path: Path) -> None:
    predictor = prepared(write_checkpoint(tmp_path, replace(TINY, mean_type="xstart")))
    assert predictor.prediction == "sample"
    assert len(predictor.alphas_cumprod) == 50
    assert predictor.alphas_cumprod[0] == pytest.approx(1 - 1e-4)


def test_a_network_of_the_papers_size_converts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = write_checkpoint(tmp_path, Flags())
    prepared(path, seen=images(side=32))
    assert "35.75 M parameters" in caplog.text


def test_the_second_time_it_is_found_in_the_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = write_checkpoint(tmp_path, TINY)
    prepared(path)
    prepared(path)
    assert caplog.text.count("Converted") == 1
    assert "Reused target" in caplog.text


class Malicious:
    """Makes a folder when it is unpickled without care."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def malicious(path: Path) -> None:
    write_checkpoint(path.parent, TINY, sched=Malicious(path.parent / "executed"))


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def text(path: Path) -> None:
    path.write_text("hello")


def other_content(path: Path) -> None:
    torch.save({"state_dict": {}}, path)


def a_tensor(path: Path) -> None:
    torch.save(torch.zeros(3), path)


def no_flags(path: Path) -> None:
    (path.parent / "flagfile.txt").unlink()


def missing(path: Path) -> None:
    path.unlink()


def flag(line: str) -> Callable[[Path], object]:
    def add(path: Path) -> None:
        file = path.parent / "flagfile.txt"
        file.write_text(file.read_text() + line + "\n")

    return add


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (malicious, r"refused, because reading it would mean to execute .*mkdir"),
        (truncated, r"ckpt.pt can't be read as a checkpoint"),
        (text, r"ckpt.pt (can't be read as a checkpoint|is refused)"),
        (other_content, r"holds no ema_model, but state_dict"),
        (a_tensor, r"holds no ema_model, but Tensor"),
        (missing, r"There is no checkpoint .*ckpt.pt"),
        (no_flags, r"flags can't be read .*flagfile.txt"),
        (flag("--ch=64"), r"\(128, 32\), where its flags \(T=50, ch=64.* ask for \(256, 64\)"),
        (flag("--T=100"), r"\(50, 32\), where its flags \(T=100.* ask for \(100, 32\)"),
        (flag("--num_res_blocks=2"), r"where its flags .*num_res_blocks=2|has no .*num_res_blocks=2"),
        (flag("--attn=0"), r"has no downblocks.0.attn.* attn=\[1, 0\]"),
        (flag("--ch_mult=2"), r"ch_mult=\[1, 2, 2\]"),
        (flag("--ch=many"), r"--ch=many"),
        (flag("--mean_type=xprev"), r"--mean_type=xprev"),
        (flag("ch 64"), r"Line \d+ of .*flagfile.txt, 'ch 64', is no flag"),
        (flag("--flagfile=other"), r"is no flag"),
        (lambda path: (path.parent / "flagfile.txt").write_text("--ch_mult=2"), r"start with --ch_mult=2"),
    ],
)
def test_spoiled_checkpoints_are_told_in_a_sentence_and_leave_nothing(
    tmp_path: Path, spoil: Callable[[Path], object], sentence: str
) -> None:
    path = write_checkpoint(tmp_path, TINY)
    spoil(path)
    with pytest.raises(UserError, match=sentence) as raised:
        prepared(path)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "executed").exists()
    assert not [*tmp_path.glob("store/work/*"), *tmp_path.glob("store/target/*")]


@pytest.mark.parametrize("seen", [images(side=16), images(channels=1)])
def test_images_of_another_shape_are_refused_with_both(tmp_path: Path, seen: Images) -> None:
    path = write_checkpoint(tmp_path, TINY)
    with pytest.raises(UserError) as raised:
        prepared(path, seen=seen)
    assert "(3, 8, 8)" in str(raised.value)
    assert str(seen.shape) in str(raised.value)


def test_weights_that_lack_one_or_have_one_too_many_are_named(tmp_path: Path) -> None:
    weights = random_weights(TINY)
    del weights["tail.2.bias"]
    path = write_checkpoint(
        tmp_path, TINY, ema_model=weights, net_model=random_weights(TINY) | {"extra": torch.ones(1)}
    )
    with pytest.raises(UserError, match=r"has no tail\.2\.bias"):
        prepared(path)
    with pytest.raises(UserError, match=r"has extra, which its flags"):
        prepared(path, "net")


def test_another_time_embedding_is_noticed(tmp_path: Path) -> None:
    weights = random_weights(TINY)
    table = weights["time_embedding.timembedding.0.weight"]
    weights["time_embedding.timembedding.0.weight"] = torch.cat([table[:, 0::2], table[:, 1::2]], dim=1)
    path = write_checkpoint(tmp_path, TINY, ema_model=weights)
    with pytest.raises(UserError, match="other sines and cosines"):
        prepared(path)
