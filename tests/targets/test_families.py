"""Families of pipelines: denoisers get what diffusers' own pipelines give them, and are attacked as any other."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, DDPMScheduler, DiffusionPipeline, FluxPipeline, UNet2DModel
from torch import Tensor

from secmi_exp.data.images import Images
from secmi_exp.errors import UserError
from secmi_exp.store import Store
from secmi_exp.targets.families.known import open_pipeline
from secmi_exp.targets.latent_predictor import LatentPredictor
from secmi_exp.targets.loading.latent_folder import LatentFolder
from secmi_exp.targets.text_to_image import pipeline_folder
from secmi_exp.targets.text_to_image.encoding import write_truncated
from secmi_exp.targets.text_to_image.pipeline_folder import TextToImageFolder
from secmi_exp.testing import configured, cpu_runtime, no_logger
from tests.support.families import evaluations, prepared, t_errors_in_float64, walked
from tests.support.hostile_files import is_empty
from tests.support.text_to_image import PIXELS, T_SEC, K, images
from tests.support.tiny_families import save_dit, save_flux, save_ldm, save_pixart, save_sd3
from tests.support.tiny_pipelines import SIDE, edited

PROMPTS = ["A seven", "by hand"]
LATENTS = torch.randn(2, 4, SIDE // 2, SIDE // 2, generator=torch.Generator().manual_seed(0))


def flow(pipeline: Any, guidance: float) -> Any:
    given = LATENTS
    if isinstance(pipeline, FluxPipeline):
        given = pipeline._pack_latents(LATENTS, *LATENTS.shape)
    return pipeline(
        PROMPTS, height=SIDE, width=SIDE, num_inference_steps=1, sigmas=[0.5], guidance_scale=guidance, latents=given,
        output_type="latent",
    )  # fmt: skip


def pixart(pipeline: Any, guidance: float) -> Any:
    return pipeline(
        PROMPTS, height=SIDE, width=SIDE, num_inference_steps=1, guidance_scale=guidance, latents=LATENTS.clone(),
        use_resolution_binning=False, clean_caption=False, output_type="latent",
    )  # fmt: skip


def dit(pipeline: Any, guidance: float) -> Any:
    return pipeline([1, 3], guidance_scale=guidance, num_inference_steps=1, output_type="np")


def unconditional(pipeline: Any, guidance: float) -> Any:
    return pipeline(batch_size=2, num_inference_steps=1, output_type="np")


SAVED: dict[str, Callable[[Path], Path]] = {
    "sd3": save_sd3,
    "sd3 without T5": lambda folder: save_sd3(folder, with_t5=False),
    "flux": save_flux,
    "flux, not distilled": lambda folder: save_flux(folder, guidance_embeds=False),
    "pixart": lambda folder: save_pixart(folder, sizes_given=True),
    "pixart sigma": lambda folder: save_pixart(folder, sigma=True),
    "dit": save_dit,
    "ldm": save_ldm,
}
CALLS = {"sd3": flow, "flux": flow, "pixart": pixart, "dit": dit, "ldm": unconditional}


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {kind: save(root / kind.replace(" ", "_")) for kind, save in SAVED.items()}


def conditions(folder: LatentFolder, guidance: float) -> dict[str, Tensor]:
    if not isinstance(folder, TextToImageFolder):
        return {"label": torch.tensor([1, 3])}
    with torch.no_grad():
        return folder.embed(folder.pipeline(), PROMPTS, negative=guidance != 1)


@pytest.mark.parametrize(
    ("kind", "guidance"),
    [
        *(("sd3", 1.0), ("sd3", 3.0), ("sd3 without T5", 3.0), ("flux", 2.5), ("flux, not distilled", 1.0)),
        *(("pixart", 1.0), ("pixart", 3.0), ("pixart sigma", 1.0), ("dit", 1.0), ("ldm", 1.0)),
    ],
)
def test_the_denoiser_is_given_what_diffusers_own_pipeline_gives_it(
    pipelines: dict[str, Path], kind: str, guidance: float
) -> None:
    left_out = {"text_encoder_3": None, "tokenizer_3": None} if "without T5" in kind else {}
    theirs = DiffusionPipeline.from_pretrained(pipelines[kind], **left_out)
    theirs.set_progress_bar_config(disable=True)
    folder = open_pipeline(pipelines[kind], axis="native")
    call = CALLS[kind.partition(" ")[0].rstrip(",")]
    ((given, output),) = evaluations(getattr(theirs, folder.denoiser), lambda: call(theirs, guidance))

    predictor = LatentPredictor(folder, guidance)
    x_t = LATENTS
    if kind in ("dit", "ldm"):  # which draw their own
        x_t = given["sample" if kind == "ldm" else "hidden_states"]
    t = 500 if call == flow else 999
    noise: list[Tensor] = []
    condition = conditions(folder, guidance)
    ((own, own_output),) = evaluations(
        predictor.denoiser, lambda: noise.append(predictor.predict_noise(x_t, t, condition))
    )

    assert own.keys() == given.keys()
    for name, value in given.items():
        torch.testing.assert_close(own[name], value.expand_as(own[name]), rtol=1e-5, atol=1e-5, check_dtype=False)
    torch.testing.assert_close(own_output, output, rtol=1e-5, atol=1e-5)
    if kind.startswith("flux"):
        output = FluxPipeline._unpack_latents(output, SIDE, SIDE, folder.pixels_per_latent)
    if predictor.guidance != 1:
        negative, positive = output.chunk(2)
        output = negative + guidance * (positive - negative)
    eps = x_t + 0.5 * output if call == flow else output[:, : x_t.shape[1]]
    torch.testing.assert_close(noise[0], eps, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["sd3", "flux", "pixart", "dit", "ldm"])
def test_t_errors_are_those_of_the_general_formula(pipelines: dict[str, Path], tmp_path: Path, kind: str) -> None:
    guidance = 3.0 if kind in ("sd3", "pixart", "dit") else 1.0
    target = prepared(pipelines[kind], tmp_path, guidance=guidance)
    stored = walked(target, tmp_path, precision="64")
    assert stored.queries_per_sample(T_SEC) == (T_SEC // K + 1) * (2 if guidance != 1 else 1)
    walk, expected = t_errors_in_float64(target, tmp_path)
    np.testing.assert_allclose(walk, expected, rtol=1e-9)
    np.testing.assert_allclose(stored.t_error(T_SEC), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "beyond"), [("sd3", [3]), ("sd3 without T5", [2, 3]), ("flux", [3]), ("pixart", [2, 3])]
)
def test_prompts_are_cut_where_the_longest_text_encoder_ends(
    pipelines: dict[str, Path], tmp_path: Path, kind: str, beyond: list[int]
) -> None:
    folder = open_pipeline(pipelines[kind])
    assert isinstance(folder, TextToImageFolder)
    write_truncated(tmp_path, folder, ["", "a seven", "a " * 70, "by hand " * 99])
    assert json.loads((tmp_path / "truncated.json").read_text()) == beyond


def changed(pipelines: dict[str, Path], root: Path, kind: str, file: str, **changes: Any) -> Path:
    shutil.copytree(pipelines[kind], root / "changed")
    edited(root / "changed" / file, **changes)
    return root / "changed"


MORE = "transformer/config.json"


@pytest.mark.parametrize(
    ("kind", "file", "changes", "message"),
    [
        ("sd3", "model_index.json", {"_class_name": "LTXPipeline"}, r"these are known: .*FluxPipeline, .*PixArtSigma"),
        ("sd3", "model_index.json", {"transformer": ["evil", "Opens"]}, "transformer .* is a Opens: it must be a SD3T"),
        ("sd3", "model_index.json", {"tokenizer_3": [None, None]}, "tokenizer_3 .* is a None: it must be a T5Tok"),
        ("sd3", MORE, {"in_channels": 9}, "takes 9 channels and gives 4, where the autoencoder makes 4"),
        ("sd3", MORE, {"joint_attention_dim": 20}, "takes 20 numbers of each token, and the text encoders give 16"),
        ("sd3 without T5", MORE, {"joint_attention_dim": 12}, "takes 12 numbers of each token, .* give 16"),
        ("sd3", MORE, {"pooled_projection_dim": 8}, "takes 8 numbers of each whole text, and the text encoders give"),
        ("sd3", MORE, {"pos_embed_max_size": 10**5}, "pos_embed_max_size=100000, which must be a whole number from 1"),
        ("sd3", MORE, {"pos_embed_max_size": 2}, "takes at most 8 pixels a side, .* 16×16 pixels: set dataset.image"),
        ("sd3", MORE, {"patch_size": 5}, r"takes 10×10 pixels as one, .* to a multiple of 10\."),
        ("sd3", MORE, {"caption_projection_dim": 12}, r"diffusers can't evaluate|contradict the config\.json"),
        ("flux", MORE, {"in_channels": 4}, "takes 4 channels and gives 4, where the autoencoder makes 16"),
        ("flux", MORE, {"axes_dims_rope": [2, 2]}, r"axes_dims_rope=\[2, 2\], which must be a list of three"),
        ("flux, not distilled", MORE, {"guidance_embeds": True}, r"contradict .*guidance.* is missing"),
        ("pixart", MORE, {"caption_channels": 12}, "takes 12 numbers of each token, and the text encoders give 16"),
        ("pixart", MORE, {"sample_size": 10**4}, "sample_size=10000, which must be a whole number from 1 to 512"),
        ("pixart", "text_encoder/config.json", {"d_model": 10**6}, "d_model=1000000, which must be"),
        ("pixart", "text_encoder/config.json", {"vocab_size": 9}, "up to number 29 of a text, .* up to number 8:"),
        ("pixart", "text_encoder/config.json", {"d_ff": 10**4}, r"contradict the config\.json"),
        ("dit", MORE, {"out_channels": 12}, "takes 4 channels and gives 12, where the autoencoder makes 4"),
        ("dit", MORE, {"sample_size": 10**4}, "sample_size=10000, which must be a whole number from 1 to 512"),
        ("ldm", "vqvae/config.json", {"num_vq_embeddings": 10**9}, "num_vq_embeddings=1000000000, which must be"),
        ("ldm", "vqvae/config.json", {"vq_embed_dim": 5}, "takes 3 channels and gives 3, .* makes 5"),
        ("ldm", "unet/config.json", {"num_class_embeds": 5}, "needs class labels, which an LDMPipeline"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_refused(
    pipelines: dict[str, Path], tmp_path: Path, kind: str, file: str, changes: dict[str, Any], message: str
) -> None:
    path = changed(pipelines, tmp_path, kind, file, **changes)
    with pytest.raises(UserError, match=message):
        walked(prepared(path, tmp_path / "store"), tmp_path / "store")
    assert is_empty(tmp_path / "store")


def test_a_sentencepiece_model_needs_its_library(
    pipelines: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(pipelines["pixart"], tmp_path / "spiece")
    (tmp_path / "spiece/tokenizer/tokenizer.json").rename(tmp_path / "spiece/tokenizer/spiece.model")
    monkeypatch.setattr(pipeline_folder, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"is a spiece\.model alone: pip install sentencepiece protobuf\."):
        walked(prepared(tmp_path / "spiece", tmp_path / "store"), tmp_path / "store")
    assert is_empty(tmp_path / "store")


def test_a_transformer_computes_no_attention_in_slices(pipelines: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"transformer of a FluxPipeline can't .* set target\.attention_slicing=null"):
        prepared(pipelines["flux"], tmp_path, attention_slicing="auto")


def test_of_a_repository_what_is_read_is_fetched() -> None:
    read = [
        "model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json",
        "text_encoder/model.safetensors", "text_encoder_2/config.json",
        "text_encoder_2/model-00001-of-00002.safetensors", "text_encoder_2/model-00002-of-00002.safetensors",
        "text_encoder_2/model.safetensors.index.json", "tokenizer/vocab.json", "tokenizer_2/spiece.model",
        "transformer/config.json", "transformer/diffusion_pytorch_model-00001-of-00001.safetensors",
        "transformer/diffusion_pytorch_model.safetensors.index.json", "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ]  # fmt: skip
    others = ["flux1-dev.safetensors", "ae.safetensors", "README.md", "safety_checker/model.safetensors"]
    assert pipeline_folder.pipeline_files([*others, *read], "auto", None, "the repository") == read


def test_images_must_have_whole_patches(pipelines: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="takes 4×4 pixels as one, and the dataset's images have 3 channels and 16×14"):
        prepared(pipelines["flux"], tmp_path, Images.from_pixels(PIXELS[..., :14]))


def test_a_network_that_makes_a_square_takes_square_images(pipelines: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="takes square images, and the dataset's have 16×12 pixels"):
        prepared(pipelines["dit"], tmp_path, Images.from_pixels(PIXELS[..., :12]))


@pytest.mark.parametrize(("kind", "old"), [("dit", "ada_norm_zero"), ("pixart", "ada_norm_single")])
def test_transformers_are_read_under_their_old_name(
    pipelines: dict[str, Path], tmp_path: Path, kind: str, old: str
) -> None:
    path = changed(pipelines, tmp_path, kind, "model_index.json", transformer=["diffusers", "Transformer2DModel"])
    edited(path / MORE, _class_name="Transformer2DModel", norm_type=old)
    same = [
        t_errors_in_float64(prepared(each, tmp_path / "store"), tmp_path / "store") for each in (path, pipelines[kind])
    ]
    np.testing.assert_array_equal(same[0], same[1])


def test_a_quantizer_without_a_scale_scaled_nothing(pipelines: dict[str, Path], tmp_path: Path) -> None:
    assert open_pipeline(pipelines["ldm"]).scaling == ([0.0] * 3, [0.7] * 3)
    shutil.copytree(pipelines["ldm"], tmp_path / "old")
    file = tmp_path / "old/vqvae/config.json"
    file.write_text(file.read_text().replace('"scaling_factor": 0.7', '"more": 0'))
    assert open_pipeline(tmp_path / "old").scaling == ([0.0] * 3, [1.0] * 3)


def save_previewed(folder: Path) -> Path:
    """A pipeline of `tests.support.own_family`."""
    torch.manual_seed(0)
    blocks = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
    AutoencoderTiny(**blocks, num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1)).save_pretrained(folder / "vae")
    UNet2DModel(
        sample_size=SIDE // 2, in_channels=4, out_channels=4, block_out_channels=(8,), norm_num_groups=4,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), layers_per_block=1,
    ).save_pretrained(folder / "unet")  # fmt: skip
    DDPMScheduler(300).save_pretrained(folder / "scheduler")
    parts = {"vae": "AutoencoderTiny", "unet": "UNet2DModel", "scheduler": "DDPMScheduler"}
    index = {"_class_name": "PreviewPipeline", **{part: ["diffusers", kind] for part, kind in parts.items()}}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_a_family_of_ones_own_is_one_file_and_one_yaml(tmp_path: Path) -> None:
    path, settings = save_previewed(tmp_path / "model"), tmp_path / "settings/target/previewed.yaml"
    with pytest.raises(UserError, match=r"is a PreviewPipeline, and these are known: .* named by target\.family"):
        prepared(path, tmp_path / "store")
    settings.parent.mkdir(parents=True)
    settings.write_text("defaults: [pipeline, _self_]\nfamily: tests.support.own_family.PreviewLatents\n")
    searched = f"hydra.searchpath=[file://{tmp_path / 'settings'}]"
    target = configured("target", "target=previewed", f"target.path={path}", searched)
    ready = target.prepare(images(None), Store(tmp_path / "store"), cpu_runtime(), no_logger)
    walk, expected = t_errors_in_float64(ready, tmp_path / "store")
    np.testing.assert_allclose(walk, expected, rtol=1e-9)
    assert walked(ready, tmp_path / "store").t_error(T_SEC).shape == expected.shape
