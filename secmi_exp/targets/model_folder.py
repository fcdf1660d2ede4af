"""One network in a folder of diffusers or transformers: its description, and its weights as mere tensors."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from secmi_exp.errors import UserError
from secmi_exp.targets.weights import read_json, refuse_non_finite_weights, unreadable

CONFIG = "config.json"
SAFETENSORS, PICKLE = ".safetensors", ".bin"
STEMS = {
    "diffusers": {SAFETENSORS: "diffusion_pytorch_model", PICKLE: "diffusion_pytorch_model"},
    "transformers": {SAFETENSORS: "model", PICKLE: "pytorch_model"},
}
"""Library → kind of file → its name without the ending."""

REQUIRED = {"diffusers": ("missing", "unexpected", "mismatched"), "transformers": ("missing", "mismatched")}
"""Library → what weights must not be; checkpoints of old versions of transformers also hold buffers."""

PATTERNS = [CONFIG, *(f"{stem}*{ending}*" for kinds in STEMS.values() for ending, stem in kinds.items())]
"""Of the files that are read, as a hub's client takes them."""

# What the libraries warn of when weights don't fit is told here, as an error.
for library in ("diffusers.models.modeling_utils", "transformers"):
    logging.getLogger(library).setLevel(logging.ERROR)


def quiet_transformers() -> None:
    """Its bars for reading and writing weights are noise beside a run's own log."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class ModelFolder:
    """A configuration with weights beside it, in one file or in several."""

    path: Path
    library: Literal["diffusers", "transformers"]

    @property
    def config(self) -> dict[str, Any]:
        """What the network says of itself.

        Raises:
            UserError: where it says nothing.
        """
        return read_json(self.path / CONFIG)

    @property
    def weights(self) -> list[Path]:
        """The files that they are read from, safetensors preferred; none where there are none."""
        for ending, stem in STEMS[self.library].items():
            index = self.path / f"{stem}{ending}.index.json"
            if index.is_file():
                parts = sorted(set(read_json(index).get("weight_map", {}).values()))
                return [index, *(self.path / Path(part).name for part in parts)]
            if (self.path / f"{stem}{ending}").is_file():
                return [self.path / f"{stem}{ending}"]
        return []

    @property
    def files(self) -> list[Path]:
        """All that decides what it computes."""
        return [file for file in (self.path / CONFIG, *self.weights) if file.is_file()]

    def load(self, kind: Any) -> Any:
        """The network with its weights, in evaluation mode; pickled ones are read with ``weights_only``.

        Args:
            kind: its class, with a `from_pretrained` of diffusers' or transformers'.

        Raises:
            UserError: for weights that can't be read, that are no mere weights, that are not finite, or that don't fit
                the description.
        """
        if not self.weights:
            names = " or ".join(f"{stem}{ending}" for ending, stem in STEMS[self.library].items())
            raise UserError(f"{self.path.absolute()} holds no {names}: add the weights.")
        weights = self.weights[0]
        if self.library == "transformers":
            quiet_transformers()
        # Otherwise diffusers would let go of what doesn't fit before it could be told.
        options = {"low_cpu_mem_usage": False} if self.library == "diffusers" else {}
        try:
            network, found = kind.from_pretrained(
                self.path,
                use_safetensors=SAFETENSORS in weights.name,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # so that they are told like the others
                output_loading_info=True,
                **options,
            )
        except Exception as error:  # diffusers, transformers, safetensors and torch each raise their own
            raise unreadable(weights, error) from error
        for what in REQUIRED[self.library]:
            for key in found[f"{what}_keys"]:
                name, *shapes = [key] if isinstance(key, str) else key
                detail = " has the shapes {} and {}".format(*map(list, shapes)) if shapes else f" is {what}"
                raise UserError(
                    f"The weights in {weights} contradict the {CONFIG} beside them: {name}{detail}; put the "
                    f"{CONFIG} of the same network there."
                )
        refuse_non_finite_weights(network.state_dict(), weights)
        return network.eval()
