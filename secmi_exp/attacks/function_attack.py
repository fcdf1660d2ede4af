"""Query attacks that are plain functions: a YAML file names the function and its settings, and nothing else is needed.

```python
def score_norm(batch: QueryBatch, *, t: Timestep) -> dict[str, Tensor]:
    return {"score_norm": norm(batch.predict_noise(batch.x_0, t), 2)}
```
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, get_args

from pydantic import ConfigDict, ImportString, ValidationError, create_model
from pydantic.dataclasses import dataclass
from torch import Tensor

from secmi_exp.attacks.signals.query_attack import QueryAttack
from secmi_exp.attacks.signals.query_batch import TIMESTEP, QueryBatch
from secmi_exp.configuration.setting_errors import refused
from secmi_exp.errors import UserError
from secmi_exp.store import Json
from secmi_exp.store.class_identity import function_identity


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class FunctionAttack(QueryAttack):
    """Its values are those that a function returns for a batch: name → [B].

    The function gets a `QueryBatch`, and its settings as keyword arguments, which are validated against their types;
    those of type `Timestep`, or lists of them, are compared with the target's schedule, too.
    """

    version: ClassVar[int] = 1

    function: ImportString[Callable[..., Mapping[str, Tensor]]]
    """Such as ``my_package.my_module.my_function``."""
    settings: dict[str, Any]
    """Name → value of its keyword arguments."""

    def __post_init__(self) -> None:
        """Validate the settings.

        Raises:
            UserError: naming the first that is unknown, missing, or of another type.
        """
        parameters = list(inspect.signature(self.function, eval_str=True).parameters.values())[1:]
        fields: dict[str, Any] = {
            each.name: (each.annotation, ... if each.default is each.empty else each.default) for each in parameters
        }
        model = create_model("Settings", __config__=ConfigDict(extra="forbid"), **fields)
        try:
            validated = model(**self.settings)
        except ValidationError as error:
            raise UserError(refused(error, "attack.settings", self.settings)) from error
        object.__setattr__(self, "settings", {name: getattr(validated, name) for name in fields})

    @property
    def queried_timesteps(self) -> dict[str, int]:
        """See `QueryAttack.queried_timesteps`."""
        timesteps = {}
        for name, parameter in inspect.signature(self.function, eval_str=True).parameters.items():
            if TIMESTEP in get_args(parameter.annotation):
                timesteps[f"settings.{name}"] = self.settings[name]
            elif self.settings.get(name) and any(TIMESTEP in get_args(each) for each in get_args(parameter.annotation)):
                timesteps[f"settings.{name}"] = max(self.settings[name])
        return timesteps

    def key_config(self) -> dict[str, Json]:
        """See `QueryAttack.key_config`; the source of the function's module decides."""
        return {"attack": function_identity(self.function), "settings": self.settings}

    def query(self, batch: QueryBatch) -> Mapping[str, Tensor]:
        """Call the function."""
        return self.function(batch, **self.settings)
