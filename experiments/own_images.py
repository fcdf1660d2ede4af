"""Folders of images as a data owner has them, out of the images of a run.

    python -m experiments.own_images RUN FOLDER [--images 12] [--seed 0]

RUN is the directory of a run on `dataset=digits`. FOLDER gets as PNG `used` (images that its target was trained on),
`unused` (images that it was not trained on, in their place) and `reference` (further ones that it was not trained on).
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from secmi_exp.data.digits import digit_pixels


def main() -> None:
    """Write the images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    random, pixels = np.random.default_rng(given.seed), digit_pixels()
    with np.load(given.run / "split.npz") as split:
        members, holdouts = (random.permutation(split[f"mia_{side}_idxs"]) for side in ("train", "eval"))
    n = given.images
    for name, rows in (("used", members[:n]), ("unused", holdouts[:n]), ("reference", holdouts[n : 2 * n])):
        (given.folder / name).mkdir(parents=True)
        for row in rows:
            Image.fromarray(pixels[row]).save(given.folder / name / f"{row:04d}.png")


if __name__ == "__main__":
    main()
