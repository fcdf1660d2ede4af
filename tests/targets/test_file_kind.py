"""A file in place of a model's folder: what it is, and what can be done with it."""

import gzip
import io
import logging
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from secmi_exp.data.decoding import unreadable_sample
from secmi_exp.errors import UserError
from secmi_exp.quality.inception import inception
from secmi_exp.targets.families.stable_diffusion import StableDiffusionFolder
from secmi_exp.targets.loading.file_kind import ADM_LAYERS
from secmi_exp.targets.loading.hub import fetch
from secmi_exp.targets.loading.settings_files import read_json
from secmi_exp.targets.loading.weights import read_pickled
from tests.support.diffusers_folders import refusal
from tests.support.hostile_files import POINTER, Opens
from tests.support.text_to_image import prepared as prepared_pipeline
from tests.support.tiny_pipelines import save_stable_diffusion

SINGLE_FILE = {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(1), "cond_stage_model.x": torch.zeros(1)}


EDM = b"\x80\x03}q\x00X\x03\x00\x00\x00emaq\x01ctorch_utils.persistence\n_reconstruct_persistent_obj\nq\x02s."


def archive(path: Path, **files: bytes) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("unet/config.json", "{}")


@pytest.mark.parametrize(
    ("name", "make", "what", "advice"),
    [
        (
            "v1-5-pruned.safetensors",
            lambda path: save_file(SINGLE_FILE, path),
            "Stable Diffusion in",
            "set target=stable_diffusion",
        ),
        (
            "v1-5.ckpt",
            lambda path: torch.save({"state_dict": SINGLE_FILE}, path),
            "Stable Diffusion in",
            "=stable_diff",
        ),
        (
            "unet.safetensors",
            lambda path: save_file({"conv_in.bias": torch.zeros(1)}, path),
            "the weights of a n",
            "conf",
        ),
        (
            "l.safetensors",
            lambda path: save_file({"a.lora_A.weight": torch.zeros(1)}, path),
            "a low-rank adapter",
            "target.lora",
        ),
        (
            "ckpt.pt",
            lambda path: torch.save({"ema_model": {}, "step": 1}, path),
            "a checkpoint of the authors'",
            "secmi_c",
        ),
        (
            "model-10.pt",
            lambda path: torch.save(
                {"step": 1, "model": {}, "opt": {}, "ema": {}, "scaler": None, "version": "2"}, path
            ),
            "a checkpoint of lucidrains' denoising-diffusion-pytorch",
            "set target=module target.weights=FILE target.entry=ema target.prefix=ema_model.model.",
        ),
        (
            "ema_0.9999_250000.pt",
            lambda path: torch.save(dict.fromkeys(ADM_LAYERS, torch.zeros(1)), path),
            "a checkpoint of guided-diffusion",
            "set target=adm_checkpoint",
        ),
        ("edm.pkl", lambda path: path.write_bytes(EDM), "a pickle of NVlabs' code, such as EDM's", "ema.state_dict()"),
        ("net.pt", lambda path: torch.save([1], path), "a list by torch.save", "save_pretrained"),
        (
            "net.pth",
            lambda path: torch.save({}, path, _use_new_zipfile_serialization=False),
            "a Python pickle",
            "save_p",
        ),
        ("model.tar", lambda path: archive(path, unet=b"x" * 600), "an archive", "unpack it"),
        ("model.tar.gz", lambda path: path.write_bytes(gzip.compress(b"tar")), "a compressed archive", "unpack it"),
        ("model.zip", zipped, "a zip archive", "unpack it"),
        ("split.npz", lambda path: np.savez(path, members=[1]), "a file of NumPy arrays (members)", "the model itself"),
        ("images.npy", lambda path: np.save(path, [1]), "a NumPy array", "the model itself"),
        ("q4.gguf", lambda path: path.write_bytes(b"GGUF\3\0\0\0"), "a quantized model in GGUF", "diffusers folder"),
        ("weights.h5", lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "an HDF5 file", "convert"),
        ("config.json", lambda path: path.write_text("{}"), "a JSON file", "the model itself"),
        ("notes.txt", lambda path: path.write_text("hello"), "a file of an unknown kind", "model's folder"),
    ],
)
def test_a_file_is_named_for_what_it_is(
    tmp_path: Path, name: str, make: Callable[[Path], object], what: str, advice: str
) -> None:
    make(tmp_path / name)
    sentence = refusal(tmp_path / name, tmp_path / "store", 3, 8, 8)
    assert sentence.startswith(f"target.path={tmp_path / name} is no folder but {what}")
    assert advice in sentence
    with pytest.raises(UserError, match=r"is no folder but|The U-Net in .* has no convolution"):
        prepared_pipeline(tmp_path / name, tmp_path / "store")


