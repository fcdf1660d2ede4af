"""Text-to-image pipelines as targets: what they are queried with, what they predict, and what it costs."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMInverseScheduler,
    DDIMScheduler,
    DiffusionPipeline,
    StableDiffusionXLPipeline,
)
from torch import Tensor

from secmi_exp.attacks.attack import Attack
from secmi_exp.attacks.signals.trajectories import compute_trajectories
from secmi_exp.data.images import Images
from secmi_exp.data.model_range import to_model_range
from secmi_exp.errors import UserError
from secmi_exp.store import Store
from secmi_exp.targets.text_to_image.encoding import default_dtype
from secmi_exp.testing import configured, cpu_runtime
from tests.support.text_to_image import CAPTIONS, PIXELS, T_SEC, K, images, prepared, walked
from tests.support.tiny_pipelines import (
    SCHEDULER,
    SIDE,
    edited,
    save_blip,
    save_stable_diffusion,
    save_stable_diffusion_xl,
)


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pipelines")
    return {
        "sd": save_stable_diffusion(root / "sd"),
        "v": save_stable_diffusion(root / "v", prediction_type="v_prediction"),
        "shifted": save_stable_diffusion(root / "shifted", vae={"shift_factor": 0.3}),
        "xl": save_stable_diffusion_xl(root / "xl"),
        "blip": save_blip(root / "blip"),
    }


def embedded(pipeline: Any, prompts: list[str], kind: str, *, negative: bool) -> dict[str, Tensor]:
    """What the pipeline's own `encode_prompt` gives."""
    with default_dtype(pipeline.dtype):
        encoded = pipeline.encode_prompt(
            prompts, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=negative
        )
    names = ("text", "negative_text", "pooled", "negative_pooled") if kind == "xl" else ("text", "negative_text")
    return dict(zip(names, encoded, strict=True))


