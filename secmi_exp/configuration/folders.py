"""The folders that configurations are found in: the package's own, and that of --config-dir."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString

from secmi_exp.configuration.flags import read_flags

PACKAGE = Path(__file__).parents[1]
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
"""Inside the package in a wheel, at the top level in the repository."""


@dataclass(frozen=True)
class ConfigFolders:
    """Folders with a subfolder for each group."""

    main: Path
    """Holds config.yaml."""
    added: Path | None = None
    """The user's own."""

    @classmethod
    def from_arguments(cls, arguments: Sequence[str], main: Path) -> "ConfigFolders":
        """The folders that a command line names; the main one alone where it can't be read."""
        try:
            added = read_flags(arguments).config_dir
        except Exception:
            added = None
        return cls(main, Path(added) if added else None)

    @classmethod
    def from_job(cls, main: Path) -> "ConfigFolders":
        """The folders of the job that Hydra has started in this process; the main one alone outside of jobs."""
        if not HydraConfig.initialized():
            return cls(main)
        sources = HydraConfig.get().runtime.config_sources
        return cls(main, next((Path(each.path) for each in sources if each.provider == "command-line"), None))

    @property
    def all(self) -> list[Path]:
        """Both, or the main one."""
        return [self.main, *([self.added] if self.added else [])]

    @property
    def overrides(self) -> list[str]:
        """The override that makes Hydra's `compose` search the user's folder."""
        if not self.added:
            return []
        path = QuotedString(f"file://{self.added.absolute()}", Quote.double).with_quotes()
        return [f"hydra.searchpath=[{path}]"]

    def has_group(self, name: str) -> bool:
        """Whether a folder has such a group."""
        return bool(name) and any((folder / name).is_dir() for folder in self.all)

    def groups(self) -> list[str]:
        """Names of the groups."""
        return sorted({each.name for folder in self.all for each in folder.glob("*") if each.is_dir()})

    def choices(self, group: str) -> list[str]:
        """The names that a group can be set to."""
        return sorted({file.stem for folder in self.all for file in (folder / group).glob("*.yaml")})
