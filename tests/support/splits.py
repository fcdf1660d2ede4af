"""Image sets of a pixel an image, and their splits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secmi_exp.data.images import ImageSet, pixel_digests
from secmi_exp.data.split import Halves, Split

PARTS = {"attack_train": 0.2, "calibration": 0.25, "all_holdouts": False, "seed": 0, "attack_train_seed": None}


def image_set(
    n: int, unreadable: Sequence[int] = (), is_member: NDArray[np.bool_] | None = None, pixels: Any = None
) -> ImageSet:
    """n images of one pixel each, all different up to 65,536."""
    if pixels is None:
        pixels = np.arange(n, dtype=np.uint16).view(np.uint8).reshape(n, 1, 1, 2)
    return ImageSet(
        pixels, pixel_digests(pixels), [str(i) for i in range(n)], dict.fromkeys(unreadable, "?"), is_member
    )


def halves_rule(**settings: Any) -> Halves:
    return Halves(**({"ratio": 0.5, "members": None, "holdouts": None} | PARTS | settings))


def halves(n: int | ImageSet, **settings: Any) -> Split:
    return halves_rule(**settings).split(image_set(n) if isinstance(n, int) else n)
