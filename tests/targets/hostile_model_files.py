"""Models as strangers might publish them: every format that targets are read from, and what can be wrong in each file.

`hostile_cases` lists them; `attack` does with a folder what a run does: it prepares the target and attacks it.
"""

import json
import os
import random
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler
from safetensors.torch import load_file, save_file

from secmi_exp.attacks.finite_values import refuse_non_finite_values
from secmi_exp.attacks.scorers.column import Column
from secmi_exp.attacks.secmi import SecMI
from secmi_exp.data.images import Images
from secmi_exp.defenses.defense import Undefended
from secmi_exp.store import Key, Store, write_json
from secmi_exp.targets.interface import Target
from secmi_exp.targets.noise_schedule import NoiseSchedule
from secmi_exp.targets.pixel.adm_checkpoint import ADMCheckpoint
from secmi_exp.targets.pixel.adm_format import ADMFlags
from secmi_exp.targets.pixel.authors_format import Flags
from secmi_exp.targets.pixel.ddpm import DDPM
from secmi_exp.targets.pixel.secmi_checkpoint import SecMICheckpoint
from secmi_exp.testing import cpu_runtime, no_logger, random_images
from tests.support.adm_network import random_weights as adm_weights
from tests.support.authors_network import random_weights, save_checkpoint
from tests.support.diffusers_folders import network, pipeline, target
from tests.support.families import any_pipeline
from tests.support.hostile_files import POINTER, Opens
from tests.support.one_file_checkpoints import original_weights, save
from tests.support.text_to_image import stable_diffusion
from tests.support.tiny_families import save_dit, save_flux, save_ldm, save_pixart, save_sd3
from tests.support.tiny_pipelines import SIDE, save_blip, save_stable_diffusion, save_stable_diffusion_xl

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads would be missing in a fork

FLAGS = Flags(T=50, ch=32, ch_mult=(1, 2), attn=(1,), num_res_blocks=1, img_size=8)
ADM_FLAGS = ADMFlags(
    image_size=8,
    num_channels=32,
    num_res_blocks=1,
    num_head_channels=16,
    channel_mult=(1, 2),
    attention_resolutions=(4,),
)
WEIGHTS = "diffusion_pytorch_model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
CAPTIONS = ["a seven", "a caption of more than sixteen bytes"]


@dataclass(frozen=True)
class Format:
    """One layout that models are read in."""

    save: Callable[[Path], None]
    """Into a folder."""
    target: Callable[[Path], Target]
    """Of that folder."""
    described_by: tuple[str, ...]
    """JSON in it."""
    weights: tuple[str, ...] = ()
    size: tuple[int, int, int] = (3, 8, 8)
    """Of the images."""


def save_store_target(folder: Path) -> None:
    def build(workspace: Path) -> None:
        pipeline(workspace)
        (workspace / "samples.png").write_bytes(b"a picture")
        write_json(workspace / "privacy.json", {"steps": 3, "planned_steps": 9, "max_epsilon": 8.0, "epsilon": 7.9})

    entry = Store(folder / "store").get_or_build(
        Key("target", 2, {"batch_size": 4}, {"members": "0" * 32}, ("unet/*",)), build
    )
    for file in entry.path.iterdir():
        file.rename(folder / file.name)
    shutil.rmtree(folder / "store")


def _run(folder: Path) -> None:
    save_store_target(folder / "target")
    (folder / "results.json").write_text(json.dumps({"schema": 1, "target_folder": "target"}))


def _training(folder: Path) -> None:
    DDPMPipeline(unet=network(), scheduler=DDPMScheduler(300)).save_pretrained(folder)
    for name in ("unet", "unet_ema"):
        network().save_pretrained(folder / "checkpoint-500" / name)
    for name in ("optimizer.bin", "scheduler.bin", "random_states_0.pkl"):
        (folder / "checkpoint-500" / name).write_bytes(b"of accelerate")


def save_in_parts(folder: Path) -> None:
    pipeline(folder)
    (folder / "unet" / WEIGHTS).unlink()
    network().save_pretrained(folder / "unet", max_shard_size="20KB")


def _authors(folder: Path) -> None:
    save_checkpoint(folder, FLAGS, ema_model=random_weights(FLAGS, 0), net_model=random_weights(FLAGS, 1))


