"""A target that several stages or jobs share: loaded by the first of them, and kept in this process for the next.

What each gets is a copy whose parameters and buffers share the memory of the kept ones. It may be cast, moved, laid out
otherwise, compiled, hooked or counted in, and the kept one stays as it was loaded. Only writing into the weights
themselves would reach it; that is found by checksums, and they are loaded again.
"""

import gc
import logging
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from secmi_exp.diffusion.noise_predictor import NoisePredictor
from secmi_exp.formatting import as_size

log = logging.getLogger(__name__)

Load = Callable[[], NoisePredictor]


@dataclass(frozen=True)
class KeptTarget:
    """A target as it was loaded; nobody queries it."""

    digest: str
    load: Load
    predictor: NoisePredictor
    checksums: list[int]

    def is_target(self, load: Load, digest: str) -> bool:
        """Whether this is the target of a key, loaded in the same way: there are settings that decide no prediction."""
        return self.digest == digest and _call(self.load) == _call(load)


_kept: KeptTarget | None = None
"""The one target that this process keeps, if any."""


def load_kept(load: Load, digest: str) -> NoisePredictor:
    """Load a target, or copy the one that was loaded before; another one that was kept is forgotten first.

    Args:
        load: loads it; see `PreparedTarget.load`.
        digest: digest of the key that identifies the target's predictions.
    """
    global _kept
    if _kept and _kept.is_target(load, digest):
        if checksums(_kept.predictor) == _kept.checksums:
            log.info("The target's weights are those that were loaded before.")
            return sharing_copy(_kept.predictor)
        log.info("An attack has written into the target's weights: loading them again.")
    forget_target()
    predictor = load()
    if not predictor.can_be_kept:
        return predictor
    _kept = KeptTarget(digest, load, predictor, checksums(predictor))
    size = sum(tensor.nbytes for tensor in tensors_of(predictor))
    log.info("Keeping the target's weights in memory for whoever needs them next (%s).", as_size(size))
    return sharing_copy(predictor)


def forget_target() -> None:
    """Free the memory of the kept target, since other weights are about to be loaded or trained."""
    global _kept
    if _kept:
        _kept = None
        gc.collect()  # networks may hold references in circles


def sharing_copy(predictor: NoisePredictor) -> NoisePredictor:
    """Copy a predictor; the copy has parameters and buffers of its own, on the same memory."""
    shared: dict[int, Any] = {
        id(tensor): nn.Parameter(tensor.detach(), tensor.requires_grad)
        if isinstance(tensor, nn.Parameter)
        else tensor.detach()
        for tensor in tensors_of(predictor)
    }
    return deepcopy(predictor, shared)


def checksums(predictor: NoisePredictor) -> list[int]:
    """Sum each tensor's bits, read as whole numbers; no change goes unseen but a permutation of the weights."""
    return [sum_of_bits(tensor) for tensor in tensors_of(predictor)]


def sum_of_bits(tensor: Tensor) -> int:
    """Sum a tensor's memory, eight bytes at a time."""
    content = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
    whole = content[: content.size // 8 * 8]
    return int(whole.view(np.uint64).sum()) + int(content[whole.size :].sum())


def tensors_of(predictor: NoisePredictor) -> list[Tensor]:
    """Parameters and buffers, each once."""
    return [*predictor.parameters(), *predictor.buffers()]


def _call(load: Load) -> object:
    return (load.func, load.args, load.keywords) if isinstance(load, partial) else load
