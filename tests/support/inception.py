"""A file of weights such as torch-fidelity publishes, with random ones."""

from pathlib import Path

import pytest
import torch
from torchmetrics.image.fid import NoTrainInceptionV3


def inception_weights(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the published one's layout with random weights."""
    with monkeypatch.context() as patch:
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
        network = NoTrainInceptionV3("inception-v3-compat", ["2048"])
    tensors = {name: 2 * each if "conv.weight" in name else each for name, each in network.state_dict().items()}
    torch.save(tensors, path)  # else so deep a network would tell no images apart
    return path
