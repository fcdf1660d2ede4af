"""A DDPM's network and optimizer, tried before its training; see `dry_run.networks`."""

from dataclasses import asdict

import torch
from diffusers import DDPMScheduler, UNet2DModel

from secmi_exp.runtime import Runtime
from secmi_exp.targets.dry_run.networks import BATCH, Shape, try_network
from secmi_exp.targets.dry_run.optimizers import try_optimizer
from secmi_exp.targets.library_settings import Settings
from secmi_exp.targets.pixel.ddpm_recipe import DDPMRecipe
from secmi_exp.targets.pixel.ddpm_training import refuse_lost_signal
from secmi_exp.targets.pixel.pipeline_folder import refuse_other_images


def dry_run(recipe: DDPMRecipe, images: Shape, runtime: Runtime) -> None:
    """Build the network, predict once, and take a step of the optimizer.

    Raises:
        UserError: naming the setting that can't be used.
    """
    recipe.defense.refuse_runtime(runtime)

    def predict(network: UNet2DModel) -> None:
        refuse_other_images(network.config, images, "The network that target.network describes")
        network(torch.empty(BATCH, *images), torch.zeros(BATCH, dtype=torch.long))

    def make(settings: Settings) -> UNet2DModel:
        return UNet2DModel(**settings)

    try_network("diffusers", "target.network", recipe.network, UNet2DModel, make, predict)
    refuse_lost_signal(DDPMScheduler(**asdict(recipe.schedule)).alphas_cumprod)
    try_optimizer(recipe.optimizer, "target.optimizer")
