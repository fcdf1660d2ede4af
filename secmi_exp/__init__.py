"""secmi_exp: membership inference on diffusion models with SecMI, as a Hydra-driven experiment framework.

Importing the package imports nothing heavy, so that ``--help`` answers at once.
"""

from omegaconf import OmegaConf

from secmi_exp.home_folders import expand_home

OmegaConf.register_new_resolver("expand_home", expand_home, replace=True)  # for the folders that Hydra itself makes

__version__ = "0.1.0"
