"""Latents of images: posteriors of a pipeline's autoencoder, encoded once and kept in the store, and their samples."""

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secmi_exp.data.images import Images, Pixels, Rows
from secmi_exp.data.stored_rows import StoredRows
from secmi_exp.deferred import Deferred
from secmi_exp.engine.runtime import Runtime
from secmi_exp.files.strict_json import Json
from secmi_exp.store import Key, Store
from secmi_exp.targets.loading.latent_folder import LatentFolder

encode_images = Deferred("secmi_exp.targets.text_to_image.encoding:encode_images")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Latents:
    """x_0 = (z − shift) · scale of n images, computed batch by batch.

    z is the mean of the autoencoder's posterior, or a sample of it that depends on the image and the seed alone: it is
    the same in every run, whatever other images there are.
    """

    mean: StoredRows
    """[n, C, h, w]."""
    std: StoredRows
    """[n, C, h, w]."""
    shift: list[float]
    """[C]."""
    scale: list[float]
    """[C]."""
    digests: Pixels
    """Digests of the images, [n, 16]."""
    seed: int | None
    """None: the mean."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, C, h, w]."""
        return self.mean.shape

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, batch: Rows | slice) -> NDArray[Any]:
        """Compute a batch, [B, C, h, w]."""
        z = self.mean[batch]
        if self.seed is not None:
            z += self.std[batch] * np.stack([noise(self.seed, digest, z) for digest in self.digests[batch]])
        shift, scale = (np.asarray(values, z.dtype)[:, None, None] for values in (self.shift, self.scale))
        scaled: NDArray[Any] = (z - shift) * scale
        return scaled


def noise(seed: int, digest: Pixels, like: NDArray[Any]) -> NDArray[Any]:
    """Draw standard normal numbers for one image, [C, h, w]."""
    generator = np.random.default_rng([seed, *np.frombuffer(digest.tobytes(), np.uint32)])
    return generator.standard_normal(like.shape[1:], dtype=np.float32).astype(like.dtype)


@dataclass(frozen=True)
class EncodedImages:
    """The autoencoder's posteriors of images, in the store or to be computed."""

    folder: LatentFolder
    images: Images
    store: Store
    runtime: Runtime

    @cached_property
    def key(self) -> Key:
        """Key of the posteriors' means and standard deviations."""
        reading: dict[str, Json] = {"precision": self.runtime.encoder_precision}
        key = self.folder.key("posteriors", self.folder.coder, reading=reading, digest=self.store.file_digest)
        return replace(key, inputs={**key.inputs, "images": self.images.digest}, files=("mean.npy", "std.npy"))

    def latents(self, *, seed: int | None) -> Latents:
        """Find the posteriors in the store, or encode the images."""

        def encode(workspace: Path) -> None:
            self.folder.refuse_unusable_parts()
            log.info("Encoding %d images as latents.", len(self.images))
            self.runtime.run_on_all_ranks(encode_images, workspace, self.folder, self.images, self.runtime)

        entry = self.store.get_or_build(self.key, encode).path
        rows = np.arange(len(self.images))
        mean, std = (StoredRows(entry / f"{name}.npy", rows) for name in ("mean", "std"))
        shift, scale = self.folder.scaling
        return Latents(mean, std, shift, scale, self.images.digests[self.images.rows], seed)
