"""t-errors of a sweep over 30 timesteps, and of a single one, against the published procedure on the same network."""

import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.benchmarks import published
from experiments.benchmarks.measure import ROUNDS, Figure, alternating, matrix_rate, ratios
from experiments.benchmarks.subjects import T, images, network, runtime, saved_target, scaled
from secmi_exp.attacks.signals.approach import choose_approach
from secmi_exp.attacks.signals.trajectories import Trajectories, compute_by_approach, compute_trajectories
from secmi_exp.diffusion.path import alphas_cumprod_from_betas
from secmi_exp.store import Store

K = 10


def benchmark(
    device: torch.device, size: str, n: int, t_max: int, *, sweep: bool, rounds: int = ROUNDS
) -> list[Figure]:
    """Both sides on the same images, the whole of each: here with store, Lightning and files.

    Args:
        device: of both.
        size: of the network.
        n: images.
        t_max: the last t_sec.
        sweep: whether all t_sec up to t_max are wanted, or the last alone.
        rounds: of both in turn.
    """
    name = f"{'sweep to' if sweep else 'single'} t_sec = {t_max}, {size} network, {n} images"
    steps = list(range(K, t_max + 1, K)) if sweep else [t_max]
    unet, pictures = network(size), images(size, n)
    abar = alphas_cumprod_from_betas(torch.linspace(1e-4, 0.02, T)).float().to(device)
    root = Path(tempfile.mkdtemp())
    target = saved_target(unet, root / "target")
    on_device, pixels = unet.to(device), scaled(pictures, device)
    settings = runtime(accelerator=device.type)

    def theirs() -> torch.Tensor:
        return published.t_errors(on_device, pixels, abar, steps, K).cpu()

    def ours() -> Trajectories:
        shutil.rmtree(root / "store", ignore_errors=True)
        return compute_trajectories(
            target, pictures, k=K, t_max=t_max, maps=[], store=Store(root / "store"), runtime=settings
        )

    here = ours()
    columns = [here.timesteps.index(t) for t in steps]
    torch.testing.assert_close(torch.from_numpy(here.t_errors[:, columns].copy()), theirs(), rtol=1e-2, atol=1e-7)
    asked = sum(t // K + 1 for t in steps)
    seconds = alternating({"published": theirs, "secmi_exp": ours}, rounds)
    figures = [
        Figure.of(name, "published: queries an image", [asked], ""),
        Figure.of(name, "secmi_exp: queries an image", [here.queries_spent / n], ""),
        Figure.of(name, "published", seconds["published"], "s"),
        Figure.of(name, "secmi_exp", seconds["secmi_exp"], "s"),
        Figure.of(name, "published / secmi_exp", ratios(seconds["published"], seconds["secmi_exp"]), "×"),
    ]
    shutil.rmtree(root)
    flop = flop_a_query(on_device, pixels)
    rate = [here.queries_spent * flop / each / 1e9 for each in seconds["secmi_exp"]]
    limit = matrix_rate(device) / 1e9
    return [
        *figures,
        Figure.of(name, "secmi_exp: rate", rate, f"GFLOP/s of {limit:.0f} in matrix products"),
    ]


def approach(device: torch.device, size: str, n: int, t_sec: int, *, rounds: int = ROUNDS) -> list[Figure]:
    """One t_sec alone: the published procedure, and the states on the way in lower precision and in longer steps.

    Args:
        device: of all.
        size: of the network.
        n: images.
        t_sec: the highest timestep queried.
        rounds: of all in turn.
    """
    name = f"t_sec = {t_sec} alone, {size} network, {n} images"
    unet, pictures = network(size), images(size, n)
    abar = alphas_cumprod_from_betas(torch.linspace(1e-4, 0.02, T)).float().to(device)
    root = Path(tempfile.mkdtemp())
    target = saved_target(unet, root / "target")
    on_device, pixels = unet.to(device), scaled(pictures, device)
    settings = runtime(accelerator=device.type)

    def alone(approach_k: int) -> Trajectories:
        shutil.rmtree(root / "store", ignore_errors=True)
        chosen = choose_approach(approach_k, K, [t_sec], settings)
        store = Store(root / "store")
        if not chosen:
            return compute_trajectories(target, pictures, k=K, t_max=t_sec, maps=[], store=store, runtime=settings)
        return compute_by_approach(
            target, pictures, k=K, compared=[t_sec], approach=chosen, maps=[], store=store, runtime=settings
        )

    sides: dict[str, Callable[[], object]] = {
        "published": lambda: published.t_errors(on_device, pixels, abar, [t_sec], K).cpu()
    }
    figures = []
    for approach_k in (K, 3 * K):
        chosen = choose_approach(approach_k, K, [t_sec], settings)
        precision = "bfloat16" if chosen and chosen.precision == "bf16" else "float32, as bfloat16 isn't native"
        way = f"approach_k = {approach_k}, approach in {precision}"
        sides[way] = partial(alone, approach_k)
        figures.append(Figure.of(name, f"{way}: queries an image", [alone(approach_k).queries_spent / n], ""))
    seconds = alternating(sides, rounds)
    shutil.rmtree(root)
    figures += [Figure.of(name, side, each, "s") for side, each in seconds.items()]
    for way in list(sides)[1:]:
        figures.append(Figure.of(name, f"published / {way}", ratios(seconds["published"], seconds[way]), "×"))
    return figures


def flop_a_query(unet: torch.nn.Module, pixels: torch.Tensor) -> float:
    """FLOP of one query on one image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        unet(pixels[:1], torch.zeros(1, device=pixels.device))
    return float(counter.get_total_flops())
