"""What few images can say: how much a threshold loses that few images calibrate, and how often intervals hold.

    python -m experiments.few_images

Scores are normal, members' a distance d higher than hold-outs', so that all true values are known: AUC = Φ(d/√2), best
accuracy = Φ(d/2).
"""

from math import sqrt
from statistics import NormalDist

import numpy as np

from secmi_exp.evaluation.judge import judge
from secmi_exp.evaluation.roc import Roc
from secmi_exp.evaluation.scored import Scored

NORMAL = NormalDist()
DISTANCES = (0.5, 1.0, 2.0)
ROUNDS = 2000


def drawn(random: np.random.Generator, n: int, distance: float) -> Scored:
    """Scores of n members and n hold-outs."""
    return Scored(random.normal(0, 1, 2 * n) + np.repeat([distance, 0.0], n), np.arange(2 * n) < n)


def lost_accuracy(n: int, distance: float) -> float:
    """Mean accuracy that a threshold loses against the best one, if n images a side calibrate it."""
    random = np.random.default_rng(0)
    reached = []
    for _ in range(ROUNDS):
        scored = drawn(random, n, distance)
        threshold, _ = Roc.from_scores(scored.scores, scored.is_member).best_threshold()
        reached.append(
            (NORMAL.cdf(distance - threshold) + NORMAL.cdf(threshold)) / 2 if np.isfinite(threshold) else 0.5
        )
    return NORMAL.cdf(distance / 2) - float(np.mean(reached))


def coverage(n: int, distance: float) -> tuple[float, float]:
    """Shares of samples of n a side whose intervals of AUC and of ASR cover the true value."""
    random = np.random.default_rng(1)
    truths = {"auc": NORMAL.cdf(distance / sqrt(2)), "asr": NORMAL.cdf(distance / 2)}
    covered = dict.fromkeys(truths, 0)
    for _ in range(ROUNDS):
        intervals = judge(drawn(random, n, distance), None, rounds=1, seed=0).ci95
        for name, truth in truths.items():
            low, high = intervals[name] or (1.0, 0.0)
            covered[name] += low <= truth <= high
    return covered["auc"] / ROUNDS, covered["asr"] / ROUNDS


def main() -> None:
    """Print both tables."""
    columns = "".join(f"{f'd = {distance:g}':>14}" for distance in DISTANCES)
    print(f"accuracy lost to a threshold that n images a side calibrate\n{'n':>4}{columns}")
    for n in (1, 3, 5, 10, 20, 50):
        print(f"{n:>4}" + "".join(f"{lost_accuracy(n, distance):>14.3f}" for distance in DISTANCES))
    print(f"\nshare of 95% intervals that cover the true AUC / ASR, n judged a side\n{'n':>4}{columns}")
    for n in (2, 3, 6, 12, 50):
        cells = ("{:.3f} / {:.3f}".format(*coverage(n, distance)) for distance in DISTANCES)
        print(f"{n:>4}" + "".join(f"{cell:>14}" for cell in cells))


if __name__ == "__main__":
    main()
