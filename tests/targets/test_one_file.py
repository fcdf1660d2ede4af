"""Stable Diffusion in one file: the pipeline that it was written from, or one sentence and an empty store."""

import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import torch
from diffusers.loaders.single_file_utils import DIFFUSERS_DEFAULT_PIPELINE_PATHS
from torch import Tensor

from secmi_exp.data.images import Images
from secmi_exp.errors import UserError
from secmi_exp.run_warnings import collect_warnings
from secmi_exp.targets.families.stable_diffusion import StableDiffusionFolder
from secmi_exp.targets.text_to_image.one_file_format import FAMILIES
from tests.support.hostile_files import Opens, is_empty
from tests.support.one_file_checkpoints import Family, original_weights, save, save_pipeline, with_averages
from tests.support.text_to_image import CAPTIONS, PIXELS, prepared, stable_diffusion
from tests.support.tiny_pipelines import edited

Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A pipeline of each version."""
    folder = tmp_path_factory.mktemp("pipelines")
    return {family: save_pipeline(folder / family, family) for family in get_args(Family)}


@pytest.fixture(scope="module")
def weights(pipelines: dict[str, Path]) -> Weights:
    """Those of version 1.x in one file."""
    return original_weights(pipelines["1.x"], "1.x")


def descriptions(pipeline: Path, folder: Path) -> Path:
    """A copy of a pipeline without its weights."""
    return shutil.copytree(pipeline, folder, ignore=shutil.ignore_patterns("*.safetensors"))


def parts(folder: StableDiffusionFolder) -> dict[str, Any]:
    loaded = folder.pipeline(unet=folder.load_denoiser(), vae=folder.vae())
    return {name: part for name, part in loaded.components.items() if isinstance(part, torch.nn.Module)}


@pytest.mark.parametrize(("family", "ending"), [("1.x", "ckpt"), ("2.x", "safetensors"), ("XL", "safetensors")])
def test_one_file_is_the_pipeline_that_it_was_written_from(
    tmp_path: Path, pipelines: dict[str, Path], family: Family, ending: str
) -> None:
    file = save(original_weights(pipelines[family], family), tmp_path / f"model.{ending}")
    config = descriptions(pipelines[family], tmp_path / "config")
    target = prepared(file, tmp_path / "store", config=str(config))
    ours, theirs = (
        parts(StableDiffusionFolder.from_path(target.folder)),
        parts(StableDiffusionFolder.from_path(pipelines[family])),
    )
    assert ours.keys() == theirs.keys()
    assert len(ours) >= 3
    for name, part in theirs.items():
        found = ours[name].state_dict()
        for weight, value in part.state_dict().items():
            assert torch.equal(found[weight], value), (name, weight)
    again = prepared(file, tmp_path / "store", config=str(config))
    assert (again.folder, again.digest) == (target.folder, target.digest)
    assert len(list((tmp_path / "store/target").iterdir())) == 1
    prediction = StableDiffusionFolder.from_path(target.folder).diffusion_path.prediction
    assert prediction == ("v_prediction" if family == "2.x" else "epsilon")


def test_averaged_weights_are_read_where_they_are_and_the_last_ones_on_demand(
    tmp_path: Path, pipelines: dict[str, Path], weights: Weights
) -> None:
    both, one = save(with_averages(weights), tmp_path / "both.ckpt"), save(weights, tmp_path / "one.safetensors")

    def first_bias(file: Path, choice: str) -> tuple[float, list[str]]:
        with collect_warnings() as warnings:
            target = prepared(file, tmp_path / "store", config=str(pipelines["1.x"]), weights=choice)
        bias = StableDiffusionFolder.from_path(target.folder).load_denoiser().conv_in.bias[0].item()
        return bias, [warning.code for warning in warnings]

    (averaged, chosen), (last, none) = first_bias(both, "auto"), first_bias(both, "net")
    assert last == pytest.approx(averaged + 1)
    assert (chosen, none) == (["weights_chosen"], [])
    assert first_bias(both, "ema") == (averaged, [])
    with pytest.raises(UserError, match=r"one.safetensors holds no averaged weights .*target.weights=auto"):
        prepared(one, tmp_path / "store", config=str(pipelines["1.x"]), weights="ema")


def test_without_a_configuration_that_of_the_hub_is_assumed_and_said(
    tmp_path: Path, pipelines: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = save(original_weights(pipelines["2.x"], "2.x"), tmp_path / "model.safetensors")
    fetched = []

    def snapshot(repository: str, allow_patterns: list[str]) -> str:
        fetched.append((repository, allow_patterns))
        return str(pipelines["2.x"])

    names = [path.relative_to(pipelines["2.x"]).as_posix() for path in pipelines["2.x"].rglob("*") if path.is_file()]
    monkeypatch.setattr("huggingface_hub.list_repo_files", lambda repository: names)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    with collect_warnings() as warnings:
        prepared(file, tmp_path / "store")
    ((repository, read),) = fetched
    assert repository == "stabilityai/stable-diffusion-2-1"
    assert {Path(name).suffix for name in read} == {".json", ".txt"}
    assert "unet/config.json" in read
    (warning,) = warnings
    assert warning.code == "configuration_assumed"
    assert "prediction_type=v_prediction" in warning.sentence


def test_the_configurations_are_those_that_diffusers_takes() -> None:
    names = {"Stable Diffusion 1.x": "v1", "Stable Diffusion 2.x": "v2", "Stable Diffusion XL": "xl_base"}
    for family in FAMILIES:
        assert (
            family.repository == DIFFUSERS_DEFAULT_PIPELINE_PATHS[names[family.name]]["pretrained_model_name_or_path"]
        )


def test_weights_in_half_precision_are_said_and_the_rest_of_a_trainers_checkpoint_is_left_out(
    tmp_path: Path, pipelines: dict[str, Path], weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    callback = type("ModelCheckpoint", (), {"__module__": trainer.__name__})
    trainer.ModelCheckpoint = callback  # type: ignore[attr-defined]
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    with monkeypatch.context() as saving:
        saving.setitem(sys.modules, trainer.__name__, trainer)
        torch.save({"callbacks": {callback: {"best": 1.0}}, "state_dict": half}, tmp_path / "model.ckpt")
    with collect_warnings() as warnings:
        target = prepared(tmp_path / "model.ckpt", tmp_path / "store", config=str(pipelines["1.x"]))
    assert [warning.code for warning in warnings] == ["weights_rounded"]
    assert "float16" in warnings[0].sentence
    loaded = StableDiffusionFolder.from_path(target.folder).load_denoiser()
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded.conv_in.bias.half(), half["model.diffusion_model.input_blocks.0.0.bias"])


def refusal(file: Path, store: Path, **settings: Any) -> str:
    """The one sentence, after which the store is empty."""
    with pytest.raises(UserError) as refused:
        prepared(file, store, **settings)
    assert is_empty(store)
    (sentence,) = str(refused.value).splitlines()
    return sentence


FIRST, SECOND = "model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.encoder.conv_in.bias"


def without(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name: tensor for name, tensor in weights.items() if not name.startswith(prefix)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("cond_stage_model."), "holds a U-Net without the text encoders of Stable Diffusion 1.x, 2.x or XL"),
        (without("first_stage_model."), r"weights of the vae in .*model.safetensors \(first_stage_model.…\) contradict "
         r".*vae/config.json: (\d+) of \1 tensors are missing \(encoder.conv_in.weight\); set target.config"),
        (without(SECOND), r"vae.*: 1 of \d+ tensors is missing \(encoder.conv_in.bias\)"),
        (lambda weights: weights | {f"{FIRST}s": torch.zeros(1)},
         r"unet .*contradict .*: they are (\d+) tensors in place of (?!\1)\d+\."),
        (lambda weights: weights | {FIRST: torch.zeros(8, 9, 3, 3)}, "takes 9 channels in place of 4"),
        (lambda weights: weights | {FIRST: torch.zeros(7, 4, 3, 3)},
         r"1 is of another shape \(conv_in.weight: \[7, 4, 3, 3\] in place of \[8, 4, 3, 3\]\)"),
        (lambda weights: weights | {SECOND: torch.full((8,), torch.nan)}, "holds 8 weights that are NaN or infinite"),
        (lambda weights: weights | {SECOND: torch.zeros(8, dtype=torch.float8_e4m3fn)}, "float8.* isn't quantized"),
        (lambda weights: weights | {"v_pred": torch.zeros(0)}, "says that it predicts v, and .*=epsilon: set target.c"),
    ],
)  # fmt: skip
def test_weights_that_are_not_those_of_the_configuration_are_counted_and_named(
    tmp_path: Path, pipelines: dict[str, Path], weights: Weights, change: Callable[[Weights], Weights], message: str
) -> None:
    file = save(change(weights), tmp_path / "model.safetensors")
    assert re.search(message, refusal(file, tmp_path / "store", config=str(pipelines["1.x"])))


def test_a_configuration_of_another_kind_or_of_smaller_networks_is_refused(
    tmp_path: Path, pipelines: dict[str, Path], weights: Weights
) -> None:
    file = save(weights, tmp_path / "model.safetensors")
    other = refusal(file, tmp_path / "store", config=str(pipelines["XL"]))
    assert "is a StableDiffusionXLPipeline, and" in other
    assert "is a checkpoint of Stable Diffusion 1.x: set" in other
    smaller = descriptions(pipelines["1.x"], tmp_path / "smaller")
    edited(smaller / "text_encoder/config.json", num_hidden_layers=1)
    assert re.search(r"text_encoder.*16 are superfluous", refusal(file, tmp_path / "store", config=str(smaller)))
    edited(smaller / "unet/config.json", layers_per_block=10**6)
    assert "layers_per_block=1000000" in refusal(file, tmp_path / "store", config=str(smaller))
    assert "target.config=nowhere/at/all" not in refusal(file, tmp_path / "store", config="nowhere/at/all")
    folder = refusal(pipelines["1.x"], tmp_path / "store", config=str(smaller))
    assert "completes a checkpoint of Stable Diffusion in one file, and" in folder


def test_without_a_network_the_missing_configuration_is_said(
    tmp_path: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*arguments: Any, **keywords: Any) -> None:
        raise FileNotFoundError("no network")

    monkeypatch.setattr("huggingface_hub.list_repo_files", offline)
    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    sentence = refusal(save(weights, tmp_path / "model.safetensors"), tmp_path / "store")
    assert "is a checkpoint of Stable Diffusion 1.x, whose configuration and tokenizer would come from" in sentence
    assert "set target.config to the folder of a pipeline of this kind" in sentence


def test_a_checkpoint_that_would_execute_code_or_claims_memory_is_refused(
    tmp_path: Path, pipelines: dict[str, Path], weights: Weights
) -> None:
    file = tmp_path / "model.ckpt"
    torch.save({"state_dict": weights | {"more": Opens(tmp_path / "opened")}}, file)
    assert "could execute code" in refusal(file, tmp_path / "store", config=str(pipelines["1.x"]))
    assert not (tmp_path / "opened").exists()
    torch.save({"state_dict": weights | {SECOND: torch.zeros(1).expand(10**12)}}, file)
    assert re.search(
        r"encoder.conv_in.bias: \[1\] in pl", refusal(file, tmp_path / "store", config=str(pipelines["1.x"]))
    )


def test_images_that_the_autoencoder_does_not_take_are_refused_before_the_conversion(
    tmp_path: Path, pipelines: dict[str, Path], weights: Weights
) -> None:
    file = save(weights, tmp_path / "model.safetensors")
    grey = replace(Images.from_pixels(PIXELS[:, :1]), captions=CAPTIONS)
    with pytest.raises(UserError, match="takes images of 3 channels"):
        prepared(file, tmp_path / "store", grey, config=str(pipelines["1.x"]))
    assert is_empty(tmp_path / "store")
    assert stable_diffusion(file, config=str(pipelines["1.x"])).timesteps.count == 1000
