"""The mathematics on tensors: the noise schedule, one DDIM step, the trajectory. No Lightning, no Hydra."""
