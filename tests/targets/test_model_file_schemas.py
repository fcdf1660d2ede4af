"""What other people's JSON says is validated before it is used: file, field, value and what is allowed are told."""

import inspect
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DiTTransformer2DModel,
    FluxTransformer2DModel,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)
from pydantic import BaseModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, T5Config

from secmi_exp.errors import UserError
from secmi_exp.store import Store
from secmi_exp.targets.families.stable_diffusion import StableDiffusionFolder
from secmi_exp.targets.loading import json_fields, model_file_schemas
from secmi_exp.targets.loading.blank_networks import try_network
from secmi_exp.targets.loading.json_fields import JsonObject, checked
from secmi_exp.targets.loading.model_file_schemas import (
    Autoencoder,
    T5Encoder,
    TextEncoder,
    UNet2DCondition,
    VectorQuantizer,
)
from secmi_exp.targets.loading.scheduler_path import path_of_scheduler
from secmi_exp.targets.loading.settings_files import read_json
from secmi_exp.targets.loading.transformer_schemas import (
    DiTTransformer,
    FluxTransformer,
    PixArtTransformer,
    SD3Transformer,
)
from secmi_exp.targets.loading.weights import read_pickled
from secmi_exp.targets.pixel.secmi_checkpoint import SecMICheckpoint
from secmi_exp.testing import cpu_runtime, no_logger, prepare, random_images
from tests.support.authors_network import random_weights, save_checkpoint
from tests.support.diffusers_folders import change_json, pipeline, refusal, target
from tests.support.text_to_image import T_SEC, images, prepared, walked
from tests.support.tiny_pipelines import TOKENS, save_stable_diffusion, save_stable_diffusion_xl, unet
from tests.targets.hostile_model_files import FLAGS, INDEX, WEIGHTS, ours, save_in_parts, save_store_target

UNET, SCHEDULER = "unet/config.json", "scheduler/scheduler_config.json"
T_ALLOWED = "which must be a whole number from 1 to 100,000."
BETA_ALLOWED = "which must be a number from 0 to 1."


