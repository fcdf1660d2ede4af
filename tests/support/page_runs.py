"""Runs for the report page: a sweep's jobs with what a run leaves beside its scores."""

import io
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from tests.support.sweep_folder import SweepFolder

WARNED = [
    {"code": "split_at_fault", "sentence": "The split is at fault.", "side": None, "count": None, "grave": True},
    {"code": "captions_missing", "sentence": "3 images have no caption.", "side": None, "count": 3, "grave": False},
]


def amend(folder: Path, **fields: Any) -> Path:
    """Overwrite fields of a run's results.json."""
    path = folder / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields), encoding="utf-8")
    return folder


def configure(folder: Path, config: Mapping[str, Any]) -> Path:
    """Write a run's config.yaml."""
    (folder / "config.yaml").write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
    return folder


def swept(folder: Path, count: int = 3, each: int = 150, shrunk: int = 1) -> SweepFolder:
    """Jobs of a sweep over t_sec, each with a better attack, and a configuration, versions and pictures.

    ``shrunk`` divides the pictures' sides, which are a run's own by default.
    """
    sweep = SweepFolder(folder, each=each)
    for place in range(count):
        t_sec = 10 * (place + 1)
        job = sweep.job(["+attack=stat", f"attack.t_sec={t_sec}"], {"stat": 0.2 + 1.8 * place / count}, noise=place)
        bound: dict[str, Any] = {"epsilon": 0.5, "one_run": 0.1, "delta": 1e-5, "confidence": 0.95, "threshold": None}
        guesses = {"guessed_members": 20, "guessed_holdouts": 10, "correct": 28, "samples": 300}
        bound |= {"membership": "random_half", "abstaining": {"epsilon": 1.25, "epsilon_gaussian": 2.5, **guesses}}
        walk = {"timesteps": [10, 20], "queries_per_sample": [2, 3]}
        versions = {"secmi_exp": "0.1.0", "torch": "2.9.0", "gpu": None}
        code = {"version": "0.1.0", "revision": "0123456789abcdef", "modified": True}
        amend(job, t_sec=t_sec, k=10, epsilon_lower_bound=bound, trajectory=walk, versions=versions)
        amend(job, provenance={"code": code, "entries": []})
        configure(job, {"seed": 0, "attack": {"name": "stat", "t_sec": t_sec}, "dataset": {"name": "digits"}})
        for name, (width, height) in (("exposed.png", (1530, 540)), ("relative_t_error.png", (810, 630))):
            (job / name).write_bytes(noise((width // shrunk, height // shrunk), 10.0 + place))
    return sweep


@cache
def noise(size: tuple[int, int], deviation: float) -> bytes:
    """A PNG of noise around gray."""
    content = io.BytesIO()
    Image.effect_noise(size, deviation).save(content, "PNG")
    return content.getvalue()
