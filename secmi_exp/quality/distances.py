"""Distances of two sets of images: the kernel distance of their pixels, and FID where Inception's weights are there.

Sources: Bińkowski et al., "Demystifying MMD GANs" (ICLR 2018), the cubic kernel and its unbiased estimate; Zaremba et
al., "B-tests: Low Variance Kernel Two-Sample Tests" (NeurIPS 2013), the mean over disjoint blocks; Heusel et al., "GANs
Trained by a Two Time-Scale Update Rule" (NeurIPS 2017), FID.
"""

import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3
from torchmetrics.image.kid import poly_mmd

from secmi_exp.data.images import to_model_range
from secmi_exp.data.slices import slices
from secmi_exp.errors import UserError, first_line
from secmi_exp.evaluation.distributions import mean_interval
from secmi_exp.evaluation.scored import Interval
from secmi_exp.files.git_lfs import refuse_pointer
from secmi_exp.targets.loading.weights import refuse_compressed, refuse_non_finite_weights

Pixels = NDArray[np.uint8]

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
        network: see `inception`.
        device: that it runs on.
    """
    distance = FrechetInceptionDistance(network).to(device)
    for side, real in ((reference, True), (images, False)):
        for rows in slices(len(side), INCEPTION_BATCH):
            distance.update(torch.from_numpy(side[rows]).to(device).expand(-1, 3, -1, -1), real=real)
    return float(distance.compute())


def inception(weights: Path) -> NoTrainInceptionV3:
    """The network of FID with weights from a file, which is read as nothing but tensors.

    Raises:
        UserError: for a file that isn't Inception's weights, was not fetched, or holds some that are not finite, and
            where torch-fidelity is not installed.
    """
    refuse_pointer(weights)
    try:
        refuse_compressed(weights)
        tensors = torch.load(weights, map_location="cpu", weights_only=True)
        checked = io.BytesIO()  # torch-fidelity itself would unpickle whatever the file holds
        torch.save(tensors, checked)
        checked.seek(0)
        network = NoTrainInceptionV3("inception-v3-compat", ["2048"], checked)  # type: ignore[arg-type]  # or a file's name
    except UserError:
        raise
    except ModuleNotFoundError as error:
        raise UserError(
            "FID needs torch-fidelity: pip install 'secmi-exp[fid]', or set quality.inception=null."
        ) from error
    except Exception as error:  # torch raises many kinds for a broken file
        raise UserError(
            f"quality.inception={weights} can't be read as Inception's weights ({first_line(error)}): use "
            "weights-inception-2015-12-05-6726825d.pth of torch-fidelity's releases, or null for no FID."
        ) from error
    refuse_non_finite_weights(network.state_dict(), weights)
    return network
