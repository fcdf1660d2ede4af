"""The class labels that a pixel-space network takes, and the inputs of one that takes any; needs no torch."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial

from secmi_exp.data.images import Images
from secmi_exp.engine.runtime import Runtime
from secmi_exp.store import Store
from secmi_exp.targets.interface import Inputs, InputSpace, MakeInputs, PixelInputs, pixels
from secmi_exp.targets.labels import LabelChoice, LabelledInputs, LabelQuery


class LabelledPixels(ABC):
    """Base class of targets in pixel space whose network may take class labels."""

    label: LabelChoice

    @property
    @abstractmethod
    def label_query(self) -> LabelQuery | None:
        """See `ClassConditional.label_query`."""

    @property
    def input_space(self) -> InputSpace:
        """See `Target.input_space`."""
        return "labelled pixels" if self.label_query else "pixels"

    @property
    def conditions(self) -> tuple[str, ...]:
        """See `Target.conditions`."""
        return ("labels",) if self.label_query and self.label == "dataset" else ()


def class_query(network: Mapping[str, object], choice: LabelChoice, guidance: float = 1.0) -> LabelQuery | None:
    """Return how images get the class that a network is queried with; None for one that takes none.

    A DiT has one more class, for none; one of a single class is always given that one. A U-Net of diffusers has none.

    Args:
        network: arguments of `UNet2DModel` or `DiTTransformer2DModel`.
        choice: see `LabelChoice`.
        guidance: w of classifier-free guidance; 1: none.
    """
    if isinstance(classes := network.get("num_class_embeds"), int):
        return LabelQuery(choice, classes, None, guidance)
    classes = network.get("num_embeds_ada_norm")
    return LabelQuery(choice, classes, classes, guidance) if isinstance(classes, int) and classes > 1 else None


def pixel_inputs(query: LabelQuery | None) -> MakeInputs:
    """Return what makes the inputs of a pixel-space target: images, with a class each where it takes any."""
    return partial(labelled, query) if query else pixels


def labelled(query: LabelQuery, images: Images, store: Store, runtime: Runtime) -> Inputs:
    """Return the inputs of a class-conditional model."""
    return LabelledInputs(PixelInputs(images), query.labels_of(images))
