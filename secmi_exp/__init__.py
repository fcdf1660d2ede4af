"""secmi_exp: membership inference on diffusion models with SecMI, as a Hydra-driven experiment framework.

Importing the package imports nothing heavy, so that ``--help`` answers at once; the Python API is imported by whoever
asks for it. ``__init__.pyi`` has its types.
"""

import os
import sys
from pkgutil import resolve_name

from omegaconf import OmegaConf

from secmi_exp.configuration.paths import expand_home, from_environment, not_empty

OmegaConf.register_new_resolver("expand_home", expand_home, replace=True)  # for the folders that Hydra itself makes
OmegaConf.register_new_resolver("environment", from_environment, replace=True)
OmegaConf.register_new_resolver("not_empty", not_empty, replace=True)

if "ipykernel" not in sys.modules:
    # A Jupyter kernel gives its backend to all that it starts. No figure here needs one, and matplotlib, which
    # torchmetrics imports too, can't be imported where the backend isn't installed.
    os.environ.pop("MPLBACKEND", None)

__version__ = "0.1.0"

API = {
    "audit": "secmi_exp.api.audits:audit",
    "t_errors": "secmi_exp.api.audits:t_errors",
    "compare": "secmi_exp.api.comparison:compare",
    "load": "secmi_exp.api.result:load",
    "AuditResult": "secmi_exp.api.result:AuditResult",
    "NoiseFunction": "secmi_exp.targets.given:NoiseFunction",
    "UserError": "secmi_exp.errors:UserError",
}
"""Name → where it is."""


def __getattr__(name: str) -> object:
    """Import a part of the Python API."""
    if name not in API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return resolve_name(API[name])


def __dir__() -> list[str]:
    """The names of the Python API, too."""
    return sorted({*globals(), *API})
