"""Scale on paper."""

from experiments.benchmarks.measure import Figure


def figures() -> list[Figure]:
    """None."""
    return []