def test_a_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    save_file(SINGLE_FILE, whole)
    (tmp_path / "cut.safetensors").write_bytes(whole.read_bytes()[:40])
    assert "is a safetensors file that is cut off" in refusal(tmp_path / "cut.safetensors", tmp_path / "store", 3, 8, 8)


def test_a_pickle_is_not_executed_to_say_what_it_is(tmp_path: Path) -> None:
    torch.save({"ema_model": Opens(tmp_path / "opened")}, tmp_path / "ckpt.pt")
    assert "could execute code" in refusal(tmp_path / "ckpt.pt", tmp_path / "store", 3, 8, 8)
    assert not (tmp_path / "opened").exists()


def test_a_folder_with_one_file_of_weights_is_named_for_it(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    save_file(SINGLE_FILE, tmp_path / "model/v1-5-pruned.safetensors")
    assert "v1-5-pruned.safetensors is no folder but Stable" in refusal(tmp_path / "model", tmp_path / "store", 3, 8, 8)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("v1-5-pruned.safetensors", "There is no file v1-5-pruned.safetensors: set target.path"),
        ("models/ckpt.pt", "There is no file models/ckpt.pt: set target.path"),
        ("../ckpt", "There is no folder ../ckpt: set target.path"),
        ("~/nowhere", "There is no folder ~/nowhere: set target.path"),
        ("models/sd/unet", "There is no folder models/sd/unet: set target.path"),
        ("MODL", "There is no folder MODL: set target.path"),
    ],
)
def test_what_looks_like_a_path_is_not_looked_up_on_the_hub(
    path: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(repository: str) -> None:
        raise AssertionError(repository)

    monkeypatch.setattr(huggingface_hub, "list_repo_files", asked)
    with pytest.raises(UserError) as refused:
        fetch(path, list)
    assert message in str(refused.value)


def test_what_the_client_of_the_hub_logs_is_shown_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("huggingface_hub")
    monkeypatch.setattr(log, "handlers", [logging.StreamHandler()])  # as the client makes it

    def fails(repository: str) -> None:
        log.warning("Retrying")
        raise ConnectionError

    monkeypatch.setattr(huggingface_hub, "list_repo_files", fails)
    with pytest.raises(UserError):
        fetch("somebody/model", list)
    assert "Retrying" in caplog.text
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("read", [read_json, read_pickled, inception, lambda path: fetch(str(path), list)])
def test_a_pointer_is_named_wherever_weights_and_settings_are_read(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    (tmp_path / "file").write_bytes(POINTER)
    with pytest.raises(
        UserError, match="file is a pointer of Git LFS in place of the file: fetch the file by `git lfs"
    ):
        read(tmp_path / "file")


@pytest.mark.parametrize("file", ["vae/diffusion_pytorch_model.safetensors", "tokenizer/vocab.json"])
def test_a_pointer_is_named_in_every_part_of_a_pipeline(tmp_path: Path, file: str) -> None:
    folder = save_stable_diffusion(tmp_path / "sd")
    (folder / file).write_bytes(POINTER)
    pipeline_folder = StableDiffusionFolder.from_path(folder)
    with pytest.raises(UserError, match=f"{file} is a pointer of Git LFS"):
        pipeline_folder.vae() if file.startswith("vae") else pipeline_folder.tokenizer()


def test_an_image_that_was_not_fetched_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(POINTER)
    assert "git lfs pull" in str(unreadable_sample(str(tmp_path / "a.png"), "cannot identify image file"))
