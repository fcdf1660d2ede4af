"""Simulated mechanisms whose privacy is known: each sample's own value, 0 or 1, plus Gaussian noise."""

import numpy as np

from secmi_exp.evaluation.scored import Scored


def coin_scores(rng: np.random.Generator, samples: int, mu: float) -> Scored:
    """Scores N(μ · coin, 1) of samples with fair coins: what a μ-GDP mechanism gives, independently for each."""
    is_member = rng.random(samples) < 0.5
    return Scored(rng.normal(mu * is_member), is_member)


def right_guesses(rng: np.random.Generator, runs: int, samples: int, mu: float, each: int) -> np.ndarray:
    """Right guesses in each run where the highest and the lowest scores are guessed, ``each`` of both. [runs]"""
    is_member = rng.random((runs, samples)) < 0.5
    order = np.argsort(rng.normal(mu * is_member), axis=1)
    ranked = np.take_along_axis(is_member, order, axis=1)
    return ranked[:, -each:].sum(axis=1) + (~ranked[:, :each]).sum(axis=1)
