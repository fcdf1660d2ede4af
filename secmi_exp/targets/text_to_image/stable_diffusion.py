"""Stable Diffusion as it was released, or any pipeline of its kind that was trained elsewhere."""

from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.data.images import Images
from secmi_exp.engine.runtime import MakeLogger, Runtime
from secmi_exp.errors import UserError
from secmi_exp.store import Store
from secmi_exp.targets.families.known import open_pipeline
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.targets.loading.latent_folder import LatentFolder
from secmi_exp.targets.text_to_image.pipeline_folder import TextToImageFolder
from secmi_exp.targets.text_to_image.target import FromElsewhere


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class StableDiffusion(FromElsewhere):
    """A pipeline that isn't trained further; its fields are those of ``conf/target/stable_diffusion.yaml``."""

    def read(self, path: Path) -> LatentFolder:
        """Read the descriptions by whatever family the pipeline is of."""
        folder = open_pipeline(path, self.weights, self.variant)
        if not isinstance(folder, TextToImageFolder):
            raise UserError(f"The {folder.kind} in {folder.path} takes no prompts: set target=pipeline.")
        return folder

    def prepare(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> PreparedTarget:
        """Read the descriptions; the weights are read where they lie.

        Raises:
            UserError: for a path where there is nothing, another kind of model, and images that it can't take.
        """
        return self.prepared(self.pipeline(members, store), store)
