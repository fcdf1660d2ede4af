"""Peak memory of attacking a text-to-image pipeline with images of 512 px: what is encoded lies on disk."""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap

from experiments.benchmarks.measure import Figure
from experiments.benchmarks.memory import status

NUMBERS = (1_250, 5_000)
SIDE = 512
T_MAX, K = 50, 10


def benchmark(device: torch.device, numbers: tuple[int, ...] = NUMBERS, side: int = SIDE) -> list[Figure]:
    """A process for each number of images, since a peak never comes down."""
    figures = []
    for n in numbers:
        command = [sys.executable, "-m", "experiments.benchmarks.latent_memory", device.type, str(n), str(side)]
        finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        peak, stored, seconds = map(float, finished.stdout.split()[-3:])
        name = f"{n:,} captioned images of 3×{side}×{side}"
        figures.append(Figure.of("latent memory", f"{name}: peak above the imports", [peak], "GiB"))
        figures.append(Figure.of("latent memory", f"{name}: latents and embeddings in the store", [stored], "GiB"))
        figures.append(Figure.of("latent memory", f"{name}: time", [seconds], "s"))
    return figures


def save_pipeline(folder: Path) -> None:
    """Stable Diffusion's latents of 4×64×64 and embeddings of 77×768, with networks of a few channels."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    from secmi_exp.targets.text_to_image.byte_tokenizer import save_byte_tokenizer

    vocabulary = save_byte_tokenizer(folder / "tokenizer", 77)
    text = CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=768, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4
    )
    StableDiffusionPipeline(
        vae=AutoencoderKL(
            block_out_channels=[4] * 4, layers_per_block=1, latent_channels=4, norm_num_groups=4,
            down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
            mid_block_add_attention=False,
        ),
        unet=UNet2DConditionModel(
            sample_size=64, block_out_channels=[4] * 4, layers_per_block=1, norm_num_groups=4, attention_head_dim=4,
            down_block_types=["DownBlock2D"] * 4, up_block_types=["UpBlock2D"] * 4, cross_attention_dim=768,
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip


def main(accelerator: str, n: int, side: int) -> None:
    """Print the peak in GiB, what the store holds of latents and embeddings in GiB, and seconds."""
    from experiments.benchmarks.subjects import configured, runtime
    from secmi_exp.attacks.signals.trajectories import compute_trajectories
    from secmi_exp.data.images import Images, pixel_digests
    from secmi_exp.store import Store

    root = Path(tempfile.mkdtemp())
    save_pipeline(root / "model")
    random = np.random.default_rng(0)
    pixels = open_memmap(root / "pixels.npy", "w+", np.uint8, (n, 3, side, side))
    digests = []
    for row in range(n):
        pixels[row] = random.integers(0, 256, pixels.shape[1:], dtype=np.uint8)
        digests.append(pixel_digests(pixels[row : row + 1]))
    pixels.flush()
    del pixels
    settings = runtime(accelerator=accelerator)
    settings.trainer()  # imports the rest
    target = configured("target", "target=stable_diffusion", f"target.path={root}/model")
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    baseline = status("VmRSS")
    captions = [f"photograph no. {row}" for row in range(n)]
    images = Images(np.load(root / "pixels.npy", mmap_mode="r"), np.concatenate(digests), np.arange(n), captions)
    store = Store(root / "store")
    started = time.perf_counter()
    prepared = target.prepare(images, store, settings, lambda: None)
    compute_trajectories(prepared, images, k=K, t_max=T_MAX, maps=[T_MAX], store=store, runtime=settings)
    seconds = time.perf_counter() - started
    encoded = [file for kind in ("posteriors", "embeddings") for file in (root / "store" / kind).rglob("*.npy")]
    stored = sum(file.stat().st_size for file in encoded) / 2**30
    print(max(status("VmHWM") - baseline, 0.0), stored, seconds)
    shutil.rmtree(root)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
