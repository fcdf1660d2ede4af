"""Names, shapes and types of the tensors in a file; of safetensors only the header is read, and torch isn't needed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError
from secmi_exp.files.git_lfs import refuse_pointer
from secmi_exp.files.regular import refuse_irregular
from secmi_exp.targets.loading.settings_files import unreadable
from secmi_exp.targets.loading.weight_files import SAFETENSORS

read_pickled = Deferred("secmi_exp.targets.loading.weights:read_pickled")

STATE_DICT = "state_dict"
"""Key under which Lightning's checkpoints hold the weights."""

TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Types in the headers of safetensors → torch's names; others are no types of trained weights."""


@dataclass(frozen=True)
class TensorHeader:
    """What is known of a tensor before it is read."""

    shape: tuple[int, ...]
    dtype: str
    """Name of its type in torch."""


def tensor_headers(path: Path) -> dict[str, TensorHeader]:
    """Read the headers of the tensors in a file of safetensors or of `torch.save`; what isn't a tensor is left out.

    Raises:
        UserError: for a file that can't be read, or that could execute code.
    """
    refuse_pointer(path)
    if path.suffix != SAFETENSORS:
        state = state_dict(read_pickled(path), path)
        return {
            str(name): TensorHeader(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
            for name, tensor in state.items()
            if hasattr(tensor, "shape") and hasattr(tensor, "dtype")
        }
    try:
        refuse_irregular(path)
        with safe_open(path, framework="numpy") as content:
            slices = {name: content.get_slice(name) for name in content.keys()}  # noqa: SIM118
            return {
                name: TensorHeader(tuple(each.get_shape()), TYPES.get(each.get_dtype(), each.get_dtype()))
                for name, each in slices.items()
            }
    except Exception as error:  # safetensors names no single exception for a broken file
        raise unreadable(path, error) from error


def state_dict(content: object, path: Path) -> Mapping[Any, Any]:
    """Return the state dict of a pickled checkpoint: the content itself, or what it holds as ``state_dict``.

    Raises:
        UserError: where there is none.
    """
    state = content.get(STATE_DICT, content) if isinstance(content, dict) else content
    if not isinstance(state, dict):
        raise UserError(
            f"{path} holds a {type(state).__name__} instead of weights by their names: is it the right file?"
        )
    return state
