"""The type of noise predictors, for annotations in modules that load no torch; ``noise_predictor_type.pyi`` has it."""

from typing import Any

NoisePredictor = Any
