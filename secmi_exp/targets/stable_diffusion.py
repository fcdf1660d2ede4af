"""Stable Diffusion as it was released, or any pipeline of its kind that was trained elsewhere."""

from functools import cached_property

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.data.images import Images
from secmi_exp.runtime import MakeLogger, Runtime
from secmi_exp.store import Store
from secmi_exp.targets.hub import found
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.targets.text_to_image import TextToImage
from secmi_exp.targets.text_to_image_folder import FETCHED, TextToImageFolder


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class StableDiffusion(TextToImage):
    """A pipeline on disk or on the hub; its fields are those of ``conf/target/stable_diffusion.yaml``."""

    path: str

    @cached_property
    def _folder(self) -> TextToImageFolder:
        return TextToImageFolder.of(found(self.path, FETCHED))

    @property
    def timesteps(self) -> int:
        """T of the scheduler."""
        return len(self._folder.schedule.alphas_cumprod)

    def prepare(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> PreparedTarget:
        """Read the descriptions; the weights are read where they lie.

        Raises:
            UserError: for a path that leads nowhere, another kind of model, and images that it can't take.
        """
        self._folder.refuse_other_images(members)
        return self.prepared(self._folder)
