"""Distances of two sets of images: the kernel distance of their pixels, and FID where Inception's weights are there.

Sources: Bińkowski et al., "Demystifying MMD GANs" (ICLR 2018), the cubic kernel and its unbiased estimate; Zaremba et
al., "B-tests: Low Variance Kernel Two-Sample Tests" (NeurIPS 2013), the mean over disjoint blocks; Heusel et al., "GANs
Trained by a Two Time-Scale Update Rule" (NeurIPS 2017), FID.
"""

import numpy as np
import torch
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3
from torchmetrics.image.kid import poly_mmd

from secmi_exp.data.images import Pixels
from secmi_exp.data.model_range import to_model_range
from secmi_exp.data.slices import slices
from secmi_exp.errors import UserError
from secmi_exp.evaluation.distributions import mean_interval
from secmi_exp.evaluation.scored import Interval

INCEPTION_BATCH = 64
"""Images at once; they are enlarged to 299×299 pixels."""


def kernel_distance(images: Pixels, reference: Pixels, blocks: int, seed: int) -> tuple[float, Interval]:
    """The squared maximum mean discrepancy of pixels in [−1, 1] under (x·y/d + 1)³, and its 95% interval.

    0 for images drawn like the reference; the estimate is unbiased, and below 0 about as often as above it then.

    Args:
        images: [n, C, H, W].
        reference: [m, C, H, W].
        blocks: disjoint ones, of as many images as references, that the interval's spread is of.
        seed: of the blocks.

    Raises:
        UserError: for fewer than two images a block.
    """
    size = min(len(images), len(reference)) // blocks
    if size < 2:
        raise UserError(
            f"quality.blocks={blocks} are too many for {len(images)} images and {len(reference)} hold-outs: choose at "
            f"most {min(len(images), len(reference)) // 2}."
        )
    random = np.random.default_rng(seed)
    drawn = [random.permutation(len(side))[: blocks * size].reshape(blocks, size) for side in (images, reference)]
    found = [
        float(poly_mmd(_pixels(images[ours]), _pixels(reference[theirs]))) for ours, theirs in zip(*drawn, strict=True)
    ]
    return mean_interval(found)


def _pixels(images: Pixels) -> Tensor:
    return to_model_range(torch.from_numpy(images)).flatten(1).double()


def inception_distance(images: Pixels, reference: Pixels, network: NoTrainInceptionV3, device: torch.device) -> float:
    """FID: the Fréchet distance of Inception's features. Its bias depends on the number of images.

    Args:
        images: [n, 1 or 3, H, W].
        reference: [m, 1 or 3, H, W].
        network: see `secmi_exp.quality.inception`.
        device: device that it runs on.
    """
    distance = FrechetInceptionDistance(network).to(device)
    for side, real in ((reference, True), (images, False)):
        for rows in slices(len(side), INCEPTION_BATCH):
            distance.update(torch.from_numpy(side[rows]).to(device).expand(-1, 3, -1, -1), real=real)
    return float(distance.compute())
