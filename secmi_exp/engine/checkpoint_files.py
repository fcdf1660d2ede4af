"""How checkpoints of a training are written."""

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from secmi_exp.files.atomic import written_whole


class CheckpointFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its place.

    Lightning's own would hold it in memory once more and write it to $TMPDIR, which may lack the room, may be on
    another file system, and would keep it when the process is killed.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write it whole or not at all."""
        assert storage_options is None
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with written_whole(Path(path)) as partial, partial.open("wb") as file:
            torch.save(checkpoint, file)