def _one_file(folder: Path, name: str) -> None:
    save(original_weights(save_stable_diffusion(folder / "config"), "1.x"), folder / name)
    for file in folder.rglob("config/*/*.safetensors"):
        file.unlink()


def _adapted(folder: Path) -> None:
    save_stable_diffusion(folder / "sd")
    place = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    matrices = {f"{place}.lora_down.weight": torch.ones(2, 8), f"{place}.lora_up.weight": torch.ones(8, 2)}
    save_file(matrices | {f"{place}.alpha": torch.ones(())}, folder / "lora.safetensors")


def _captioned_by_blip(folder: Path) -> None:
    save_stable_diffusion(folder / "sd")
    save_blip(folder / "blip")


def ours(path: Path) -> Target:
    """`target=ddpm` with a path."""
    schedule = NoiseSchedule(num_train_timesteps=400, beta_schedule="linear", beta_start=1e-4, beta_end=0.02)
    return DDPM(
        name="ours", path=path, network={}, schedule=schedule, optimizer={}, batch_size=1, max_steps=1, warmup_steps=0,
        gradient_clip=1.0, ema_decay=0.9, horizontal_flip=False, defense=Undefended("none"), checkpoint_every=1,
        sample_every=1, seed=0,
    )  # fmt: skip


def _saved(save: Callable[[Path], Path]) -> Callable[[Path], None]:
    def saved(folder: Path) -> None:
        save(folder)

    return saved


TEXT_TO_IMAGE = (
    "model_index.json", "unet/config.json", "vae/config.json", "text_encoder/config.json",
    "scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json",
)  # fmt: skip
UNCONDITIONAL = ("model_index.json", "unet/config.json", "scheduler/scheduler_config.json")
PICTURE = (3, SIDE, SIDE)

FORMATS = {
    "diffusers": Format(lambda folder: (pipeline(folder), None)[1], target, UNCONDITIONAL, (f"unet/{WEIGHTS}",)),
    "parts": Format(save_in_parts, target, (f"unet/{INDEX}",)),
    "training": Format(_training, lambda path: target(path / "checkpoint-500"), (
        "scheduler/scheduler_config.json", "checkpoint-500/unet_ema/config.json",
    )),
    "store": Format(save_store_target, ours, ("entry.json", "privacy.json"), (f"unet/{WEIGHTS}",)),
    "run": Format(_run, ours, ("results.json",)),
    "authors": Format(_authors, lambda path: SecMICheckpoint("theirs", path / "ckpt.pt", "ema"), (), ("ckpt.pt",)),
    "sd": Format(
        lambda folder: (save_stable_diffusion(folder), None)[1], stable_diffusion, TEXT_TO_IMAGE,
        (f"vae/{WEIGHTS}", "text_encoder/model.safetensors"), PICTURE,
    ),
    "xl": Format(
        lambda folder: (save_stable_diffusion_xl(folder), None)[1], stable_diffusion,
        ("model_index.json", "unet/config.json", "text_encoder_2/config.json", "tokenizer_2/tokenizer_config.json"),
        (), PICTURE,
    ),
    "sd3": Format(_saved(save_sd3), any_pipeline, ("model_index.json", "transformer/config.json"), (), PICTURE),
    "flux": Format(_saved(save_flux), any_pipeline, ("transformer/config.json",), (), PICTURE),
    "pixart": Format(
        _saved(save_pixart), any_pipeline,
        ("transformer/config.json", "text_encoder/config.json", "tokenizer/tokenizer_config.json"),
        ("transformer/diffusion_pytorch_model.safetensors",), PICTURE,
    ),
    "dit": Format(_saved(save_dit), any_pipeline, ("transformer/config.json",), (), PICTURE),
    "ldm": Format(_saved(save_ldm), any_pipeline, ("vqvae/config.json", "unet/config.json"), (), PICTURE),
    "one file": Format(
        partial(_one_file, name="model.safetensors"),
        lambda path: stable_diffusion(path / "model.safetensors", config=str(path / "config")),
        ("config/model_index.json", "config/unet/config.json"), ("model.safetensors",), PICTURE,
    ),
    "one pickled file": Format(
        partial(_one_file, name="model.ckpt"),
        lambda path: stable_diffusion(path / "model.ckpt", config=str(path / "config")), (), ("model.ckpt",), PICTURE,
    ),
    "lora": Format(
        _adapted, lambda path: stable_diffusion(path / "sd", lora=path / "lora.safetensors"), (), ("lora.safetensors",),
        PICTURE,
    ),
    "adm": Format(
        lambda folder: torch.save(dict(adm_weights(ADM_FLAGS)), folder / "ema.pt"),
        lambda path: ADMCheckpoint("theirs", path / "ema.pt", ADM_FLAGS), (), ("ema.pt",),
    ),
    "blip": Format(
        _captioned_by_blip, lambda path: stable_diffusion(path / "sd", prompt="blip", blip=str(path / "blip")),
        ("blip/config.json", "blip/processor_config.json", "blip/tokenizer_config.json"),
        ("blip/model.safetensors",), PICTURE,
    ),
}  # fmt: skip