@pytest.mark.parametrize(
    ("file", "field", "value", "message"),
    [
        *(
            (SCHEDULER, "num_train_timesteps", value, f"{SCHEDULER} has num_train_timesteps={value!r}, {T_ALLOWED}")
            for value in (-1, 0, 10**9, 10**13, "1000", None, True)
        ),
        (SCHEDULER, "beta_start", -0.1, f"{SCHEDULER} has beta_start=-0.1, {BETA_ALLOWED}"),
        (SCHEDULER, "beta_end", 5, f"{SCHEDULER} has beta_end=5, {BETA_ALLOWED}"),
        (SCHEDULER, "beta_start", 0.5, f"{SCHEDULER} can't be used: its beta_start=0.5 is above its beta_end=0.02."),
        (SCHEDULER, "trained_betas", [0.1, float("nan")], f"{SCHEDULER} has trained_betas=[0.1, nan], which must be"),
        (SCHEDULER, "trained_betas", [0.1] * 10**6, f"{SCHEDULER} has trained_betas=[0.1, 0.1,"),
        (SCHEDULER, "trained_betas", [1.0, 0.5], "leaves no image at timestep 0: correct its betas."),
        (SCHEDULER, "trained_betas", [0.0, 0.0], "adds no noise at all: correct its betas."),
        (UNET, "layers_per_block", 10**6, f"{UNET} has layers_per_block=1000000, which must be a whole number from 1"),
        (UNET, "block_out_channels", [10**6, 8], f"{UNET} has block_out_channels=[1000000, 8], which must be 1 to 16"),
        (UNET, "block_out_channels", [], f"{UNET} has block_out_channels=[], which must be"),
        (UNET, "block_out_channels", [8, -16], f"{UNET} has block_out_channels=[8, -16], which must be"),
        (UNET, "attention_head_dim", 0, f"{UNET} has attention_head_dim=0, which must be"),
        (
            UNET,
            "sample_size",
            [8],
            f"{UNET} has sample_size=[8], which must be a whole number from 1 to 16,384, two of",
        ),
        (UNET, "sample_size", "8", f"{UNET} has sample_size='8', which must be"),
        (UNET, "norm_eps", None, f"{UNET} has norm_eps=None, which must be"),
        (UNET, "downsample_padding", 10**6, f"{UNET} has downsample_padding=1000000, which must be 0 or 1."),
        (UNET, "norm_num_groups", 5, "diffusers refuses the network in"),
        (UNET, "down_block_types", ["DownBlock2D", "EvilBlock"], "diffusers refuses the network in"),
        (UNET, "num_train_timesteps", 10**9, f"{UNET} has num_train_timesteps=1000000000, which must be"),
        (UNET, "dropout", "0", f"{UNET} has dropout='0', which must be a number from 0 to 1."),
        ("model_index.json", "_class_name", [], "model_index.json has _class_name=[], which must be"),
    ],
)
def test_values_that_no_model_can_have_are_refused_at_once(
    tmp_path: Path, file: str, field: str, value: object, message: str
) -> None:
    folder = pipeline(tmp_path / "theirs")
    change_json(folder / file, **{field: value})
    assert message in refusal(folder, tmp_path / "store", 3, 8, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block_out_channels": [4096, 8192]}, "contradict the config.json beside them: conv_in.weight has the shapes"),
        ({"layers_per_block": 20}, "contradict the config.json beside them: "),
        ({"layers_per_block": 64, "block_out_channels": [8] * 16}, "it describes a network of 1024 layers, where 256"),
    ],
)
def test_a_network_larger_than_its_weights_takes_no_memory(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = pipeline(tmp_path / "theirs")
    change_json(folder / UNET, **changes)
    started = time.process_time()
    assert message in refusal(folder, tmp_path / "store", 3, 8, 8)
    assert time.process_time() - started < 10


@pytest.mark.parametrize(("kernel", "fault"), [(3, None), (2, r"size of tensor|Sizes of tensors"), (5, None)])
def test_what_only_a_query_would_fail_at_is_told_before_any(kernel: int, fault: str | None) -> None:
    config = dict(unet(conv_in_kernel=kernel).config)
    if fault is None:
        try_network(UNet2DConditionModel, config, "the network")
    else:
        with pytest.raises(UserError, match=f"diffusers can't evaluate the network .*({fault})"):
            try_network(UNet2DConditionModel, config, "the network")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (
            {"weight_map": ["a"]},
            "has weight_map=['a'], which must be an object of names of weights with names of files",
        ),
        ({"weight_map": {"conv_in.bias": 7}}, "has weight_map={'conv_in.bias': 7}, which must be"),
        ({"weight_map": {"conv_in.bias": f"../unet/{WEIGHTS}"}}, "which must be an object of names of weights"),
        ({"weight_map": {"conv_in.bias": "/etc/passwd"}}, "which must be an object of names of weights"),
        ({"weight_map": {"conv_in.bias": ".."}}, "lists .., which isn't there"),
        ({}, "has no weight_map, which must be"),
    ],
)
def test_an_index_names_files_beside_it_and_nothing_else(
    tmp_path: Path, index: dict[str, object], message: str
) -> None:
    save_in_parts(tmp_path / "theirs")
    (tmp_path / "theirs/unet" / INDEX).write_text(json.dumps(index))
    assert message in refusal(tmp_path / "theirs", tmp_path / "store", 3, 8, 8)


@pytest.mark.parametrize("content", ['{"name": "mine"}', "[]", "", '{"key": {"version": 1e999}}', "[" * 10**5])
def test_a_manifest_that_is_none_of_ours_is_told(tmp_path: Path, content: str) -> None:
    save_store_target(tmp_path / "ours")
    (tmp_path / "ours/entry.json").write_text(content)
    with pytest.raises(UserError, match=r"ours is damaged \(entry.json can't be read, or is none\)"):
        prepare(ours(tmp_path / "ours"), tmp_path / "store", 3, 8, 8)


