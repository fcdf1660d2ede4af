"""The weights of a network of one's own: a state dict in a file, or in an entry of it, read as tensors alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from secmi_exp.errors import UserError
from secmi_exp.files.git_lfs import refuse_pointer
from secmi_exp.formatting import shown
from secmi_exp.targets.loading.blank_networks import Shapes, refuse_differing, tensor_shapes
from secmi_exp.targets.loading.settings_files import unreadable
from secmi_exp.targets.loading.weight_files import SAFETENSORS
from secmi_exp.targets.loading.weights import read_pickled, refuse_non_finite_weights

SHOWN = 3
"""Keys that a message names."""


@dataclass(frozen=True)
class StateDictFile:
    """A file with a network's state dict."""

    path: Path
    entry: str | None
    """Entry of the file that holds the state dict; None: the file is the state dict."""
    prefix: str | None
    """Prefix of the network's keys in the file."""

    def load_into(self, network: nn.Module) -> int:
        """Give the network its weights.

        Returns:
            Keys that were left out, since they don't have the prefix.

        Raises:
            UserError: for a file that can't be read or that holds no such state dict, and for weights that don't fit
                the network or aren't finite.
        """
        state = self._state_dict()
        prefix = self.prefix or ""
        own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        if state and not own:
            raise UserError(
                f"No key of the state dict in {self.path} begins with target.prefix={prefix}; they are "
                f"{named(state)}: set target.prefix to what stands before the network's own keys, or to null."
            )
        self._refuse_other_keys(network, tensor_shapes(own, self.path))
        refuse_non_finite_weights(own, self.path)
        network.load_state_dict(own)
        return len(state) - len(own)

    def _state_dict(self) -> dict[str, Tensor]:
        if not self.path.is_file():
            raise UserError(f"target.weights={self.path} is no file: set it to the file of the network's weights.")
        content = self._content()
        if not isinstance(content, dict):
            raise UserError(f"{self.path} holds an object of type {type(content).__name__}: a state dict is wanted.")
        if self.entry is not None:
            if not isinstance(content.get(self.entry), dict):
                raise UserError(
                    f"{self.path} has no state dict at target.entry={self.entry}; its entries are {named(content)}: "
                    "set target.entry to the one that holds the state dict, or to null where the file is it."
                )
            content = content[self.entry]
        others = [name for name, value in content.items() if not isinstance(value, Tensor)]
        if others:
            within = [str(name) for name, value in content.items() if isinstance(value, dict)]
            advice = f"set target.entry to one of {', '.join(within[:8])}" if within else "save the state dict alone"
            where = f"The entry {self.entry} of {self.path}" if self.entry else str(self.path)
            raise UserError(
                f"{where} is no state dict, since {shown(others[0])} in it is no tensor but of type "
                f"{type(content[others[0]]).__name__}: {advice}."
            )
        return {str(name): tensor for name, tensor in content.items()}

    def _content(self) -> object:
        if self.path.suffix != SAFETENSORS:
            return read_pickled(self.path)
        if self.entry is not None:
            raise UserError(
                f"target.entry={self.entry} can't be used with {self.path.name}: a safetensors file has no entries but "
                "tensors; set target.entry to null, and perhaps target.prefix."
            )
        refuse_pointer(self.path)
        try:
            return load_file(self.path)
        except Exception as error:  # safetensors names no single exception for a broken file
            raise unreadable(self.path, error) from error

    def _refuse_other_keys(self, network: nn.Module, given: Shapes) -> None:
        state = network.state_dict().items()
        own = {name: tuple(each.shape) for name, each in state if isinstance(each, Tensor)}
        what = f"The weights in {self.path} don't fit the network of target.factory"
        refuse_differing(given, own, what, "set target.prefix, target.entry or target.kwargs")


def named(names: Iterable[object] | Mapping[str, object]) -> str:
    """The first few names.

    >>> named(["a", "b"]), named("abcde")
    ('a, b', 'a, b, c, …')
    """
    every = [str(name) for name in names]
    return ", ".join([*every[:SHOWN], *(["…"] if len(every) > SHOWN else [])])
