"""How fast a dataset is decoded into the store, against a plain torchvision loop, and what opening it again costs.

Makes JPEGs of 64×64 pixels, pieces of scikit-image's photographs, in Tiny-ImageNet's published layout below a folder
that is left behind, so that a repetition starts at once.

    python experiments/image_cache.py /tmp/image_cache
"""

import argparse
import platform
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 200


def make_images(root: Path, n: int) -> None:
    """Write what is missing."""
    from skimage.data import astronaut, coffee

    photographs, random = (astronaut(), coffee()), np.random.default_rng(0)
    for i in range(n):
        label = f"n{i % CLASSES:08d}"
        folder = root / "tiny-imagenet-200/train" / label / "images"
        file = folder / f"{label}_{i // CLASSES}.JPEG"
        photograph = photographs[i % 2]
        y, x = (int(random.integers(0, size - 64)) for size in photograph.shape[:2])
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photograph[y : y + 64, x : x + 64]).save(file, quality=90)


def plain_loop(root: Path) -> float:
    """Seconds of torchvision's reader and transforms, one image after the other, into one array."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import Compose, PILToTensor, Resize

    started = time.monotonic()
    folder = ImageFolder(str(root / "tiny-imagenet-200/train"), transform=Compose([Resize(32), PILToTensor()]))
    pixels = np.empty((len(folder), 3, 32, 32), np.uint8)
    for row in range(len(folder)):
        pixels[row] = folder[row][0].numpy()
    return time.monotonic() - started


def load(root: Path) -> tuple[float, float]:
    """Seconds to have the dataset, and the peak memory beyond that of the imports, in GiB."""
    from secmi_exp.data.tiny_imagenet import TinyImageNet
    from secmi_exp.store import Store

    dataset = TinyImageNet(
        name="tinyin", source="made", licence="", image_size=32, channels=3, crop=None, horizontal_flip=False,
        on_error="stop", root=root,
    )  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    images = dataset.load(Store(root / "store"), progress_bar=False)
    assert images.pixels[-1].any()
    seconds = time.monotonic() - started
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("-n", type=int, default=100_000, help="images (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of loop and decoding in turn (default: %(default)s)")
    parser.add_argument("--stage", choices=["plain", "load"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    root: Path = arguments.root
    if arguments.stage:
        print(*((plain_loop(root),) if arguments.stage == "plain" else load(root)))
        return

    def stage(name: str) -> list[float]:
        """Each in a process of its own."""
        command = [sys.executable, __file__, str(root), "--stage", name]
        finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return [float(word) for word in finished.stdout.split()]

    make_images(root, arguments.n)
    print(f"{arguments.n} JPEGs of 64×64, {platform.processor() or platform.machine()}, {platform.python_version()}")
    for round_ in range(arguments.rounds):
        (plain,) = stage("plain")
        shutil.rmtree(root / "store", ignore_errors=True)
        built, built_gib = stage("load")
        opened, opened_gib = stage("load")
        print(
            f"round {round_}: torchvision loop {arguments.n / plain:.0f} images/s, decoded into the store "
            f"{arguments.n / built:.0f} images/s ({plain / built:.2f}×), +{built_gib:.2f} GiB; opened again in "
            f"{opened:.2f} s, +{opened_gib:.2f} GiB"
        )


if __name__ == "__main__":
    main()
