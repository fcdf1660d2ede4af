"""How a network of one's own is called: names and order of its arguments, form of its time, and what it returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Argument = Literal["x_t", "t"]
Arguments = Sequence[Argument] | Mapping[str, Argument]
"""Arguments of ``forward`` in order, or by name."""

TimeShape = Literal["batch", "column", "scalar"]


@dataclass(frozen=True)
class Calling:
    """A call of a network with states and their time."""

    arguments: Arguments
    whole: bool
    """Whether the time is a whole number; else it has the states' precision."""
    divisor: float
    """Divides the time."""
    shape: TimeShape
    """[B], [B, 1], or a single number."""

    def times(self, x_t: Tensor, time: float) -> Tensor:
        """The network's argument for a time, on the states' device.

        >>> calling = Calling(["x_t", "t"], whole=False, divisor=1000.0, shape="column")
        >>> calling.times(torch.zeros(2, 1, 8, 8), 500).tolist()
        [[0.5], [0.5]]
        """
        shape = {"batch": (len(x_t),), "column": (len(x_t), 1), "scalar": ()}[self.shape]
        value, dtype = (round(time), torch.long) if self.whole else (time / self.divisor, x_t.dtype)
        return torch.full(shape, value, dtype=dtype, device=x_t.device)

    def __call__(self, network: nn.Module, x_t: Tensor, time: float) -> object:
        """What the network returns."""
        given = {"x_t": x_t, "t": self.times(x_t, time)}
        if isinstance(self.arguments, Mapping):
            return network(**{name: given[each] for name, each in self.arguments.items()})
        return network(*(given[each] for each in self.arguments))


def prediction_in(output: object) -> object:
    """The tensor in what a network returns: itself, the first of several, or an attribute ``sample``.

    >>> prediction_in((1, 2)), prediction_in(3)
    (1, 3)
    """
    if isinstance(output, Tensor):
        return output
    if (sample := getattr(output, "sample", None)) is not None:
        return sample
    return output[0] if isinstance(output, tuple | list) and output else output
