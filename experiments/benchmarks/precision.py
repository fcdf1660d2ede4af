"""What each precision costs in digits, on a trained target against float64; and what it brings, on a GPU."""

import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from experiments.benchmarks import published
from experiments.benchmarks.measure import ROUNDS, Figure, matrix_rate
from experiments.benchmarks.queries import flop_a_query
from experiments.benchmarks.subjects import T, images, network, recipe, runtime, saved_target, scaled
from secmi_exp.attacks.signals.trajectories import Trajectories, compute_trajectories
from secmi_exp.data.images import Images
from secmi_exp.diffusion.path import alphas_cumprod_from_betas
from secmi_exp.store import Store

PRECISIONS = ("32", "tf32", "16", "bf16")
MEMBERS = 256
T_MAX, K = 100, 10


def drift(device: torch.device, kept: Path, *overrides: str) -> list[Figure]:
    """Of AUC and t-errors over the ten timesteps, against float64 on the same target.

    Args:
        device: of the queries.
        kept: folder of a store for the target, which takes a minute to train.
        overrides: of its recipe.
    """
    pictures, settings = images("small", 2 * MEMBERS), runtime(accelerator=device.type)
    members = Images(pictures.pixels, pictures.digests, pictures.rows[:MEMBERS])
    target = recipe("small", *overrides).prepare(members, Store(kept), settings, lambda: None)
    root = Path(tempfile.mkdtemp())

    def walked(precision: str) -> Trajectories:
        chosen = runtime(accelerator=device.type, query_precision=precision)
        return compute_trajectories(target, pictures, k=K, t_max=T_MAX, maps=[], store=Store(root), runtime=chosen)

    is_member = np.arange(2 * MEMBERS) < MEMBERS
    exact = walked("64")
    figures = []
    for precision in PRECISIONS:
        if precision == "tf32" and device.type != "cuda":
            continue
        signals = walked(precision)
        relative = np.abs(signals.t_errors / exact.t_errors.astype(np.float64) - 1)
        aucs, exact_aucs = (
            np.array([roc_auc_score(is_member, -each.t_error(t)) for t in each.timesteps]) for each in (signals, exact)
        )
        name = f"query_precision={precision} against 64, trained small network, t_sec = {K} … {T_MAX}"
        figures += [
            Figure.of(name, "drift of AUC", np.abs(aucs - exact_aucs).tolist(), ""),
            Figure.of(name, "relative deviation of t-errors", relative.ravel().tolist(), ""),
        ]
    shutil.rmtree(root)
    return figures


def throughput(
    device: torch.device, n: int, size: str = "paper", *, compiled: Sequence[bool] = (False, True)
) -> list[Figure]:
    """Images/s of t-errors at t_sec = 100 with the paper's network, in each precision, compiled or not; for GPUs.

    Args:
        device: of the queries.
        n: images.
        size: of the network.
        compiled: with `torch.compile`, without, or both.
    """
    unet, pictures = network(size), images(size, n)
    root = Path(tempfile.mkdtemp())
    target = saved_target(unet, root / "target")
    pixels = scaled(pictures, device)
    abar = alphas_cumprod_from_betas(torch.linspace(1e-4, 0.02, T)).float().to(device)
    flop = flop_a_query(unet.to(device), pixels) * (T_MAX // K + 1)
    limit = matrix_rate(device, torch.bfloat16, 8192 if device.type == "cuda" else 512)
    name = f"t-errors at t_sec = {T_MAX}, {size} network, {n:,} images"
    baseline = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        published.t_errors(unet, pixels, abar, [T_MAX], K).cpu()
        baseline.append(n / (time.perf_counter() - started))
    figures = [Figure.of(name, "published, float32", baseline, "images/s")]
    for precision in PRECISIONS:
        for compile_ in compiled:
            settings = runtime(accelerator=device.type, query_precision=precision, compile=compile_)
            rates = []
            for _ in range(ROUNDS + 1):
                store = Store(root / "store")
                started = time.perf_counter()
                compute_trajectories(target, pictures, k=K, t_max=T_MAX, maps=[], store=store, runtime=settings)
                rates.append(n / (time.perf_counter() - started))
                shutil.rmtree(root / "store")
            what = f"query_precision={precision}, compile={str(compile_).lower()}"
            share = 100 * max(rates[1:]) * flop / limit
            figures.append(Figure.of(name, f"{what} ({share:.0f}% of bf16 products)", rates[1:], "images/s"))
    shutil.rmtree(root)
    return figures
