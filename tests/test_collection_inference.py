"""Drawn collections of members are found, those of hold-outs at the nominal rate."""

import numpy as np
import pytest
from scipy.stats import kstest

from experiments.collection_inference import infer


@pytest.mark.slow
def test_members_are_found_and_hold_outs_at_their_rate() -> None:
    random = np.random.default_rng(0)
    found = infer(random.normal(0.8, 1, 400), random.normal(0, 1, 5000), size=100, repeats=300)
    assert (found.members < 0.01).mean() > 0.95
    assert kstest(found.holdouts, "uniform").pvalue > 0.01
    assert (found.holdouts < 0.05).mean() < 0.1
