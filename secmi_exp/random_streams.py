"""What keeps streams of random numbers apart that are seeded with the same number.

numpy's `SeedSequence` fills up with zeros, so that a generator of [seed, 0] gives the numbers of one of [seed]. What
must be independent of all else hence ends in a purpose, and none is 0.
"""

from enum import IntEnum


class Purpose(IntEnum):
    """The last of the numbers that a stream is seeded with."""

    DP_SGD = 1
    """Which images are in a batch, and the noise on its gradients."""
    WITHIN_NETWORK = 2
    """What the network itself draws in a training step, such as dropout."""
    CANARY_COINS = 3
    """Which canaries are included, and which of them an attack may learn from."""
    CANARY_CLASSES = 4
