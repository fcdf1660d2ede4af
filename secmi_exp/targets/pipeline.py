"""Any pipeline in diffusers' layout, in pixel space or latent, read by the family that its class belongs to."""

from collections.abc import Collection
from functools import cached_property
from pathlib import Path

from pydantic import ConfigDict, ImportString
from pydantic.dataclasses import dataclass

from secmi_exp.data.images import Images
from secmi_exp.diffusion.timesteps import TimeAxis, Timesteps
from secmi_exp.engine.runtime import MakeLogger, Runtime
from secmi_exp.store import Store
from secmi_exp.targets.families.known import open_pipeline
from secmi_exp.targets.interface import Inputs, InputSpace, PreparedTarget
from secmi_exp.targets.labels import LabelChoice, LabelledInputs, LabelQuery
from secmi_exp.targets.loading.hub import fetch
from secmi_exp.targets.loading.latent_folder import LatentFolder
from secmi_exp.targets.noise_schedule import DiscretePrediction, NoiseSchedule
from secmi_exp.targets.pixel.diffusers_folder import DiffusersFolder, pixel_files
from secmi_exp.targets.text_to_image.pipeline_folder import TextToImageFolder, pipeline_files
from secmi_exp.targets.text_to_image.target import FromElsewhere, LatentInputs

CODERS = ("vae", "vqvae")
"""Parts of which a latent pipeline has one."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Pipeline(FromElsewhere):
    """A pipeline that isn't trained further; its fields are those of ``conf/target/pipeline.yaml``."""

    family: ImportString[type[LatentFolder]] | None
    """Class of a latent pipeline of one's own; None: found by the class that the pipeline names."""
    label: LabelChoice
    """Class that images are queried with, where the network takes any."""
    time_axis: TimeAxis
    """What a timestep means on a continuous path."""
    input_range: tuple[float, float]
    """Values for black and white of a network in pixel space."""
    schedule: NoiseSchedule
    """Schedule of a network without a scheduler, in pixel space."""
    prediction_type: DiscretePrediction
    """Prediction of such a network."""

    @cached_property
    def _fetched(self) -> Path:
        """The folder, fetched where it is on the hub."""

        def files(names: Collection[str]) -> list[str]:
            latent = any(name.partition("/")[0] in CODERS for name in names)
            return (pipeline_files if latent else pixel_files)(names, self.weights, self.variant, self.path)

        return fetch(self.path, files)

    @cached_property
    def _pixel(self) -> DiffusersFolder | None:
        """The target in pixel space; None for a latent pipeline."""
        if self.family or self.one_file:
            return None
        folder = self._fetched
        if any((each / part).is_dir() for each in (folder, folder.parent) for part in CODERS):
            return None
        return DiffusersFolder(
            name=self.name, path=str(folder), input_range=self.input_range, schedule=self.schedule,
            prediction_type=self.prediction_type, weights=self.weights, variant=self.variant,
            label=self.label, guidance=self.guidance, time_axis=self.time_axis,
        )  # fmt: skip

    def read(self, path: Path) -> LatentFolder:
        """Read the descriptions of the latent pipeline in a folder."""
        if self.family:
            return self.family.from_path(path, self.weights, self.variant, self.time_axis)
        return open_pipeline(path, self.weights, self.variant, self.time_axis)

    @property
    def input_space(self) -> InputSpace:
        """See `Target.input_space`."""
        return self._pixel.input_space if self._pixel else "latents"

    @property
    def conditions(self) -> tuple[str, ...]:
        """See `Target.conditions`."""
        if self._pixel:
            return self._pixel.conditions
        if isinstance(self.folder, TextToImageFolder):
            return super().conditions
        return ("labels",) if self.label_query and self.label == "dataset" else ()

    @property
    def timesteps(self) -> Timesteps:
        """See `Target.timesteps`."""
        return self._pixel.timesteps if self._pixel else self.folder.timesteps

    @property
    def label_query(self) -> LabelQuery | None:
        """See `ClassConditional.label_query`."""
        if self._pixel:
            return self._pixel.label_query
        return self.folder.label_query(self.label, self.guidance)

    def prepare(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> PreparedTarget:
        """Read the descriptions; the weights are read where they lie.

        Raises:
            UserError: for a path where there is nothing, another kind of model, and images that it can't take.
        """
        if self._pixel:
            return self._pixel.prepare(members, store, runtime, make_logger)
        return self.prepared(self.pipeline(members, store), store)

    def inputs(self, folder: LatentFolder, images: Images, store: Store, runtime: Runtime) -> Inputs:
        """Return the latents, with prompts or classes where the denoiser takes any."""
        latents = LatentInputs(self, folder, images, store, runtime)
        return LabelledInputs(latents, self.label_query.labels_of(images)) if self.label_query else latents
