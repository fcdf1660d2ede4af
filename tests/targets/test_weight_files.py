"""Several files with weights of one network: which is read, what is told of the others, and what is fetched of them."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from secmi_exp.errors import UserError
from secmi_exp.run_warnings import RunWarning, collect_warnings
from secmi_exp.targets.families.stable_diffusion import StableDiffusionFolder
from secmi_exp.targets.loading.model_folder import ModelFolder
from secmi_exp.targets.loading.weight_files import choose_weights, network_files
from secmi_exp.targets.text_to_image.pipeline_folder import pipeline_files
from secmi_exp.targets.text_to_image.prompts import blip_files
from secmi_exp.testing import prepare
from tests.support.diffusers_folders import BIN, SAFETENSORS, network, pipeline, refusal, target
from tests.support.hostile_files import POINTER, is_empty
from tests.support.text_to_image import stable_diffusion
from tests.support.tiny_pipelines import save_blip, save_stable_diffusion

FP16, NON_EMA = "diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.non_ema.safetensors"
SD15_UNET = [
    "config.json", BIN, "diffusion_pytorch_model.fp16.bin", FP16, "diffusion_pytorch_model.non_ema.bin", NON_EMA,
    SAFETENSORS,
]  # fmt: skip
"""What lies in unet/ of Stable Diffusion v1-5 on the hub."""


def other(folder: Path, name: str) -> None:
    """Other weights of the same network under another name."""
    weights = {key: value + 1 for key, value in load_file(folder / "unet" / SAFETENSORS).items()}
    if name.endswith(".bin"):
        torch.save(weights, folder / "unet" / name)
    else:
        save_file(weights, folder / "unet" / name, metadata={"format": "pt"})


def shards(folder: Path, variant: str | None = None) -> None:
    """The same network in parts, beside whatever is there; told apart by its bias."""
    model = network()
    with torch.no_grad():
        model.conv_in.bias.add_(1)
    model.save_pretrained(folder / "unet", max_shard_size="20KB", variant=variant)


def rename(folder: Path, *names: str) -> None:
    weights = folder / "unet" / SAFETENSORS
    for name in names:
        shutil.copy(weights, weights.with_name(name))
    weights.unlink()


def read(folder: Path, variant: str | None, store: Path) -> tuple[float, list[RunWarning]]:
    """How far the first bias that is read is from that of `network`, and what is told."""
    with collect_warnings() as warnings:
        predictor = prepare(target(folder, variant=variant), store, 3, 8, 8).load()
    assert predictor.network.dtype == torch.float32
    difference = predictor.network.conv_in.bias - network().conv_in.bias
    return round(difference.mean().item(), 2), warnings


@pytest.mark.parametrize(
    ("change", "variant", "off", "told"),
    [
        (lambda folder: other(folder, FP16), None, 0, f"unet/{SAFETENSORS} beside {FP16}"),
        (lambda folder: other(folder, FP16), "fp16", 1, None),
        (lambda folder: other(folder, BIN), None, 0, f"unet/{SAFETENSORS} beside {BIN}"),
        (lambda folder: (other(folder, NON_EMA), other(folder, FP16)), "non_ema", 1, None),
        (lambda folder: shards(folder), None, 1, f"unet/{SAFETENSORS}.index.json beside {SAFETENSORS}"),
        (lambda folder: shards(folder, "fp16"), "fp16", 1, None),
        (lambda folder: rename(folder, FP16), None, 0, f"the only variant is read (unet/{FP16})"),
        (lambda folder: rename(folder, FP16), "fp16", 0, None),
        (
            lambda folder: (other(folder, "diffusion_pytorch_model.fp16.bin"), other(folder, FP16)),
            "fp16",
            1,
            f"unet/{FP16} beside diffusion_pytorch_model.fp16.bin",
        ),
    ],
)
def test_what_is_read_is_told_where_there_was_a_choice(
    tmp_path: Path, change: Callable[[Path], object], variant: str | None, off: int, told: str | None
) -> None:
    folder = pipeline(tmp_path / "theirs")
    change(folder)
    difference, warnings = read(folder, variant, tmp_path / "store")
    assert difference == off
    assert [told in warning.sentence for warning in warnings if told] == ([True] if told else [])
    assert len(warnings) == (told is not None)


@pytest.mark.parametrize(
    ("change", "variant", "message"),
    [
        (
            lambda folder: rename(folder, FP16, NON_EMA),
            None,
            "in the variants fp16, non_ema alone: set target.variant to the one that is meant",
        ),
        (lambda folder: other(folder, FP16), "bf16", "has no weights of the variant bf16; its variants are: fp16."),
        (lambda folder: None, "fp16", "has no weights of the variant fp16; its variants are: none at all."),
        (
            lambda folder: (folder / "unet" / f"{SAFETENSORS}.index.json").write_text('{"weight_map": {"a": "part"}}'),
            None,
            "lists part, which isn't there: add it, or remove the index",
        ),
        (lambda folder: (folder / "unet" / SAFETENSORS).write_bytes(POINTER), None, "is a pointer of Git LFS in place"),
        (
            lambda folder: (folder / "unet/config.json").write_bytes(POINTER),
            None,
            "config.json is a pointer of Git LFS",
        ),
    ],
)
def test_what_is_not_clear_or_not_there_is_refused(
    tmp_path: Path, change: Callable[[Path], object], variant: str | None, message: str
) -> None:
    folder = pipeline(tmp_path / "theirs")
    change(folder)
    with pytest.raises(UserError) as refused:
        prepare(target(folder, variant=variant), tmp_path / "store", 3, 8, 8).load()
    assert message in str(refused.value)


def test_a_variant_is_another_target(tmp_path: Path) -> None:
    folder = pipeline(tmp_path / "theirs")
    other(folder, FP16)
    plain, rounded = (prepare(target(folder, variant=name), tmp_path / "store", 3, 8, 8) for name in (None, "fp16"))
    assert plain.digest != rounded.digest


@pytest.fixture
def rounded(tmp_path: Path) -> Path:
    """A text-to-image pipeline as `variant="fp16"` fetches it, its text encoder in parts."""
    folder = save_stable_diffusion(tmp_path / "sd")
    for part in ("unet", "vae"):
        weights = folder / part / SAFETENSORS
        save_file({name: value.half() for name, value in load_file(weights).items()}, folder / part / FP16)
        weights.unlink()
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder")
    shutil.rmtree(folder / "text_encoder")
    encoder.half().save_pretrained(folder / "text_encoder", variant="fp16", max_shard_size="5KB")
    return folder


def test_all_parts_of_a_pipeline_are_read_as_variants_and_in_full_precision(rounded: Path) -> None:
    folder = StableDiffusionFolder.from_path(rounded)
    with collect_warnings() as warnings:
        folder.warn_of_choices()
    assert [warning.code for warning in warnings] == ["weights_variant"]
    assert all(part in warnings[0].sentence for part in ("vae/", "unet/", "text_encoder/"))
    assert {folder.load_denoiser().dtype, folder.vae().dtype, folder.pipeline().text_encoder.dtype} == {torch.float32}
    chosen = dataclasses.replace(folder, variant="fp16")
    with collect_warnings() as none:
        chosen.warn_of_choices()
    assert (none, chosen.key("noise", "unet")) == ([], folder.key("noise", "unet"))


def test_a_variant_of_the_unet_alone_leaves_the_other_parts_as_they_are(tmp_path: Path) -> None:
    folder = save_stable_diffusion(tmp_path / "sd")
    shutil.copy(folder / "unet" / SAFETENSORS, folder / "unet" / NON_EMA)
    made = stable_diffusion(folder, variant="non_ema").folder
    read = [model.present_weights().name for model in (made.model("unet"), made.model("vae"))]
    assert read == [NON_EMA, SAFETENSORS]


def test_a_copy_has_the_names_that_are_read_by_default(rounded: Path, tmp_path: Path) -> None:
    parts: list[tuple[str, Literal["diffusers", "transformers"]]] = [
        ("vae", "diffusers"), ("text_encoder", "transformers")
    ]  # fmt: skip
    for part, library in parts:
        model = ModelFolder(rounded / part, library)
        model.copy(tmp_path / part)
        copied = ModelFolder(tmp_path / part, library)
        assert copied.chosen is not None
        assert copied.chosen.save.variant is None
    assert CLIPTextModel.from_pretrained(tmp_path / "text_encoder", dtype="auto").dtype == torch.float16


SD_FILES = [
    "README.md", "model_index.json", "v1-5-pruned.ckpt", "v1-5-pruned.safetensors", "scheduler/scheduler_config.json",
    *(f"unet/{name}" for name in SD15_UNET), *(f"vae/{name}" for name in SD15_UNET if "non_ema" not in name),
    *(f"text_encoder/{name}" for name in (
        "config.json", "model.fp16.safetensors", "model.safetensors", "pytorch_model.bin", "pytorch_model.fp16.bin",
    )),
    "tokenizer/merges.txt", "tokenizer/vocab.json", "safety_checker/model.safetensors", "safety_checker/config.json",
]  # fmt: skip


@pytest.mark.parametrize(
    ("variant", "unet", "vae", "text_encoder"),
    [
        (None, SAFETENSORS, SAFETENSORS, "model.safetensors"),
        ("fp16", FP16, FP16, "model.fp16.safetensors"),
        ("non_ema", NON_EMA, SAFETENSORS, "model.safetensors"),
    ],
)
def test_of_a_repository_only_what_is_read_is_fetched(
    variant: str | None, unet: str, vae: str, text_encoder: str
) -> None:
    assert pipeline_files(SD_FILES, "auto", variant, "somebody/model") == sorted([
        "model_index.json", "scheduler/scheduler_config.json", "tokenizer/merges.txt", "tokenizer/vocab.json",
        "unet/config.json", f"unet/{unet}", "vae/config.json", f"vae/{vae}", "text_encoder/config.json",
        f"text_encoder/{text_encoder}",
    ])  # fmt: skip


def test_of_a_save_in_parts_all_are_fetched() -> None:
    parts = [f"diffusion_pytorch_model.fp16-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = "diffusion_pytorch_model.safetensors.index.fp16.json"
    names = [f"unet/{name}" for name in ("config.json", index, *parts, SAFETENSORS)]
    assert network_files(names, "unet", "diffusers", "fp16", "x") == [
        "unet/config.json", f"unet/{index}", *(f"unet/{part}" for part in parts),
    ]  # fmt: skip
    assert network_files(names, "unet", "diffusers", None, "x") == ["unet/config.json", f"unet/{SAFETENSORS}"]


def test_each_library_has_its_own_order_of_one_file_and_parts() -> None:
    """What is chosen is what `from_pretrained` reads."""
    names = ["model.safetensors", "model.safetensors.index.json", "model-00001-of-00001.safetensors"]
    chosen = choose_weights(names, "transformers", None, "x")
    assert chosen is not None
    assert (chosen.save.first, chosen.others) == ("model.safetensors", ("model.safetensors.index.json",))
    names = [name.replace("model", "diffusion_pytorch_model") for name in names]
    chosen = choose_weights(names, "diffusers", None, "x")
    assert chosen is not None
    assert chosen.save.first == "diffusion_pytorch_model.safetensors.index.json"


class Hub:
    """Stands in for the hub's client, and notes what it was asked for."""

    def __init__(self, names: list[str], folder: Path):
        self.names, self.folder = names, folder
        self.asked: list[str] = []

    def list_repo_files(self, repository: str) -> list[str]:
        if not self.names:
            raise ConnectionError("the hub can't be reached")
        return self.names

    def snapshot_download(
        self, repository: str, allow_patterns: list[str] | None = None, local_files_only: bool = False
    ) -> str:
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("nothing was fetched before")
        self.asked = sorted(allow_patterns or [])
        return str(self.folder)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], Hub]:
    def made(names: list[str]) -> Hub:
        hub = Hub(names, tmp_path / "snapshot")
        monkeypatch.setattr(huggingface_hub, "list_repo_files", hub.list_repo_files)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
        return hub

    return made


