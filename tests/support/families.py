"""Pipelines of any family as targets, what denoisers are evaluated with, and t-errors by the general formula."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from secmi_exp.attacks.signals.trajectories import Trajectories, compute_trajectories
from secmi_exp.data.images import Images
from secmi_exp.diffusion.trajectory import begin, walk
from secmi_exp.store import Store
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.targets.pipeline import Pipeline
from secmi_exp.testing import cpu_runtime, no_logger
from tests.support.diffusers_folders import PAPER
from tests.support.text_to_image import T_SEC, K, images


def any_pipeline(path: Path, **settings: Any) -> Pipeline:
    """`target=pipeline`."""
    defaults: dict[str, Any] = {
        "name": "pipeline", "path": str(path), "prompt": "caption", "fixed_prompt": None, "blip": "none",
        "guidance": 1.0, "latents": "mode", "attention_slicing": None, "seed": 0, "weights": "auto", "variant": None,
        "config": None, "lora": None, "lora_scale": 1.0, "family": None, "label": 1, "time_axis": "ddpm",
        "input_range": (-1.0, 1.0), "schedule": PAPER, "prediction_type": "epsilon",
    }  # fmt: skip
    return Pipeline(**defaults | settings)


def prepared(path: Path, store: Path, given: Images | None = None, **settings: Any) -> PreparedTarget:
    return any_pipeline(path, **settings).prepare(given or images(), Store(store), cpu_runtime(), no_logger)


def walked(target: PreparedTarget, store: Path, given: Images | None = None, precision: str = "32") -> Trajectories:
    runtime = cpu_runtime(query_batch_size=3, query_precision=precision)
    return compute_trajectories(
        target, given or images(), k=K, t_max=T_SEC, maps=[], store=Store(store), runtime=runtime
    )


def t_errors_in_float64(target: PreparedTarget, store: Path) -> tuple[np.ndarray, np.ndarray]:
    """t-errors of the walk, and of x_u = α_u (x_t − σ_t ε̂) / α_t + σ_u ε̂, up and down again; both [n]."""
    inputs = target.inputs(images(), Store(store), cpu_runtime(query_precision="64")).arrays()
    predictor = target.load().double()
    condition = {name: torch.from_numpy(np.asarray(rows[:])) for name, rows in inputs.condition.items()}
    path = predictor.path

    def predict(x: Tensor, t: int) -> Tensor:
        noise: Tensor = predictor.predict_noise(x, t, condition)
        return noise

    def moved(x: Tensor, t: int, u: int) -> Tensor:
        eps = predict(x, t)
        return path.alphas[u] * (x - path.sigmas[t] * eps) / path.alphas[t] + path.sigmas[u] * eps

    with torch.no_grad():
        x = x_0 = torch.from_numpy(inputs.x_0[:])
        *_, step = walk(predict, begin(predict, x_0), path, K, T_SEC)
        for t in range(0, T_SEC - K, K):
            x = moved(x, t, t + K)
        errors = moved(moved(x, T_SEC - K, T_SEC), T_SEC, T_SEC - K) - x
    return step.t_error().numpy(), errors.square().sum(dim=(1, 2, 3)).numpy()


def evaluations(network: nn.Module, action: Callable[[], object]) -> list[tuple[dict[str, Tensor], Tensor]]:
    """The tensors, by their arguments' names, that a network gets while something is done, and its outputs."""
    signature, found = inspect.signature(type(network).forward), []

    def note(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
        given = signature.bind(module, *arguments, **keywords).arguments
        found.append((tensors(given), output[0]))

    handle = network.register_forward_hook(note, with_kwargs=True)
    with torch.no_grad():
        action()
    handle.remove()
    return found


def tensors(given: Mapping[str, Any]) -> dict[str, Tensor]:
    found = {}
    for name, value in given.items():
        if isinstance(value, Tensor):
            found[name] = value
        elif isinstance(value, dict):
            found |= tensors(value)
    return found
