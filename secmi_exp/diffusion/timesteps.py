"""The timesteps of a trajectory, which also those need to know who never walk one."""


def timesteps(k: int, t_max: int, start: int = 0) -> list[int]:
    """The values of t_sec on a trajectory from ``start`` to t_max in steps of k.

    >>> timesteps(k=10, t_max=35)
    [10, 20, 30]
    """
    return list(range(start + k, t_max + 1, k))
