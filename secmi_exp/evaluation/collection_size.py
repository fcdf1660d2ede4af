"""How much of a collection was used, and how many images it takes to tell, from measured scores."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from secmi_exp.errors import UserError
from secmi_exp.evaluation.delong import placements
from secmi_exp.evaluation.proportions import lower_bound, upper_bound
from secmi_exp.evaluation.scored import Floats, Interval

LEVEL, POWER = 0.05, 0.8
"""One-sided level and power of the test on a collection."""
SHARES = np.linspace(0.0, 1.0, 1001)
"""Shares that are tried for the interval."""
FEWEST = 5
"""Images a side below which the normal approximation of the test says little."""


@dataclass(frozen=True)
class Share:
    """The share of a collection that was used."""

    value: float | None
    """Estimated share in [0, 1]; None where the attack calls known hold-outs members as often as known members."""
    ci95: Interval


def called(scores: Floats, threshold: float) -> tuple[int, int]:
    """How many of n scores call an image a member, and n."""
    return int((scores >= threshold).sum()), len(scores)


def used_share(collection: Floats, members: Floats, holdouts: Floats, threshold: float) -> Share:
    """p̂ = (q̂ − FPR)/(TPR − FPR), where q̂ is the share of the collection that a threshold calls members.

    It is that of Tong et al., "How much of my dataset did you use? Quantitative Data Usage Inference in Machine
    Learning" (ICLR 2025), for the simplest of their settings. It assumes that the collection's used images score as
    known members do, and the others as known hold-outs do.

    The interval is Fieller's: all p at which q̂ − p TPR − (1 − p) FPR lies within z standard deviations of 0, with the
    uncertainty of all three rates. Where the attack tells nothing it is [0, 1].

    Args:
        collection: scores, [n].
        members: scores of known members, [m].
        holdouts: scores of known hold-outs, [h].
        threshold: chosen on other images; scores from it on call an image a member.

    >>> half, known, not_used = (np.repeat([1.0, 0.0], each) for each in ([50, 50], [80, 20], [20, 80]))
    >>> found = used_share(half, known, not_used, 0.5)
    >>> round(found.value, 3), [round(end, 3) for end in found.ci95]
    (0.5, [0.309, 0.691])
    """
    counts = [called(each, threshold) for each in (collection, members, holdouts)]
    q, tpr, fpr = (k / n for k, n in counts)
    smoothed = [((k + 1.0) / (n + 2.0), n) for k, n in counts]  # at 0 and 1 a variance of 0 would say too much
    of_q, of_tpr, of_fpr = (rate * (1.0 - rate) / n for rate, n in smoothed)
    deviation = q - SHARES * tpr - (1.0 - SHARES) * fpr
    distance = np.abs(deviation) / np.sqrt(of_q + SHARES**2 * of_tpr + (1.0 - SHARES) ** 2 * of_fpr)
    within = SHARES[distance <= max(NormalDist().inv_cdf(0.975), float(distance.min()))]
    value = float(np.clip((q - fpr) / (tpr - fpr), 0.0, 1.0)) if tpr > fpr else None
    return Share(value, (float(within[0]), float(within[-1])))


def least_share(collection: Floats, holdouts: Floats, threshold: float) -> float:
    """A lower bound on the share at 95% confidence, (q − FPR)/(1 − FPR), which no known members are needed for.

    Exact one-sided bounds of q and FPR at 97.5% each, after Clopper and Pearson; no TPR exceeds 1.

    Args:
        collection: scores, [n].
        holdouts: scores of images that were not used, and are otherwise like the collection, [h].
        threshold: chosen on other images.

    >>> round(least_share(np.ones(100), np.zeros(100), 0.5), 3)
    0.962
    """
    low = float(lower_bound(*called(collection, threshold), confidence=0.975))
    high = float(upper_bound(*called(holdouts, threshold), confidence=0.975))
    return max(0.0, (low - high) / (1.0 - high)) if high < 1.0 else 0.0


@dataclass(frozen=True)
class Needed:
    """How many images it takes, with as many hold-outs; infinite where no number is known to do."""

    images: float
    ci95: Interval


@dataclass(frozen=True)
class PowerCurve:
    """Power of the test on a collection, over its size."""

    sizes: Floats
    """[s]."""
    power: Floats
    """[s]."""
    low: Floats
    """[s], of the 95% intervals."""
    high: Floats
    """[s]."""
    needed: Needed
    """Number of images needed for a power of 80%."""


def power_curve(members: Floats, holdouts: Floats, sizes: Floats, *, rounds: int, seed: int) -> PowerCurve:
    """Power of the Mann–Whitney test at a one-sided level of 5%, of n members against n hold-outs.

    With AUC A and DeLong's variances S₁₀, S₀₁ of its components the test's statistic is about normal with mean A and
    variance (S₁₀ + S₀₁)/n, and its threshold is ½ + z √((2n + 1)/(12 n²)). The intervals are those of a bootstrap over
    both sides: they hold the uncertainty of what was measured. Collections are taken to be like the members measured.

    Args:
        members: scores, at least two.
        holdouts: scores, at least two.
        sizes: n, [s].
        rounds: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        UserError: for a side with fewer than two, and for scores that are not finite.
    """
    if min(len(members), len(holdouts)) < 2:
        raise UserError(
            f"{len(members)} members and {len(holdouts)} hold-outs say nothing of how scores vary: judge two of each "
            "at least."
        )
    random = np.random.default_rng(seed)
    measured = moments(members, holdouts)
    resampled = [moments(random.choice(members, len(members)), random.choice(holdouts, len(holdouts)))
                 for _ in range(rounds)]  # fmt: skip
    curves = np.array([power(*each, sizes) for each in resampled])
    low, high = np.percentile(curves, [2.5, 97.5], axis=0)
    counts = np.sort([images_needed(*each) for each in resampled])
    ends = counts[math.floor(0.025 * (rounds - 1))], counts[math.ceil(0.975 * (rounds - 1))]
    needed = Needed(images_needed(*measured), (float(ends[0]), float(ends[1])))
    return PowerCurve(sizes, power(*measured, sizes), low, high, needed)


def moments(members: Floats, holdouts: Floats) -> tuple[float, float]:
    """AUC, and S₁₀ + S₀₁."""
    scores, is_member = np.concatenate([members, holdouts]), np.repeat([True, False], [len(members), len(holdouts)])
    outscored, outscoring = placements(scores, is_member)
    return float(outscored.mean()), float(outscored.var(ddof=1) + outscoring.var(ddof=1))


def power(auc: float, variance: float, sizes: Floats) -> Floats:
    """See `power_curve`. [s]."""
    threshold = NormalDist().inv_cdf(1.0 - LEVEL) * np.sqrt((2.0 * sizes + 1.0) / (12.0 * sizes**2))
    deviation = np.sqrt(max(variance, np.finfo(np.float64).tiny) / sizes)
    return np.array([NormalDist().cdf(each) for each in np.clip((auc - 0.5 - threshold) / deviation, -38.0, 38.0)])


def images_needed(auc: float, variance: float) -> float:
    """The least n, of those from `FEWEST` on, with a power of at least 80%; infinite for an AUC of ½ or less.

    >>> images_needed(0.75, 1 / 6)  # about 12.4 / (12 · 0.25²)
    17
    """
    if auc <= 0.5:
        return math.inf
    z, z_power = NormalDist().inv_cdf(1.0 - LEVEL), NormalDist().inv_cdf(POWER)
    n = max(FEWEST, math.ceil(((z * math.sqrt(1.0 / 6.0) + z_power * math.sqrt(variance)) / (auc - 0.5)) ** 2))
    while n < 1e6 and power(auc, variance, np.array([float(n)]))[0] < POWER:
        n += 1
    return n