@pytest.mark.parametrize("place", [("seconds",), ("key", "version"), ("files", "samples.png", "bytes")])
def test_a_manifest_with_a_number_that_is_none_is_told(tmp_path: Path, place: tuple[str, ...]) -> None:
    save_store_target(tmp_path / "ours")
    content = json.loads((tmp_path / "ours/entry.json").read_text())
    inner = content
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = {"a": 1} if place == ("seconds",) else float("inf")
    (tmp_path / "ours/entry.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="ours is damaged"):
        prepare(ours(tmp_path / "ours"), tmp_path / "store", 3, 8, 8)


def test_weights_that_are_cut_off_are_told_by_the_manifest_first(tmp_path: Path) -> None:
    save_store_target(tmp_path / "ours")
    weights = tmp_path / "ours/unet" / WEIGHTS
    os.truncate(weights, weights.stat().st_size - 1)
    with pytest.raises(UserError, match=r"ours is damaged \(unet/.* bytes instead of"):
        prepare(ours(tmp_path / "ours"), tmp_path / "store", 3, 8, 8)


def test_what_dp_sgd_has_left_is_validated(tmp_path: Path) -> None:
    save_store_target(tmp_path / "ours")
    (tmp_path / "ours/entry.json").unlink()
    (tmp_path / "ours/privacy.json").write_text('{"steps": "many"}')
    with pytest.raises(UserError, match=r"privacy\.json has steps='many', which must be a whole number from 0 on"):
        prepare(ours(tmp_path / "ours"), tmp_path / "store", 3, 8, 8)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("img_size=1000000", "--img_size=1000000 of .* can't be used: input should be less than or equal to 16384"),
        ("T=1000000000", "--T=1000000000 of .* can't be used: input should be less than or equal to 100000"),
        ("num_res_blocks=1000000", "--num_res_blocks=1000000 of .* can't be used"),
        ("beta_T=5", "--beta_T=5 of .* can't be used: input should be less than 1"),
        ("ch=4096", "The weights contradict the flags"),
        ("T=" + "9" * 10**5, "--T=9999.* can't be used"),
    ],
)
def test_flags_are_bounded(tmp_path: Path, flag: str, message: str) -> None:
    path = save_checkpoint(tmp_path, FLAGS, ema_model=random_weights(FLAGS, 0))
    flags = path.with_name("flagfile.txt")
    flags.write_text(f"{flags.read_text()}--{flag}\n")
    with pytest.raises(UserError, match=message):
        prepare(SecMICheckpoint("theirs", path, "ema"), tmp_path / "store", 3, 8, 8)


def test_weights_that_are_spread_over_no_storage_are_refused(tmp_path: Path) -> None:
    """A file of a few bytes may hold a tensor of any shape, all of whose elements are one number."""
    weights = random_weights(FLAGS, 0)
    weights["head.weight"] = torch.zeros(1).expand(32, 3, 3, 3)
    path = save_checkpoint(tmp_path, FLAGS, ema_model=weights)
    with pytest.raises(UserError, match=r"head.weight has the shape \[1\] in the checkpoint"):
        prepare(SecMICheckpoint("theirs", path, "ema"), tmp_path / "store", 3, 8, 8)


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe": (lambda file: os.mkfifo(file), "it is a named pipe"),
    "a device": (lambda file: file.symlink_to("/dev/zero"), "it is a device"),
    "deep": (lambda file: file.write_text("[" * 10**5), "nested too deeply"),
    "long": (lambda file: file.write_text('{"a": ' + "9" * 10**5 + "}"), "digits"),
    "large": (lambda file: file.write_text('{"a": "' + "x" * 2**23 + '"}'), "8,388,608 at most are read"),
    "twice": (lambda file: file.write_text('{"a": 1, "a": 2}'), "'a' more than once"),
    "no UTF-8": (lambda file: file.write_bytes(b'{"a": "\xff"}'), "utf-8"),
    "a mark": (lambda file: file.write_bytes(b"\xef\xbb\xbf{}"), "BOM"),
}


@pytest.mark.parametrize("kind", FILES)
def test_settings_are_read_from_nothing_but_small_plain_json(tmp_path: Path, kind: str) -> None:
    make, message = FILES[kind]
    make(tmp_path / "config.json")
    with pytest.raises(UserError, match=r"config\.json can't be read \(") as refused:
        read_json(tmp_path / "config.json")
    assert message in str(refused.value)