def attack(kind: Format, folder: Path, work: Path) -> str:
    """What a run does with a folder: its t-errors, in words."""
    scorer = Column("t_error", "less")
    asked = SecMI(name="stat", scorers={"stat": scorer}, t_sec=20, k=10, t_max=20, approach_k=None, maps=[], stacked=[])
    images: Images = replace(random_images(2, kind.size), captions=CAPTIONS)
    store, runtime = Store(work / "store"), cpu_runtime()
    prepared = kind.target(folder)
    asked.check(prepared.timesteps)
    ready = prepared.prepare(images, store, runtime, no_logger)
    ready.inputs(images, store, runtime).facts()
    measured = asked.measure(ready, images, store, runtime)
    refuse_non_finite_values("attack=stat", measured, images, ready, store, runtime)
    return str(np.asarray(measured.trajectory.t_error(20)).tolist())


@dataclass(frozen=True)
class Case:
    """One thing that is wrong."""

    kind: str
    file: str
    what: str
    change: Callable[[Path], None]
    """Of the file."""

    def __str__(self) -> str:
        return f"{self.kind}/{self.file}: {self.what}"


DELETED = object()
VALUES: dict[str, Any] = {
    "null": None, "true": True, "empty text": "", "text": "x", "[]": [], "{}": {}, "-1": -1, "0": 0, "1e6": 10**6,
    "1e13": 10**13, "infinity": float("inf"), "NaN": float("nan"), "nested": [[[["x"]]]], "deleted": DELETED,
    "many": [1] * 10**5, "half a pair": "\ud800", "control": "\x1b[2J\n",
}  # fmt: skip
"""What may stand in a field."""

WITHIN = ("null", "text", "{}", "-1", "1e13", "NaN")
"""Those that are tried within objects and lists."""

ONLY_XL = ("addition", "projection", "cross_attention", "hidden", "force_zeros", "model_max", "tokenizer_2", "_class")
"""Fields that begin so are tried in SDXL's files, which are else those of Stable Diffusion."""


def _fits(kind: str, field: str) -> bool:
    return kind != "xl" or field.startswith(ONLY_XL)


UNWRITTEN: dict[str, dict[str, object]] = {"text_encoder/config.json": {
    "num_labels": 2, "attn_implementation": None, "quantization_config": None, "text_config": None, "auto_map": None,
}, "unet/config.json": {"quantization_config": None}}  # fmt: skip
"""Fields that the libraries read and haven't written."""


