"""A target of our own that was trained before: found by the directory of a run, or by its folder in the store."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from secmi_exp.data.images import Images
from secmi_exp.errors import UserError
from secmi_exp.store import MANIFEST, Damaged, Key, check
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.targets.schedule import Schedule
from secmi_exp.targets.unconditional import Parts, Unconditional, read_json, refuse_other_images


@dataclass(frozen=True)
class Trained:
    """A store's entry with a pipeline in it."""

    folder: Path
    parts: Parts
    key: Key
    """What decided its weights."""

    @classmethod
    def at(cls, path: Path) -> "Trained":
        """Find it.

        Raises:
            UserError: where there is none, or its files have changed since it was trained.
        """
        results = path / "results.json"
        folder = Path(str(read_json(results).get("target_folder"))) if results.is_file() else path
        if not (folder / MANIFEST).is_file():
            raise UserError(
                f"{folder.absolute()} is no target of ours, having no {MANIFEST}: give a run's directory or a target "
                "in the store, or read any other pipeline by target=diffusers."
            )
        try:
            check(folder)
        except Damaged as damage:
            raise UserError(f"The target {folder} is damaged ({damage}): train it again.") from damage
        description: dict[str, Any] = read_json(folder / MANIFEST)["key"]
        return cls(folder, Parts.of(folder), Key(**description))

    @property
    def timesteps(self) -> int:
        """T of its schedule."""
        return len(Schedule.of(self.parts.scheduler_config() or {}).alphas_cumprod)

    def prepare(self, members: Images) -> PreparedTarget:
        """Under the key of its training, so that what was computed with it then is found again.

        Raises:
            UserError: where it takes other images.
        """
        refuse_other_images(self.parts.network_config(), members, str(self.folder))
        samples = self.folder / "samples.png"
        return PreparedTarget(
            self.folder,
            self.key.digest,
            load=partial(Unconditional, self.folder),
            trained_on=self.key.inputs.get("members"),
            samples=samples if samples.is_file() else None,
        )
