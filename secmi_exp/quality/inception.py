"""Inception, the network of FID, read from a file of weights, and its features of images.

Source: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule" (NeurIPS 2017): the 2,048 features before the last
layer, by torch-fidelity's weights.
"""

import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize
from torchmetrics.image.fid import NoTrainInceptionV3

from secmi_exp.data.images import Pixels
from secmi_exp.errors import UserError, first_line
from secmi_exp.files.git_lfs import refuse_pointer
from secmi_exp.targets.loading.weights import refuse_compressed, refuse_non_finite_weights


def inception(weights: Path, setting: str = "quality.inception") -> NoTrainInceptionV3:
    """The network of FID with weights from a file, which is read as nothing but tensors.

    Args:
        weights: the file.
        setting: setting that names the file, for messages.

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
        raise UserError(f"{setting} needs torch-fidelity: pip install torch-fidelity, or set it to null.") from error
    except Exception as error:  # torch raises many kinds for a broken file
        raise UserError(
            f"{setting}={weights} can't be read as Inception's weights ({first_line(error)}): use "
            "weights-inception-2015-12-05-6726825d.pth of torch-fidelity's releases, or null."
        ) from error
    refuse_non_finite_weights(network.state_dict(), weights)
    return network


@torch.inference_mode()
def unit_features(pixels: Pixels, network: torch.nn.Module, device: torch.device) -> NDArray[np.float16]:
    """Features of length 1, of an image and its mirror image together, so that mirrored copies have the same.

    Args:
        pixels: [n, 1 or 3, H, W].
        network: `inception`, on the device.
        device: device that it runs on.

    Returns:
        [n, 2048].
    """
    images = torch.from_numpy(pixels).to(device).expand(-1, 3, -1, -1)
    features: NDArray[np.float16] = normalize(network(images) + network(images.flip(-1))).half().cpu().numpy()
    return features
