"""What tests of defenses share."""

from collections.abc import Iterator
from functools import cache
from unittest.mock import patch

import pytest
from opacus.accountants.analysis import rdp

from tests.support.runs import few_sampling_steps


@pytest.fixture(autouse=True)
def sampled_quickly() -> Iterator[None]:
    """The targets that are trained here are looked at by no one."""
    with few_sampling_steps():
        yield


@pytest.fixture(autouse=True, scope="session")
def accounted_quickly() -> Iterator[None]:
    """The Rényi divergences of one step are computed once each: opacus does so for every number of steps."""
    with patch.object(rdp, "_compute_rdp", cache(rdp._compute_rdp)):
        yield