def _places(content: object, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where values stand: all fields, and of objects and lists in them the first two."""
    items: list[tuple[str | int, object]] = []
    if isinstance(content, dict):
        items = [*content.items()]
    elif isinstance(content, list):
        items = [*enumerate(content)]
    for name, value in items[:2] if above else items:
        yield (*above, name)
        yield from _places(value, (*above, name))


def _set(file: Path, place: tuple[str | int, ...], value: object) -> None:
    content = json.loads(file.read_text())
    inner = content
    for name in place[:-1]:
        inner = inner[name]
    if value is DELETED:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    file.write_text(json.dumps(content))


def _hundred_megabytes(file: Path) -> None:
    with file.open("w") as content:
        content.write('{"a": [')
        for _ in range(100):
            content.write("1," * 2**19)
        content.write("1]}")


WHOLE: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "a list": lambda file: file.write_text("[]"),
    "a number": lambda file: file.write_text("7"),
    "an empty object": lambda file: file.write_text("{}"),
    "truncated": lambda file: os.truncate(file, file.stat().st_size // 2),
    "no UTF-8": lambda file: file.write_bytes(b'{"a": "\xff\xfe"}'),
    "a byte-order mark": lambda file: file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes()),
    "deep lists": lambda file: file.write_text('{"a": ' + "[" * 10**5 + "]" * 10**5 + "}"),
    "deep objects": lambda file: file.write_text('{"a":' * 10**5 + "1" + "}" * 10**5),
    "a long number": lambda file: file.write_text('{"a": ' + "9" * 10**5 + "}"),
    "100 MB": _hundred_megabytes,
    "a name twice": lambda file: file.write_text('{"a": 1, "a": 2}'),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "a pipe": lambda file: (file.unlink(), os.mkfifo(file)),
    "a device": lambda file: (file.unlink(), file.symlink_to("/dev/zero")),
    "a dangling link": lambda file: (file.unlink(), file.symlink_to("nowhere")),
    "a pointer": lambda file: file.write_bytes(POINTER),
    "an extra field": lambda file: _set(file, ("more",), {"a": [None, float("nan")]}),
}  # fmt: skip


def _flipped(seed: int) -> Callable[[Path], object]:
    def flip(file: Path) -> None:
        content, draws = bytearray(file.read_bytes()), random.Random(seed)
        header = min(int.from_bytes(content[:8], "little"), len(content) - 8) if file.suffix == ".safetensors" else 600
        for _ in range(3):
            content[draws.randrange(8 + header)] ^= 1 << draws.randrange(8)
        file.write_bytes(content)

    return flip


def _tensors(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    if file.suffix == ".safetensors":
        weights = load_file(file)
        change(weights)
        save_file(weights, file, metadata={"format": "pt"})
    else:
        content = torch.load(file, weights_only=True)
        change(content.get("ema_model") or content.get("state_dict") or content)
        torch.save(content, file)


def _first(weights: dict[str, Any], change: Callable[[torch.Tensor], Any]) -> None:
    name = next(iter(weights))
    weights[name] = change(weights[name])


def _compressed(file: Path) -> None:
    with zipfile.ZipFile(file.with_name("new"), "w", zipfile.ZIP_DEFLATED) as new:
        with new.open("archive/data.pkl", "w") as content:
            for _ in range(256):
                content.write(b"N0" * 2**19)
        new.writestr("archive/version", b"3")
    file.with_name("new").replace(file)


WRONG_WEIGHTS: dict[str, Callable[[Path], object]] = {
    **{f"cut at {cut}": partial(os.truncate, length=cut) for cut in (0, 1, 7, 8, 9, 100, 1000)},
    "cut at the end": lambda file: os.truncate(file, file.stat().st_size - 1),
    **{f"flipped {seed}": _flipped(seed) for seed in range(12)},
    "an endless header": lambda file: file.write_bytes(struct.pack("<Q", 2**60) + file.read_bytes()[8:]),
    "a deep header": lambda file: file.write_bytes(struct.pack("<Q", 2 * 10**5) + b'{"' + b"[" * 10**5 + b"]" * 10**5),
    "whole numbers": lambda file: _tensors(file, lambda weights: _first(weights, lambda each: each.long())),
    "truth values": lambda file: _tensors(file, lambda weights: _first(weights, lambda each: each > 0)),
    "half precision": lambda file: _tensors(file, lambda weights: _first(weights, lambda each: each.half())),
    "complex": lambda file: _tensors(file, lambda weights: _first(weights, lambda each: each.to(torch.complex64))),
    "another shape": lambda file: _tensors(file, lambda weights: _first(weights, lambda each: each.flatten()[:1] * 1)),
    "no dimension": lambda file: _tensors(file, lambda weights: _first(weights, lambda each: torch.zeros(()))),
    "nothing": lambda file: _tensors(file, dict.clear),
    "one missing": lambda file: _tensors(file, lambda weights: weights.popitem()),
    "one more": lambda file: _tensors(file, lambda weights: weights.update(more=torch.ones(2))),
    "NaN": lambda file: _tensors(file, lambda weights: _first(weights, lambda each: each * torch.nan)),
    "a pickle": lambda file: torch.save({"ema_model": Opens(file.parent / "opened")}, file),
    "a compressed archive": _compressed,
    **{what: WHOLE[what] for what in ("a folder", "a pipe", "a device", "a dangling link", "a pointer", "a list")},
}  # fmt: skip

PICKLED: dict[str, Callable[[Path], object]] = {
    "spread": lambda file: _tensors(file, lambda w: _first(w, lambda each: torch.zeros(1).expand(10**13))),
    "sparse": lambda file: _tensors(file, lambda w: _first(w, lambda each: each.to_sparse())),
    "no tensor": lambda file: _tensors(file, lambda w: _first(w, lambda each: "x")),
    "a list of weights": lambda file: torch.save({"ema_model": [1]}, file),
    "old form": lambda file: torch.save({"ema_model": {}}, file, _use_new_zipfile_serialization=False),
    "meta": lambda file: _tensors(file, lambda w: _first(w, lambda each: each.to("meta"))),
}

FLAG_VALUES = (
    "",
    "x",
    "-1",
    "0",
    "1e6",
    str(10**6),
    str(10**13),
    "9" * 10**5,
    "nan",
    "inf",
    "0.5",
    "[]",
    "\x1b[2J",
    "None",
)


def hostile_cases(kind: str, model: Path) -> Iterator[Case]:
    """All that is tried on one format.

    Args:
        kind: name of the format.
        model: a folder of it, as it should be.
    """
    for file in FORMATS[kind].described_by:
        content = json.loads((model / file).read_text())
        for place in [*_places(content), *((name,) for name in UNWRITTEN.get(file, ()))]:
            for name, value in VALUES.items():
                needless = value is DELETED and place[0] not in content
                if not needless and (len(place) == 1 or name in WITHIN) and _fits(kind, str(place[0])):
                    yield Case(kind, file, f"{'.'.join(map(str, place))} = {name}", _setting(place, value))
        for what, change in WHOLE.items():
            yield Case(kind, file, what, _changing(change))
    for file in FORMATS[kind].weights:
        changes = WRONG_WEIGHTS | (PICKLED if file.endswith((".pt", ".ckpt")) else {})
        for what, change in changes.items():
            yield Case(kind, file, what, _changing(change))
    if kind == "authors":
        flags = ["T", "beta_1", "beta_T", "ch", "ch_mult", "attn", "num_res_blocks", "dropout", "img_size", "mean_type"]
        for flag in flags:
            for value in FLAG_VALUES:
                yield Case(kind, "flagfile.txt", f"--{flag}={value[:20]}", _flag(flag, value))
        for what, change in WHOLE.items():
            if what != "an extra field":
                yield Case(kind, "flagfile.txt", what, _changing(change))
    for file in ("tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer/tokenizer.json", "tokenizer/more.json"):
        if kind == "sd" or (kind == "pixart" and file == "tokenizer/tokenizer.json"):
            for what, change in WHOLE.items():
                if what != "an extra field":
                    yield Case(kind, file, what, _changing(change))


def _setting(place: tuple[str | int, ...], value: object) -> Callable[[Path], None]:
    return lambda file: _set(file, place, value)


def _changing(change: Callable[[Path], object]) -> Callable[[Path], None]:
    def changing(file: Path) -> None:
        if not file.exists():
            file.write_text("{}")
        change(file)

    return changing


def _flag(name: str, value: str) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        kept = [line for line in file.read_text().splitlines() if not line.startswith(f"--{name}=")]
        file.write_text("\n".join([*kept, f"--{name}={value}"]))

    return write


def try_case(case: Case, model: Path) -> Callable[[], str]:
    """What a run makes of a copy of the model with this fault."""

    def tried() -> str:
        with TemporaryDirectory() as work:
            folder = Path(work) / "model"
            shutil.copytree(model, folder)
            case.change(folder / case.file)
            os.chdir(folder)  # `_run` names its target relative to it
            told = attack(FORMATS[case.kind], folder, Path(work))
            assert not [*folder.rglob("opened")], "code was executed"
            return told

    return tried