def test_infinity_stays_where_diffusers_writes_it(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"lambda_min_clipped": -Infinity}')
    assert read_json(tmp_path / "c.json") == {"lambda_min_clipped": -np.inf}


def test_an_archive_that_would_grow_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "ckpt.pt", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", b"N" * 2**24)
    with pytest.raises(UserError, match="it would unpack to 16777216 bytes"):
        read_pickled(tmp_path / "ckpt.pt")


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pipelines")
    return {"sd": save_stable_diffusion(root / "sd"), "xl": save_stable_diffusion_xl(root / "xl")}


def copied(pipeline: Path, folder: Path, file: str, **changes: object) -> Path:
    shutil.copytree(pipeline, folder)
    change_json(folder / file, **changes)
    return folder


@pytest.mark.parametrize("limit", [None, int(1e30), 10**4])
def test_a_tokenizer_without_a_limit_of_its_own_has_that_of_the_text_encoder(
    pipelines: dict[str, Path], tmp_path: Path, limit: int | None
) -> None:
    folder = copied(pipelines["sd"], tmp_path / "sd", "tokenizer/tokenizer_config.json", model_max_length=limit)
    assert StableDiffusionFolder.from_path(folder).tokenizer().model_max_length == TOKENS
    if limit is None:
        expected = walked(pipelines["sd"], tmp_path / "store").t_error(T_SEC)
        np.testing.assert_array_equal(walked(folder, tmp_path / "other").t_error(T_SEC), expected)


@pytest.mark.parametrize(
    ("kind", "file", "changes", "message"),
    [
        ("sd", "tokenizer/tokenizer_config.json", {"model_max_length": -1}, "has model_max_length=-1, which must be"),
        ("sd", "vae/config.json", {"scaling_factor": 0}, "vae/config.json has scaling_factor=0, which must be"),
        ("sd", "vae/config.json", {"latents_mean": [0.0]}, "its latents_mean has 1 numbers for latent_channels=4"),
        ("sd", "vae/config.json", {"block_out_channels": None}, "has block_out_channels=None, which must be"),
        ("sd", "text_encoder/config.json", {"num_labels": 10**9}, "has num_labels=1000000000, which must be"),
        (
            "sd",
            "text_encoder/config.json",
            {"attn_implementation": "evil/kernel"},
            "as any other could be fetched code",
        ),
        (
            "sd",
            "text_encoder/config.json",
            {"max_position_embeddings": 10**9},
            "has max_position_embeddings=1000000000",
        ),
        ("sd", "text_encoder/config.json", {"vocab_size": 100}, "which must be|contradict|The tokenizer in"),
        ("sd", "text_encoder/config.json", {"hidden_size": 4096}, "and the text encoders give 4096"),
        ("sd", "unet/config.json", {"transformer_layers_per_block": 10**6}, "has transformer_layers_per_block=1000000"),
        ("sd", "unet/config.json", {"num_class_embeds": 7}, "needs more than a text to predict noise"),
        ("sd", "scheduler/scheduler_config.json", {"num_train_timesteps": 10**13}, T_ALLOWED),
        ("xl", "unet/config.json", {"addition_time_embed_dim": 5}, "takes 2 numbers of each whole text, and the text"),
        ("xl", "text_encoder_2/config.json", {"projection_dim": 9}, "and the text encoders give 9"),
    ],
)
def test_the_parts_of_a_pipeline_are_validated_before_anything_is_encoded(
    pipelines: dict[str, Path], tmp_path: Path, kind: str, file: str, changes: dict[str, Any], message: str
) -> None:
    folder = copied(pipelines[kind], tmp_path / "changed", file, **changes)
    with pytest.raises(UserError, match=message):
        prepared(folder, tmp_path / "store").inputs(images(), Store(tmp_path / "store"), cpu_runtime()).arrays()
    assert not [*(tmp_path / "store").glob("posteriors/*"), *(tmp_path / "store").glob("embeddings/*")]