def test_an_unconditional_model_is_fetched_by_exact_names(tmp_path: Path, hub: Callable[[list[str]], Hub]) -> None:
    pipeline(tmp_path / "snapshot")
    client = hub(["model_index.json", *(f"unet/{name}" for name in SD15_UNET), "scheduler/scheduler_config.json"])
    prepare(target("somebody/model"), tmp_path / "store", 3, 8, 8)
    assert client.asked == [
        "model_index.json", "scheduler/scheduler_config.json", "unet/config.json", f"unet/{SAFETENSORS}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["unet/config.json", f"unet/{FP16}", f"unet/{NON_EMA}"],
            "somebody/model/unet holds the weights in the variants",
        ),
        (["v1-5-pruned.safetensors"], "holds no model in diffusers' layout, but v1-5-pruned.safetensors: fetch and"),
        ([], "can't be fetched from the hub (the hub can't be reached)"),
    ],
)
def test_nothing_is_fetched_of_a_repository_that_cannot_be_attacked(
    tmp_path: Path, hub: Callable[[list[str]], Hub], names: list[str], message: str
) -> None:
    client = hub(names)
    assert message in refusal("somebody/model", tmp_path / "store", 3, 8, 8)
    assert client.asked == []
    assert is_empty(tmp_path / "store")


def test_of_blip_one_copy_of_the_weights_is_fetched(tmp_path: Path) -> None:
    names = [file.name for file in save_blip(tmp_path / "blip").iterdir()]
    beside = ["README.md", "pytorch_model.bin", "tf_model.h5", "model.fp16.safetensors"]
    assert blip_files([*names, *beside]) == sorted(names)
