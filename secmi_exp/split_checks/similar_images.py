"""Images that a network takes for one: beside altered copies also crops and mirrored ones, which no hash finds.

Each image has 2,048 features, those of Inception that FID has, of it and its mirror image together. Images whose
features have a cosine of at least `split.similarity` are alike, and so are those that a chain of such pairs connects.
Every image is compared with every other: O(n²).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secmi_exp.data.images import ImageSet, Rows, release
from secmi_exp.data.near_duplicates import NearDuplicates, connected, find_near_duplicates, pairs_of
from secmi_exp.data.slices import slices
from secmi_exp.deferred import Deferred
from secmi_exp.engine.runtime import Runtime
from secmi_exp.progress import WorkProgress
from secmi_exp.store import Key, Store

inception = Deferred("secmi_exp.quality.inception:inception")
unit_features = Deferred("secmi_exp.quality.inception:unit_features")
first_device = Deferred("secmi_exp.engine.trainers:first_device")

VERSION = 1
"""Version of the features and of the search; raised when the same images would be grouped otherwise."""

BATCH = 64
"""Images at once; they are enlarged to 299×299 pixels."""
COMPARED = 1024
"""Images that are compared with as many others at once."""


@dataclass(frozen=True)
class Similarity:
    """What takes two images for one."""

    weights: Path
    """File of Inception's weights."""
    least: float
    """Cosine of their features."""

    def groups(self, images: ImageSet, store: Store, runtime: Runtime) -> Rows:
        """A number for each image, the same for those that are alike, out of the store where it is there. [N].

        Raises:
            UserError: for weights that are no Inception network's.
        """
        inputs = {"images": images.select(np.arange(len(images))).digest}
        weights = {"inception": store.file_digest(self.weights)}
        features = Key("image_features", VERSION, weights, inputs, ("features.npy",))
        groups = Key("similar_images", VERSION, {"least": self.least}, {"features": features}, ("alike.npy",))

        def compute(workspace: Path) -> None:
            np.save(workspace / "features.npy", self._features(images, runtime))

        def build(workspace: Path) -> None:
            found = np.load(store.get_or_build(features, compute).path / "features.npy", mmap_mode="r")
            np.save(workspace / "alike.npy", similar_groups(found, self.least))

        alike: Rows = np.load(store.get_or_build(groups, build).path / "alike.npy")
        return alike

    def _features(self, images: ImageSet, runtime: Runtime) -> NDArray[np.float16]:
        """Compute the features of all images that can be read; zeros for others. [N, 2048]."""
        device = first_device(runtime)
        network = inception(self.weights, "split.inception").to(device)
        rows = np.flatnonzero(images.readable)
        found: list[NDArray[np.float16]] = []
        with WorkProgress("Computing features", len(rows), "images", shown=runtime.progress_bar) as progress:
            for batch in slices(len(rows), BATCH):
                found.append(unit_features(images.pixels[rows[batch]], network, device))
                release(images.pixels)
                progress.advance(batch.stop, len(found[-1]))
        features = np.zeros((len(images), found[0].shape[1]), np.float16)
        features[rows] = np.concatenate(found)
        return features


def find_alike(images: ImageSet, store: Store, runtime: Runtime, similarity: Similarity | None) -> NearDuplicates:
    """Group a set by the hash and, where that is asked for, by features; what the store has is reused."""
    near = find_near_duplicates(images, store)
    if similarity is None or not images.readable.any():
        return near
    pairs = np.concatenate([pairs_of(near.alike), pairs_of(similarity.groups(images, store, runtime))])
    return NearDuplicates(connected(np.arange(len(images)), pairs), similarity=similarity.least)


def similar_groups(features: NDArray[np.float16], least: float) -> Rows:
    """A number for each image, the same for those that a chain of pairs joins with a cosine of at least ``least``. [n].

    Args:
        features: of length 1 or 0, [n, F].
        least: above 0.

    >>> similar_groups(np.array([[1, 0], [0, 1], [0.8, 0.6], [0.96, 0.28]], np.float16), 0.9).tolist()
    [0, 1, 0, 0]
    """
    lowest = np.arange(len(features))
    for first in slices(len(features), COMPARED):
        ours = features[first].astype(np.float32)
        for second in slices(len(features), COMPARED):
            if second.start < first.start:
                continue
            alike = ours @ features[second].astype(np.float32).T >= least
            alike &= lowest[first, None] != lowest[second]
            if alike.any():
                lowest = connected(lowest, np.argwhere(alike) + np.array([first.start, second.start]))
    return lowest
