"""The families of latent pipelines that are known, found by the class that a pipeline names."""

from pathlib import Path

from secmi_exp.diffusion.timesteps import TimeAxis
from secmi_exp.errors import UserError
from secmi_exp.targets.families.dit import DiTFolder
from secmi_exp.targets.families.flux import FluxFolder
from secmi_exp.targets.families.latent_unconditional import LatentUnconditionalFolder
from secmi_exp.targets.families.pixart import PixArtFolder
from secmi_exp.targets.families.stable_diffusion import StableDiffusionFolder
from secmi_exp.targets.families.stable_diffusion_3 import StableDiffusion3Folder
from secmi_exp.targets.loading.latent_folder import LatentFolder, locate, pipeline_kind
from secmi_exp.targets.loading.training_folder import WeightsChoice

FAMILIES: tuple[type[LatentFolder], ...] = (
    StableDiffusionFolder,
    StableDiffusion3Folder,
    FluxFolder,
    PixArtFolder,
    DiTFolder,
    LatentUnconditionalFolder,
)


def open_pipeline(
    path: Path, weights: WeightsChoice = "auto", variant: str | None = None, axis: TimeAxis = "ddpm"
) -> LatentFolder:
    """Read a pipeline's descriptions by the family of its class; see `LatentFolder.from_path`.

    Raises:
        UserError: for a class of no known family, and as `LatentFolder.from_path` does.
    """
    pipeline, _ = locate(path, weights)
    kind = pipeline_kind(pipeline)
    for family in FAMILIES:
        if kind in family.kinds:
            return family.from_path(path, weights, variant, axis)
    known = sorted(name for family in FAMILIES for name in family.kinds)
    raise UserError(
        f"The pipeline in {pipeline} is a {kind}, and these are known: {', '.join(known)}. A family of your own is "
        "named by target.family."
    )