def by_diffusers(path: Path, kind: str, guidance: float, prompts: list[str]) -> np.ndarray:
    """t-errors by steps of diffusers' own schedulers, in float64."""
    pipeline = DiffusionPipeline.from_pretrained(path).to(torch.float64)
    unet, vae = pipeline.unet, pipeline.vae
    config = pipeline.scheduler.config
    up, down = DDIMInverseScheduler.from_config(config), DDIMScheduler.from_config(config)
    for scheduler in (up, down):
        scheduler.set_timesteps(config.num_train_timesteps // K)
        scheduler.alphas_cumprod = torch.cumprod(1 - scheduler.betas.double(), 0)
    condition = embedded(pipeline, prompts, kind, negative=guidance != 1)
    size = torch.tensor([[SIDE, SIDE, 0, 0, SIDE, SIDE]] * len(prompts)).double()

    def output(x: Tensor, t: int, prefix: str) -> Tensor:
        added = {"text_embeds": condition[f"{prefix}pooled"], "time_ids": size} if kind == "xl" else None
        return unet(x, t, encoder_hidden_states=condition[f"{prefix}text"], added_cond_kwargs=added).sample

    def guided(x: Tensor, t: int) -> Tensor:
        prompted = output(x, t, "")
        if guidance == 1:
            return prompted
        empty = output(x, t, "negative_")
        return empty + guidance * (prompted - empty)

    with torch.no_grad():
        z = vae.encode(to_model_range(torch.from_numpy(PIXELS)).double()).latent_dist.mode()
        x = (z - (vae.config.shift_factor or 0)) * vae.config.scaling_factor
        for t in range(0, T_SEC, K):
            compared = x
            x = up.step(guided(x, t), t + K, x).prev_sample
        back = down.step(guided(x, T_SEC), T_SEC, x).prev_sample
    return (back - compared).square().sum(dim=(1, 2, 3)).numpy()


@pytest.mark.parametrize(
    ("kind", "guidance"),
    [
        ("sd", 3.0),
        ("v", 1.0),
        ("xl", 3.0),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in (("sd", 1.0), ("shifted", 1.0), ("xl", 1.0))),
    ],
)
def test_t_errors_are_those_of_diffusers_own_schedulers(
    pipelines: dict[str, Path], tmp_path: Path, kind: str, guidance: float
) -> None:
    signals = walked(pipelines[kind], tmp_path, guidance=guidance)
    prompts = [caption or "" for caption in CAPTIONS]
    expected = by_diffusers(pipelines[kind], kind, guidance, prompts)
    np.testing.assert_allclose(signals.t_error(T_SEC), expected, rtol=1e-4)
    exact = walked(pipelines[kind], tmp_path, guidance=guidance, precision="64")
    np.testing.assert_allclose(exact.t_error(T_SEC), expected, rtol=1e-6)
    assert signals.maps[T_SEC].shape == (len(CAPTIONS), 4, SIDE // 2, SIDE // 2)


@pytest.mark.parametrize(("guidance", "cost"), [(1.0, 1), (3.0, 2)])
def test_guidance_costs_a_second_query_and_is_counted_so(
    pipelines: dict[str, Path], tmp_path: Path, guidance: float, cost: int
) -> None:
    signals = walked(pipelines["sd"], tmp_path, guidance=guidance)
    assert signals.queries_per_sample(T_SEC) == (T_SEC // K + 1) * cost
    assert signals.queries_spent == (T_SEC // K + 1) * cost * len(CAPTIONS)


def test_sixteen_queries_give_what_the_authors_latent_script_spends_39_on(
    pipelines: dict[str, Path], tmp_path: Path
) -> None:
    target = prepared(pipelines["sd"], tmp_path)
    signals = compute_trajectories(
        target, images(), k=10, t_max=150, maps=[], store=Store(tmp_path), runtime=cpu_runtime()
    )
    assert signals.queries_per_sample(150) == 16


def test_the_step_to_the_image_plays_no_part(pipelines: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(pipelines["sd"], tmp_path / "other")
    edited(tmp_path / "other/scheduler/scheduler_config.json", set_alpha_to_one=True, steps_offset=0)
    ours, other = (walked(path, tmp_path / "store") for path in (pipelines["sd"], tmp_path / "other"))
    assert np.array_equal(ours.t_errors, other.t_errors)
    assert other.queries_spent  # another configuration is another target


def test_latents_and_embeddings_are_computed_once_whatever_is_asked(
    pipelines: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked(pipelines["sd"], tmp_path)
    monkeypatch.setattr(AutoencoderKL, "encode", None)  # a second encoding would fail
    walked(pipelines["sd"], tmp_path, guidance=2.0)
    walked(pipelines["sd"], tmp_path, prompt="none")
    sampled = walked(pipelines["sd"], tmp_path, latents="sample")
    assert len([*tmp_path.glob("posteriors/*")]) == 1
    assert len([*tmp_path.glob("embeddings/*")]) == 2
    assert len(np.load(next(tmp_path.glob("embeddings/*/text.npy")), mmap_mode="r")) in (1, 4)  # each text once
    assert not np.array_equal(sampled.t_errors, walked(pipelines["sd"], tmp_path).t_errors)


def test_a_latents_sample_depends_on_the_image_and_the_seed_alone(pipelines: dict[str, Path], tmp_path: Path) -> None:
    def latents(rows: list[int], seed: int = 0) -> np.ndarray:
        some = dataclasses.replace(images(), rows=np.array(rows))
        target = prepared(pipelines["sd"], tmp_path, latents="sample", seed=seed)
        drawn: np.ndarray = target.inputs(some, Store(tmp_path), cpu_runtime()).arrays().x_0[:]
        return drawn

    both = latents([0, 1])
    np.testing.assert_allclose(latents([1, 3, 0])[[2, 0]], both, rtol=1e-4, atol=1e-5)
    assert np.abs(latents([0, 1], seed=1) - both).mean() > 1e-3


def test_prompts_that_are_not_what_they_should_be_are_counted(
    pipelines: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    facts = walked(pipelines["sd"], tmp_path).facts
    assert facts == {"prompts": {"source": "caption", "distinct": 4, "missing": 1, "truncated": 1}}
    assert "have a prompt of more tokens than the tokenizer's limit" in caplog.text


def test_prompts_may_be_none_or_one_for_all(pipelines: dict[str, Path], tmp_path: Path) -> None:
    none, fixed = (
        walked(pipelines["sd"], tmp_path, prompt=prompt, fixed_prompt="a seven") for prompt in ("none", "fixed")
    )
    own = walked(pipelines["sd"], tmp_path)
    assert none.facts["prompts"] == {"source": "none", "distinct": 1, "missing": 0, "truncated": 0}
    assert (own.t_errors == fixed.t_errors).all(axis=1).tolist() == [True, False, False, True, False]
    assert (own.t_errors == none.t_errors).all(axis=1).tolist() == [False, False, True, False, False]


def test_images_without_captions_need_another_prompt(pipelines: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="None of the images has a caption"):
        walked(pipelines["sd"], tmp_path, images(None))
    assert walked(pipelines["sd"], tmp_path, images(None), prompt="none").queries_spent
    with pytest.raises(UserError, match=r"add target\.fixed_prompt='…'"):
        walked(pipelines["sd"], tmp_path, prompt="fixed")


def test_blip_puts_images_into_words_once(
    pipelines: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import BlipForConditionalGeneration, BlipProcessor

    signals = walked(pipelines["sd"], tmp_path, images(None), prompt="blip", blip=str(pipelines["blip"]))
    (file,) = tmp_path.glob("captions/*/captions.json")
    captions = json.loads(file.read_text())
    model = BlipForConditionalGeneration.from_pretrained(pipelines["blip"]).eval()
    processor = BlipProcessor.from_pretrained(pipelines["blip"])
    pixels = processor.image_processor(images=list(torch.from_numpy(PIXELS)), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        ids = model.generate(pixel_values=pixels, max_new_tokens=32, num_beams=1)
    assert captions == [text.strip() for text in processor.batch_decode(ids, skip_special_tokens=True)]
    assert all(captions)
    assert signals.facts["prompts"]["source"] == "blip"  # type: ignore[index, call-overload]
    monkeypatch.setattr(BlipForConditionalGeneration, "generate", None)
    walked(pipelines["sd"], tmp_path, images(None), prompt="blip", blip=str(pipelines["blip"]), guidance=2.0)


def test_another_model_is_no_blip_model(pipelines: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a clip_text_model: set target\.blip to a BLIP model"):
        walked(pipelines["sd"], tmp_path, prompt="blip", blip=str(pipelines["sd"] / "text_encoder"))
    with pytest.raises(UserError, match=r"no folder /nowhere: set target\.blip to"):
        walked(pipelines["sd"], tmp_path, prompt="blip", blip="/nowhere")


def changed(pipelines: dict[str, Path], root: Path, file: str, **changes: Any) -> Path:
    shutil.copytree(pipelines["sd"], root / "changed")
    edited(root / "changed" / file, **changes)
    return root / "changed"


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("model_index.json", {"_class_name": "LTXPipeline"}, "is a LTXPipeline, and these are known: "),
        ("model_index.json", {"text_encoder": ["transformers", "T5EncoderModel"]}, "is a T5EncoderModel"),
        ("model_index.json", {"unet": ["evil", "Opens"]}, "unet .* is a Opens: it must be a UNet2DConditionModel"),
        ("unet/config.json", {"in_channels": 9}, "takes 9 channels and gives 4, where the autoencoder makes 4"),
        ("unet/config.json", {"time_cond_proj_dim": 256}, "is distilled"),
        ("unet/config.json", {"addition_embed_type": "image"}, "needs more than a text"),
        ("unet/config.json", {"cross_attention_dim": 12}, "takes 12 numbers of each token, and the text encoders"),
    ],
)  # fmt: skip
def test_other_kinds_of_models_are_refused(
    pipelines: dict[str, Path], tmp_path: Path, file: str, changes: dict[str, Any], message: str
) -> None:
    path = changed(pipelines, tmp_path, file, **changes)
    with pytest.raises(UserError, match=message):
        walked(path, tmp_path / "store")


def test_a_folder_without_its_parts_is_refused(pipelines: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no model_index\.json"):
        walked(tmp_path, tmp_path / "store")
    shutil.copytree(pipelines["sd"], tmp_path / "half")
    shutil.rmtree(tmp_path / "half/vae")
    with pytest.raises(UserError, match=r"vae/config\.json can't be read|no folder vae"):
        walked(tmp_path / "half", tmp_path / "store")


def test_images_that_the_autoencoder_cannot_take_are_refused(pipelines: dict[str, Path], tmp_path: Path) -> None:
    gray = Images.from_pixels(PIXELS[:, :1])
    with pytest.raises(UserError, match=r"takes images of 3 channels, .* 1 channels and 16×16"):
        walked(pipelines["sd"], tmp_path, gray)
    odd = Images.from_pixels(PIXELS[:, :, :15, :15].copy())
    with pytest.raises(
        UserError, match=r"2×2 pixels as one, .* 15×15 pixels: set dataset.image_size to a multiple of 2"
    ):
        walked(pipelines["sd"], tmp_path, odd)


def test_weights_of_a_stranger_execute_nothing(pipelines: dict[str, Path], tmp_path: Path) -> None:
    from tests.support.hostile_files import Opens

    for part, stem in (("unet", "diffusion_pytorch_model"), ("text_encoder", "pytorch_model")):
        path = tmp_path / part
        shutil.copytree(pipelines["sd"], path)
        (weights,) = (path / part).glob("*.safetensors")
        weights.unlink()
        torch.save({"weights": Opens(tmp_path / "opened")}, path / part / f"{stem}.bin")
        with pytest.raises(UserError, match=rf"{stem}\.bin"):
            walked(path, tmp_path / "store")
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("precision", [pytest.param("16", marks=pytest.mark.slow), "bf16"])
def test_half_precision_is_for_the_network_alone(pipelines: dict[str, Path], tmp_path: Path, precision: str) -> None:
    half, full = (walked(pipelines["xl"], tmp_path, precision=each) for each in (precision, "32"))
    np.testing.assert_allclose(half.t_errors, full.t_errors, rtol=0.2)
    assert len([*tmp_path.glob("posteriors/*")]) == len([*tmp_path.glob("embeddings/*")]) == 1


def test_sliced_attention_gives_the_same(pipelines: dict[str, Path], tmp_path: Path) -> None:
    sliced = walked(pipelines["sd"], tmp_path / "sliced", attention_slicing="auto")
    np.testing.assert_allclose(sliced.t_errors, walked(pipelines["sd"], tmp_path).t_errors, rtol=1e-4)


def test_the_tiny_pipelines_are_what_diffusers_saves(pipelines: dict[str, Path]) -> None:
    pipeline = DiffusionPipeline.from_pretrained(pipelines["xl"])
    assert isinstance(pipeline, StableDiffusionXLPipeline)
    assert pipeline.scheduler.config.beta_end == SCHEDULER["beta_end"]


@pytest.mark.parametrize(
    ("attack", "queries"),
    [
        ("loss", 5),
        ("gsa", 10),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (("pia", 2), ("pian", 2), ("sima", 1), ("quantile", 4))
        ),
    ],
)
@pytest.mark.parametrize("kind", ["v", pytest.param("xl", marks=pytest.mark.slow)])
def test_other_attacks_work_on_latents_and_prompts_too(
    pipelines: dict[str, Path], tmp_path: Path, attack: str, queries: int, kind: str
) -> None:
    made: Attack = configured("attack", f"+attack={attack}")
    target = prepared(pipelines[kind], tmp_path)
    measured = made.measure(target, images(), Store(tmp_path), cpu_runtime(query_batch_size=3))
    assert measured.queries_per_sample == queries
    assert measured.facts["prompts"] == {"source": "caption", "distinct": 4, "missing": 1, "truncated": 1}
    values = np.asarray(measured.values["t_error" if attack == "quantile" else "features"])
    assert np.isfinite(values).all()
    assert len(np.unique(values.reshape(len(CAPTIONS), -1)[:, 0])) == len(CAPTIONS)


def test_losses_on_latents_are_those_of_diffusers(pipelines: dict[str, Path], tmp_path: Path) -> None:
    made: Attack = configured("attack", "+attack=loss", "attack.t=70", "attack.noises=1")
    runtime = cpu_runtime(query_batch_size=3, query_precision="64")
    found = made.measure(prepared(pipelines["sd"], tmp_path), images(), Store(tmp_path), runtime).numbers["loss"]
    pipeline = DiffusionPipeline.from_pretrained(pipelines["sd"]).to(torch.float64)
    text = embedded(pipeline, [caption or "" for caption in CAPTIONS], "sd", negative=False)["text"]
    with torch.no_grad():
        z = pipeline.vae.encode(to_model_range(torch.from_numpy(PIXELS)).double()).latent_dist.mode()
        x_0 = z * pipeline.vae.config.scaling_factor
        eps = torch.from_numpy(np.random.default_rng([0, 0]).standard_normal((4, 8, 8), dtype=np.float32)).double()
        alpha_bar = torch.cumprod(1 - pipeline.scheduler.betas.double(), 0)[70]
        x_t = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps
        error = pipeline.unet(x_t, 70, encoder_hidden_states=text).sample - eps
    np.testing.assert_allclose(found, error.square().mean(dim=(1, 2, 3)).numpy(), rtol=1e-6)
