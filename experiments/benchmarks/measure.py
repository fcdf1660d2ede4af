"""How the benchmarks measure: sides in turn within one process, medians with their spread, the device's own limit."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

ROUNDS = 5


@dataclass(frozen=True)
class Figure:
    """One line of a benchmark's table."""

    benchmark: str
    what: str
    median: float
    low: float
    high: float
    unit: str

    @classmethod
    def of(cls, benchmark: str, what: str, values: list[float], unit: str) -> "Figure":
        """Median and range of repeated measurements."""
        return cls(benchmark, what, statistics.median(values), min(values), max(values), unit)


def alternating(sides: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds of each side, in turn, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(rounds + 1):
        for name, side in sides.items():
            started = time.perf_counter()
            side()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round_:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ratios(slow: list[float], fast: list[float]) -> list[float]:
    """Round by round, so that a machine whose speed drifts does not matter."""
    return [a / b for a, b in zip(slow, fast, strict=True)]


def matrix_rate(device: torch.device, dtype: torch.dtype = torch.float32, size: int = 2048) -> float:
    """FLOP/s of square matrix products on this device: what a network could reach at best."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = 0.0
    for _ in range(8):
        started = time.perf_counter()
        for _ in range(4):
            a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = max(best, 4 * 2 * size**3 / (time.perf_counter() - started))
    return best


def machine(device: torch.device) -> str:
    """What the figures were taken on."""
    processor = next(
        (line.split(":")[1].strip() for line in cpu_lines() if line.startswith("model name")), platform.machine()
    )
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{len(os.sched_getaffinity(0))} CPU cores"
    return f"{name}, {processor}, torch {torch.__version__}, {date.today().isoformat()}"


def cpu_lines() -> list[str]:
    """What Linux tells of the processor; nothing elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def show(figures: list[Figure], on: str) -> None:
    """Print a table, in a section for each benchmark."""
    table = Table("figure", title=Text(on, style="table.title"), title_justify="left")
    table.add_column("median [min, max]", justify="right", no_wrap=True)
    for before, figure in zip([None, *figures], figures, strict=False):
        if before is None or before.benchmark != figure.benchmark:
            table.add_section()
            table.add_row(Text(figure.benchmark, style="bold"))
        values = f"{figure.median:.4g} [{figure.low:.4g}, {figure.high:.4g}] {figure.unit}"
        table.add_row(Text(f"  {figure.what}"), Text(values))
    Console().print(table)


def markdown(path: Path) -> str:
    """The figures that a file has kept, as experiments/README.md shows them."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    lines = ["| benchmark | figure | median [min, max] |", "|---|---|---|"]
    for benchmark, content in kept.items():
        for figure in (Figure(**row) for row in content["figures"]):
            values = f"{figure.median:.4g} [{figure.low:.4g}, {figure.high:.4g}] {figure.unit}".rstrip()
            lines.append(f"| {benchmark} | {figure.what} | {values} |")
    return "\n".join(lines)


def save(path: Path, figures: list[Figure], on: str) -> None:
    """Keep the figures of these benchmarks, and those of others that the file has already."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for benchmark in {figure.benchmark for figure in figures}:
        rows = [asdict(figure) for figure in figures if figure.benchmark == benchmark]
        kept[benchmark] = {"machine": on, "figures": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(sorted(kept.items())), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
