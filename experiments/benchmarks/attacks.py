"""Images/s of each attack that queries the target, from images to values in files, against a plain loop by hand.

`stat` and `nn`, whose queries are the same, are measured with single timesteps by `queries`. What is fitted to the
values of cdi, quantile and gsa is left out on both sides: it queries nothing.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.benchmarks import by_hand, published
from experiments.benchmarks.by_hand import Formula, Model
from experiments.benchmarks.measure import ROUNDS, Figure, alternating, ratios
from experiments.benchmarks.subjects import T, configured, images, network, runtime, saved_target, scaled
from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.scorers.map_distance import MapDistance
from secmi_exp.data.stored_rows import RowArray
from secmi_exp.diffusion.path import alphas_cumprod_from_betas
from secmi_exp.store import Store

QUERIES = 8192
"""Queries that each side makes in a round, about."""
SAMPLES, STEPS = 256, 20
"""What gan_leaks draws, and the DDIM steps of each sample."""

Values = NDArray[Any]

FORMULAS: Mapping[str, tuple[int, Formula, Callable[[Measurements], RowArray]]] = {
    "pia": (2, by_hand.pia, lambda found: found.values["proximal_error"]),
    "pian": (2, by_hand.pian, lambda found: found.values["proximal_error"]),
    "sima": (1, by_hand.sima, lambda found: found.values["prediction_norm"]),
    "loss": (5, by_hand.loss, lambda found: found.values["loss"]),
    "pfami": (20, by_hand.pfami, lambda found: found.values["fluctuation"]),
    "quantile": (11, by_hand.stat, lambda found: found.values["t_error"]),
    "distance": (11, by_hand.distance, lambda found: -MapDistance(p=4.0).score(found)),
    "cdi": (8, by_hand.cdi, lambda found: found.values["features"]),
    "gsa": (80, by_hand.gsa, lambda found: found.values["features"]),
}  # fmt: skip
"""Attack → queries an image, about what its batches of them cost, its formula, and where its values are.

cdi makes 31 queries an image, and is about collections: of 1,024 images.
"""

SETTINGS = ["attack.t_sec=100", "attack.k=10"]


def benchmark(device: torch.device, queries: int = QUERIES, rounds: int = ROUNDS) -> list[Figure]:
    """All of them, with the small network.

    Args:
        device: of both sides.
        queries: of each side in a round, about.
        rounds: of both in turn.
    """
    figures = [each for name in FORMULAS for each in compared(name, device, queries, rounds)]
    return [*figures, *compared_samples(device, queries, rounds)]


def compared(name: str, device: torch.device, queries: int, rounds: int) -> list[Figure]:
    """One attack whose values are those of a formula."""
    cost, formula, values = FORMULAS[name]
    n = max(4, queries // cost)
    pictures, root = images("small", n), Path(tempfile.mkdtemp())
    unet = network("small")
    target = saved_target(unet, root / "target")
    model = Model(unet.to(device), abar(device))
    pixels, settings = scaled(pictures, device), runtime(accelerator=device.type, query_batch_size=published.BATCH_SIZE)
    attack = configured("attack", f"+attack={name}", *overrides(name))
    made: list[Measurements] = []

    def ours() -> Values:
        shutil.rmtree(root / "store", ignore_errors=True)
        made.append(attack.measure(target, pictures, Store(root / "store"), settings))
        return np.asarray(values(made[-1])[:])

    @torch.no_grad()
    def theirs() -> Values:
        return by_hand.loop(model, pixels, formula).cpu().numpy()

    return outcome(name, n, ours, theirs, model, made, rounds, root)


def compared_samples(device: torch.device, queries: int, rounds: int) -> list[Figure]:
    """gan_leaks, whose queries draw samples."""
    samples = min(SAMPLES, max(4, queries // STEPS))
    pictures, root = images("small", 1024), Path(tempfile.mkdtemp())
    unet = network("small")
    target, settings = saved_target(unet, root / "target"), runtime(accelerator=device.type)
    model, pixels = Model(unet.to(device), abar(device)), scaled(pictures, device)
    attack = configured("attack", "+attack=gan_leaks", f"attack.samples={samples}", f"attack.steps={STEPS}")
    made: list[Measurements] = []

    def ours() -> Values:
        shutil.rmtree(root / "store", ignore_errors=True)
        made.append(attack.measure(target, pictures, Store(root / "store"), settings))
        return np.asarray(made[-1].values["distance"][:])

    @torch.no_grad()
    def theirs() -> Values:
        return by_hand.gan_leaks(model, pixels, samples, STEPS).cpu().numpy()

    name = f"gan_leaks of {samples} samples in {STEPS} steps"
    return outcome(name, len(pictures), ours, theirs, model, made, rounds, root)


def outcome(
    name: str,
    n: int,
    ours: Callable[[], Values],
    theirs: Callable[[], Values],
    model: Model,
    made: list[Measurements],
    rounds: int,
    root: Path,
) -> list[Figure]:
    """Compare queries and values first, then take the times."""
    found, by_formula = ours(), theirs()
    asked = model.queries
    if made[-1].queries_spent != asked:
        raise RuntimeError(f"{name} makes {made[-1].queries_spent} queries where its formula makes {asked}.")
    np.testing.assert_allclose(ordered(found), ordered(by_formula), rtol=1e-2, atol=1e-3, err_msg=name)
    seconds = alternating({"plain loop": theirs, "secmi_exp": ours}, rounds)
    shutil.rmtree(root)
    benchmark_name = f"attack={name.split()[0]}, small network, {n} images"
    return [
        Figure.of(benchmark_name, "both: queries an image", [asked / n], ""),
        Figure.of(benchmark_name, "plain loop", [n / each for each in seconds["plain loop"]], "images/s"),
        Figure.of(benchmark_name, "secmi_exp", [n / each for each in seconds["secmi_exp"]], "images/s"),
        Figure.of(benchmark_name, "plain loop / secmi_exp", ratios(seconds["plain loop"], seconds["secmi_exp"]), "×"),
    ]


def ordered(values: Values) -> Values:
    """The values of each image, in ascending order: those of several parts have no order of their own. [n, F]."""
    return np.sort(np.asarray(values, dtype=np.float64).reshape(len(values), -1), axis=1)


def overrides(name: str) -> list[str]:
    """Settings of an attack, equal to those of `by_hand`."""
    if name == "cdi":
        return [f"attack.parts.secmi.{each.removeprefix('attack.')}" for each in SETTINGS] + [
            "attack.parts.loss.t=100", "attack.parts.sima.t=100"
        ]  # fmt: skip
    return {"quantile": SETTINGS, "distance": SETTINGS, "loss": ["attack.t=100"], "sima": ["attack.t=100"]}.get(
        name, []
    )


def abar(device: torch.device) -> Tensor:
    """ᾱ of the target's schedule."""
    return alphas_cumprod_from_betas(torch.linspace(1e-4, 0.02, T)).float().to(device)
