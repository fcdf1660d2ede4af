"""On CUDA: the numbers of the CPU, in every precision, compiled or not, with images on the device or beside it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from secmi_exp.attacks.attack import Attack
from secmi_exp.attacks.signals.trajectories import Trajectories, compute_trajectories
from secmi_exp.data.images import Images
from secmi_exp.engine import batches
from secmi_exp.store import Store
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.targets.pixel.authors_format import Flags
from secmi_exp.targets.pixel.predictor import PixelPredictor
from secmi_exp.testing import configured, cpu_runtime, no_logger
from tests.support.families import any_pipeline
from tests.support.text_to_image import images as pictures
from tests.support.text_to_image import stable_diffusion
from tests.support.tiny_families import save_dit, save_flux, save_ldm, save_pixart, save_sd3
from tests.support.tiny_pipelines import save_stable_diffusion, save_stable_diffusion_xl
from tests.targets.test_pixel_families import MEMBERS, RECIPES, SMALL, prepared

pytestmark = pytest.mark.gpu

IMAGES = Images.from_pixels(np.random.default_rng(0).integers(0, 256, (70, 3, 16, 16), dtype=np.uint8))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> PreparedTarget:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("target")
    flags = Flags(ch=32, ch_mult=(1, 2), attn=(1,), num_res_blocks=1, img_size=16)
    DDPMPipeline(unet=UNet2DModel(**flags.network), scheduler=DDPMScheduler()).save_pretrained(folder)
    return PreparedTarget(folder, "on two devices", partial(PixelPredictor, folder))


def walked(target: PreparedTarget, root: Path, **settings: object) -> Trajectories:
    runtime = cpu_runtime(**settings)
    return compute_trajectories(target, IMAGES, k=10, t_max=100, maps=[50], store=Store(root), runtime=runtime)


@pytest.mark.parametrize(("precision", "rtol"), [("32", 1e-2), ("tf32", 0.1), ("16", 0.1), ("bf16", 1.0)])
@pytest.mark.parametrize("compiled", [False, True])
def test_t_errors_are_those_of_the_cpu(
    target: PreparedTarget, tmp_path: Path, precision: str, rtol: float, compiled: bool
) -> None:
    expected = walked(target, tmp_path / "cpu")
    cuda = walked(
        target, tmp_path / "cuda", accelerator="cuda", query_precision=precision, compile=compiled, query_batch_size=32
    )
    np.testing.assert_allclose(cuda.t_errors, expected.t_errors, rtol=rtol)
    assert cuda.queries == expected.queries


@pytest.mark.parametrize(("precision", "rtol"), [("auto", 0.1), ("bf16", 0.1), ("tf32", 0.05)])
@pytest.mark.parametrize("compiled", [False, True])
def test_what_is_compared_is_float32s_whatever_the_approach(
    target: PreparedTarget, tmp_path: Path, precision: str, rtol: float, compiled: bool
) -> None:
    attack: Attack = configured("attack", "+attack=stat", "attack.t_sec=100", "attack.t_max=null")
    runtime = cpu_runtime(accelerator="cuda", approach_precision=precision, compile=compiled, query_batch_size=32)
    found = attack.measure(target, IMAGES, Store(tmp_path / "cuda"), runtime)
    np.testing.assert_allclose(
        found.numbers["t_error"], walked(target, tmp_path / "cpu").t_error(100), rtol=rtol, atol=1e-6
    )
    assert found.queries_per_sample == 11
    native = torch.cuda.get_device_capability() >= (8, 0)
    assert ("approach" in found.facts) == (native or precision != "auto")
    assert torch.get_float32_matmul_precision() == "highest"


def test_images_beside_the_device_give_what_images_on_it_give(
    target: PreparedTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = walked(target, tmp_path / "on", accelerator="cuda")
    monkeypatch.setattr(batches, "RESIDENT_SHARE", 0.0)
    copied = walked(target, tmp_path / "beside", accelerator="cuda")
    np.testing.assert_array_equal(copied.t_errors, resident.t_errors)


def test_the_largest_batch_is_found_and_told(
    target: PreparedTarget, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    walked(target, tmp_path, accelerator="cuda", query_batch_size="auto")
    assert "Batches of" in caplog.text


@pytest.mark.parametrize("kind", ["sd", "xl"])
@pytest.mark.parametrize(("precision", "rtol"), [("32", 1e-2), ("16", 0.3)])
def test_text_to_image_targets_are_those_of_the_cpu(tmp_path: Path, kind: str, precision: str, rtol: float) -> None:
    save = {"sd": save_stable_diffusion, "xl": save_stable_diffusion_xl}[kind]
    path = save(tmp_path / "model")
    images = Images.from_pixels(IMAGES.pixels)
    images = replace(images, captions=["a seven", None] * 35)
    found = {}
    for accelerator in ("cpu", "cuda"):
        store = Store(tmp_path / accelerator)
        chosen = precision if accelerator == "cuda" else "32"
        runtime = cpu_runtime(accelerator=accelerator, query_precision=chosen, query_batch_size="auto")
        prepared = stable_diffusion(path, guidance=2.0).prepare(images, store, runtime, no_logger)
        found[accelerator] = compute_trajectories(
            prepared, images, k=10, t_max=50, maps=[], store=store, runtime=runtime
        ).t_errors
    np.testing.assert_allclose(found["cuda"], found["cpu"], rtol=rtol)


@pytest.mark.parametrize("attack", ["loss", "pia", "sima", "pfami", "gsa"])
def test_other_attacks_give_the_values_of_the_cpu(target: PreparedTarget, tmp_path: Path, attack: str) -> None:
    made: Attack = configured("attack", f"+attack={attack}")
    on_cpu, on_cuda = (
        made.measure(target, IMAGES, Store(tmp_path / each), cpu_runtime(accelerator=each, query_batch_size=16))
        for each in ("cpu", "cuda")
    )
    cpu_values = on_cpu.values["features"][:]
    noise = 1e-6 * np.abs(cpu_values).max()  # gradients of biases before a normalisation are 0 up to rounding
    np.testing.assert_allclose(on_cuda.values["features"][:], cpu_values, rtol=2e-2, atol=noise)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    ("precision", "compiled", "rtol"), [("32", False, 1e-2), ("bf16", False, 1.0), ("32", True, 1e-2)]
)
def test_flows_transformers_and_labels_are_those_of_the_cpu(
    tmp_path: Path, recipe: str, precision: str, compiled: bool, rtol: float
) -> None:
    found = {}
    for accelerator in ("cpu", "cuda"):
        chosen = {"query_precision": precision, "compile": compiled} if accelerator == "cuda" else {}
        runtime = cpu_runtime(accelerator=accelerator, **chosen)
        found[accelerator] = compute_trajectories(
            prepared(tmp_path / "targets", recipe), MEMBERS, k=10, t_max=50, maps=[],
            store=Store(tmp_path / accelerator), runtime=runtime,
        ).t_errors  # fmt: skip
    np.testing.assert_allclose(found["cuda"], found["cpu"], rtol=rtol)


@pytest.mark.parametrize("recipe", RECIPES)
def test_families_are_trained_on_cuda(tmp_path: Path, recipe: str) -> None:
    target = configured("target", *RECIPES[recipe], *SMALL)
    trained = target.prepare(MEMBERS, Store(tmp_path), cpu_runtime(accelerator="cuda"), no_logger)
    assert all(weights.isfinite().all() for weights in trained.load().network.parameters())


@pytest.mark.parametrize("save", [save_sd3, save_flux, save_pixart, save_dit, save_ldm])
@pytest.mark.parametrize(("precision", "rtol"), [("32", 1e-2), ("bf16", 1.0)])
def test_families_of_pipelines_are_those_of_the_cpu(
    tmp_path: Path, save: Callable[[Path], Path], precision: str, rtol: float
) -> None:
    target = any_pipeline(save(tmp_path / "model"))
    given, found = pictures(), {}
    for accelerator in ("cpu", "cuda"):
        runtime = cpu_runtime(accelerator=accelerator, query_precision=precision if accelerator == "cuda" else "32")
        store = Store(tmp_path / accelerator)
        found[accelerator] = compute_trajectories(
            target.prepare(given, store, runtime, no_logger), given, k=10, t_max=50, maps=[], store=store,
            runtime=runtime,
        ).t_errors  # fmt: skip
    np.testing.assert_allclose(found["cuda"], found["cpu"], rtol=rtol)
