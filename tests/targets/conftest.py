"""What tests of targets share."""

from collections.abc import Iterator

import pytest

from tests.support.runs import few_sampling_steps


@pytest.fixture
def sampled_quickly() -> Iterator[None]:
    """Two sampling steps for targets that are trained and looked at by no one."""
    with few_sampling_steps():
        yield
