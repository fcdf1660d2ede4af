"""secmi_exp: membership inference on diffusion models with SecMI, as a Hydra-driven experiment framework.

Importing the package imports nothing heavy, so that ``--help`` answers at once.
"""

__version__ = "0.1.0"
