"""secmi_exp: membership inference on diffusion models with SecMI, as a Hydra-driven experiment framework.

Importing the package imports nothing heavy, so that ``--help`` answers at once.
"""

import os
import sys

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
