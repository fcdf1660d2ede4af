"""A noise predictor that a Python program holds in memory, as a target: ``secmi_exp.audit`` hands it over.

A configuration can't hold an object, so that it names one by its key. `hand_over` makes ``target=given`` a choice of
the configuration in this process; a command has none.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from typing import ClassVar

import torch
from hydra.core.config_store import ConfigStore
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from secmi_exp.data.images import Images
from secmi_exp.data.model_range import to_input_range
from secmi_exp.diffusion.noise_predictor import Condition, NoisePredictor, times_of
from secmi_exp.diffusion.path import GaussianPath
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.runtime import MakeLogger, Runtime
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.store import Key, Store
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.interface import InputSpace, PreparedTarget

VERSION = 1
"""Version of the reading; raised when the same predictor would be queried in another way."""

HELD: dict[str, NoisePredictor] = {}
"""Key → predictor that is registered at the moment."""


@contextmanager
def hand_over(predictor: NoisePredictor, key: str) -> Iterator[None]:
    """Register a predictor under a key, for ``target=given target.key=KEY``, while the context lasts."""
    node = {"_target_": f"{__name__}.GivenTarget", "name": "given", "key": "???"}
    ConfigStore.instance().store(group="target", name="given", node=node)
    HELD[key] = predictor
    try:
        yield
    finally:
        del HELD[key]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class GivenTarget:
    """The predictor that was handed over under a key."""

    conditions: ClassVar[tuple[str, ...]] = ()
    input_space: ClassVar[InputSpace] = "pixels"
    trained_here: ClassVar[bool] = False

    name: str
    key: str

    @property
    def predictor(self) -> NoisePredictor:
        """The object itself.

        Raises:
            UserError: where nobody has handed it over.
        """
        if self.key not in HELD:
            raise UserError(
                f"target.key={self.key} is an object that a Python program has given to secmi_exp.audit: call that "
                "again."
            )
        return HELD[self.key]

    @property
    def timesteps(self) -> Timesteps:
        """See `Target.timesteps`."""
        return self.predictor.path.timesteps

    def prepare(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> PreparedTarget:
        """Query a copy of it; its key stands for its code, and for all that it has besides its registered weights.

        Raises:
            UserError: for several devices, whose processes don't have the object.
        """
        if runtime.devices * runtime.nodes > 1:
            raise UserError(
                f"A target in memory can't be queried on trainer.devices={runtime.devices} and "
                f"trainer.nodes={runtime.nodes}, each of which needs a process of its own: set both to 1."
            )
        predictor = self.predictor
        config: dict[str, Json] = {
            "key": self.key,
            "class": f"{type(predictor).__module__}.{type(predictor).__qualname__}",
            "path": asdict(predictor.path),
            "guidance": predictor.guidance,
            "input_range": getattr(predictor, "input_range", None),
            **outside_classes(target=self),
        }
        key = Key("given", VERSION, config, {"weights": weights_digest(predictor)})
        return PreparedTarget(store.root, key, load=partial(copy_of, predictor))


def weights_digest(module: nn.Module) -> str:
    """SHA-256 over the registered weights of a module, in hexadecimal."""
    content = hashlib.sha256()
    for name, each in module.state_dict().items():
        if isinstance(each, Tensor):
            content.update(f"{name}\0{each.dtype}\0{tuple(each.shape)}\0".encode())
            content.update(each.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return content.hexdigest()


def copy_of(predictor: NoisePredictor) -> NoisePredictor:
    """A copy in evaluation mode, without queries so far: moving and converting it leaves the original alone."""
    copied = deepcopy(predictor).eval()
    copied.queries, copied.record_queries = 0, None
    return copied


PredictNoise = Callable[[Tensor, Tensor], Tensor]
"""ε_θ(x_t, t) of states [B, C, H, W] and their timesteps [B], int64: the predicted noise, [B, C, H, W]."""


class NoiseFunction(NoisePredictor):
    """A function of states and timesteps that predicts noise, as a target in pixel space.

    Args:
        function: ``(x_t, t) → ε``: gets states [B, C, H, W] in the precision of the queries (float32, unless
            ``trainer.query_precision`` says otherwise) and their timesteps [B] in int64, both on the device of the
            queries, and returns the predicted noise [B, C, H, W]. No gradients are kept. A `torch.nn.Module` is moved
            to that device and put into evaluation mode; any other function must look to that itself.
        alphas_cumprod: ᾱ_0 … ᾱ_{T−1} of its training: the share of the image's variance in x_t = √ᾱ x_0 + √(1−ᾱ) ε.
        input_range: the network's values of black and white.

    Raises:
        UserError: for what is no function, and unless the ᾱ are two or more numbers in (0, 1] that don't increase.
    """

    def __init__(
        self,
        function: PredictNoise,
        alphas_cumprod: Sequence[float] | Tensor,
        input_range: tuple[float, float] = (-1.0, 1.0),
    ):
        super().__init__()
        if not callable(function):
            raise UserError(f"The noise function is of type {type(function).__name__}: give a function (x_t, t) → ε.")
        values = torch.as_tensor(alphas_cumprod, dtype=torch.float64).flatten().tolist()
        falling = all(later <= earlier for earlier, later in pairwise(values))
        if len(values) < 2 or not falling or not 0.0 < values[-1] <= values[0] <= 1.0:
            raise UserError(
                f"alphas_cumprod has {len(values)} values" + (f", from {values[0]:g} to {values[-1]:g}" if values else
                "") + ": it must hold ᾱ_0 … ᾱ_{T−1}, two or more numbers above 0 and at most 1 that don't increase."
            )  # fmt: skip
        self.path, self.input_range = GaussianPath.from_alphas_cumprod(values), input_range
        self.function = Called(function)
        self.precision: Tensor
        self.register_buffer("precision", torch.zeros(()))  # in the type that the queries have asked for

    @property
    def network(self) -> nn.Module:
        """The function, as a module."""
        return self.function

    def encode(self, inputs: Tensor) -> Tensor:
        """Scale pixels to the input range, in the precision of the queries."""
        return to_input_range(inputs, self.input_range).to(torch.promote_types(self.precision.dtype, torch.float32))

    def evaluate(self, x: Tensor, time: float, condition: Condition) -> Tensor:
        """Call the function.

        Raises:
            UserError: unless it returns a tensor of the states' shape.
        """
        noise = self.function(x.to(self.precision.dtype), times_of(x, int(time)))
        if not isinstance(noise, Tensor) or noise.shape != x.shape:
            got = f"a tensor {list(noise.shape)}" if isinstance(noise, Tensor) else f"a {type(noise).__name__}"
            raise UserError(
                f"The noise function must return the noise in states {list(x.shape)} as a tensor of that shape, and "
                f"has returned {got}."
            )
        return noise.to(x.dtype)


class Called(nn.Module):
    """Any function as a module.

    Args:
        function: the function to call.
    """

    def __init__(self, function: PredictNoise):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Call it."""
        return self.function(x, t)
