"""What tests of defenses share."""

from collections.abc import Iterator

import pytest

from tests.support.runs import few_sampling_steps


@pytest.fixture(autouse=True)
def sampled_quickly() -> Iterator[None]:
    """The targets that are trained here are looked at by no one."""
    with few_sampling_steps():
        yield
