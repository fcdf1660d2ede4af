"""Asking a target about many images, as rows that are filled batch by batch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from secmi_exp.attacks.signals.query_attack import QueryAttack
from secmi_exp.attacks.signals.query_batch import QueryBatch
from secmi_exp.diffusion.noise_predictor import NoisePredictor
from secmi_exp.engine import ranks
from secmi_exp.engine.compiling import CompileWhenItRepays
from secmi_exp.engine.row_journal import read_journal
from secmi_exp.engine.rows import Computed, fill_rows
from secmi_exp.engine.runtime import Runtime
from secmi_exp.store import write_json
from secmi_exp.store.query_tally import counting_queries
from secmi_exp.targets.interface import InputArrays


def ask(
    workspace: Path, attack: QueryAttack, load: Callable[[], NoisePredictor], inputs: InputArrays, counts: Path,
    runtime: Runtime, *, logger: None,
) -> None:  # fmt: skip
    """Fill values.npy [n, F]; runs on every rank, each of which notes its queries in the file `counts`."""
    predictor = load().to(runtime.query_dtype)
    columns = attack.columns(predictor)
    module = Asking(attack, predictor, tuple(inputs.condition), workspace)
    compiled = [] if attack.white_box else [CompileWhenItRepays(runtime.compile, predictor.network)]
    files = {workspace / "values.npy": ((len(columns),), np.dtype(np.float64))}
    arrays = (inputs.x_0, *inputs.condition.values())
    with counting_queries(predictor, counts):
        fill_rows(module, arrays, files, [workspace], runtime, runtime.query_batch_size, compiled)
    barrier()  # to note their queries
    if rank_info().rank == 0:
        (queries,) = {batch.queries for batch in noted(workspace)}
        write_json(workspace / "values.json", {"columns": columns, "queries_per_sample": queries})


class Asking(pl.LightningModule):
    """One batch of images to the attack's values."""

    def __init__(self, attack: QueryAttack, predictor: NoisePredictor, condition: tuple[str, ...], workspace: Path):
        super().__init__()
        self.attack, self.predictor, self.condition, self.workspace = attack, predictor, condition, workspace

    def on_predict_start(self) -> None:
        """The layout that CUDA's convolutions are fastest in."""
        if self.device.type == "cuda":
            self.predictor.to(memory_format=torch.channels_last)

    def predict_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Computed:
        """Ask."""
        with torch.inference_mode(not self.attack.white_box):
            given, *embeddings = (tensor.clone() for tensor in batch)  # gradients need tensors from outside that mode
            made = self.predictor.queries
            condition = dict(zip(self.condition, embeddings, strict=True))
            values = self.attack.values(QueryBatch(self.predictor, self.predictor.encode(given), condition))
        queries = (self.predictor.queries - made) // len(given)
        return Computed({self.workspace / "values.npy": values.double()}, {self.workspace: queries})