def test_an_old_autoencoder_has_the_scaling_factor_of_its_library(pipelines: dict[str, Path], tmp_path: Path) -> None:
    """The first pipelines of Stable Diffusion were published before there was such a field."""
    folder = copied(pipelines["sd"], tmp_path / "sd", "vae/config.json")
    content = json.loads((folder / "vae/config.json").read_text())
    del content["scaling_factor"]
    (folder / "vae/config.json").write_text(json.dumps(content))
    found = StableDiffusionFolder.from_path(folder)
    assert found.scaling == ([0.0] * 4, [0.18215] * 4)
    assert found.assumed_scaling == {"scaling": found.scaling}
    assert StableDiffusionFolder.from_path(pipelines["sd"]).assumed_scaling == {}


def test_defaults_are_those_of_the_libraries() -> None:
    for schema, kind in ((Autoencoder, AutoencoderKL), (UNet2DCondition, UNet2DConditionModel)):
        theirs = inspect.signature(kind.__init__).parameters
        assert {*theirs} - {"self"} == {*schema.model_fields}
        for name in (
            "in_channels",
            "out_channels",
            "latent_channels",
            "scaling_factor",
            "shift_factor",
            "cross_attention_dim",
        ):
            if name in schema.model_fields:
                assert schema.model_fields[name].default == theirs[name].default, name
    text = CLIPTextConfig()
    for name in ("hidden_size", "projection_dim", "max_position_embeddings", "vocab_size"):
        assert TextEncoder.model_fields[name].default == getattr(text, name)
    assert {*inspect.signature(UNet2DModel.__init__).parameters} - {"self"} == {*model_file_schemas.UNet2D.model_fields}


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        (DiTTransformer, DiTTransformer2DModel),
        (FluxTransformer, FluxTransformer2DModel),
        (PixArtTransformer, PixArtTransformer2DModel),
        (SD3Transformer, SD3Transformer2DModel),
    ],
)
def test_defaults_of_transformers_are_those_of_the_library(schema: type[JsonObject], kind: type) -> None:
    theirs = dict(inspect.signature(kind.__init__).parameters)  # type: ignore[misc]
    del theirs["self"]
    ours = {name: field.default for name, field in schema.model_fields.items()}
    assert ours == {
        name: list(each.default) if isinstance(each.default, tuple) else each.default for name, each in theirs.items()
    }


def test_defaults_of_t5_and_quantizers_are_those_of_the_libraries() -> None:
    text = T5Config()
    for name in ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads", "relative_attention_num_buckets"):
        assert T5Encoder.model_fields[name].default == getattr(text, name)
    theirs = inspect.signature(VQModel.__init__).parameters
    for name in ("latent_channels", "num_vq_embeddings", "vq_embed_dim", "norm_num_groups"):
        assert VectorQuantizer.model_fields[name].default == theirs[name].default


def test_every_field_says_what_it_must_be() -> None:
    schemas = [
        each for each in vars(model_file_schemas).values() if isinstance(each, type) and issubclass(each, BaseModel)
    ]
    assert len(schemas) > 10
    for schema in schemas:
        for name, field in schema.model_fields.items():
            assert field.description, (schema, name)


def test_values_are_used_as_the_file_has_them() -> None:
    class Given(JsonObject):
        scale: json_fields.Number = 0

    content = {"scale": 1, "more": {"a": [1, None]}}
    assert checked(Given, content, "f").scale == 1
    assert content == {"scale": 1, "more": {"a": [1, None]}}
    path = path_of_scheduler({"_class_name": "DDPMScheduler", "num_train_timesteps": 300})
    assert len(path) == 300


def test_weights_of_another_kind_of_number_are_still_read(tmp_path: Path) -> None:
    folder = pipeline(tmp_path / "theirs")
    weights = {name: value.half() for name, value in load_file(folder / "unet" / WEIGHTS).items()}
    save_file(weights, folder / "unet" / WEIGHTS, metadata={"format": "pt"})
    ready = target(folder).prepare(random_images(2, (3, 8, 8)), Store(tmp_path / "store"), cpu_runtime(), no_logger)
    assert ready.load().network.dtype == torch.float32
