"""Rows that are computed by querying a target: precision, memory layout, compilation and counting, for all attacks."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from secmi_exp.data.stored_rows import RowArray
from secmi_exp.diffusion.noise_predictor import NoisePredictor
from secmi_exp.engine.collectives import rank_info
from secmi_exp.engine.compiling import CompileWhenItRepays
from secmi_exp.engine.rows import Predict, Prediction, Row, fill_rows
from secmi_exp.engine.runtime import Runtime
from secmi_exp.engine.trainers import first_device
from secmi_exp.store.query_tally import COUNT, count_bytes, read_count


def query_rows(
    predictors: Sequence[NoisePredictor],
    predict: Predict,
    arrays: Sequence[RowArray],
    files: Mapping[Path, Row],
    workspaces: Sequence[Path],
    query_file: Path,
    runtime: Runtime,
    *,
    gradients: bool = False,
    label: str = "Predicting",
) -> dict[Path, NDArray[np.int64]]:
    """Fill files by querying a target about each row of the arrays; called on every rank.

    Args:
        predictors: the target, in each type that it is queried in.
        predict: queries it about a batch; see `fill_rows`.
        arrays: see `fill_rows`.
        files: see `fill_rows`.
        workspaces: see `fill_rows`.
        query_file: of a `QueryTally`, in which each rank counts its queries.
        runtime: the machine.
        gradients: whether ``predict`` computes gradients, which compiled networks are not tried with.
        label: name of the work in the progress bar.

    Returns:
        On rank 0 workspace → queries that each row took, [n].
    """
    if first_device(runtime).type == "cuda":  # the layout that its convolutions are fastest in
        for predictor in predictors:
            predictor.to(memory_format=torch.channels_last)
    queries = partial(total_queries, predictors)
    prediction = Prediction(predict, nn.ModuleList(predictors), queries, gradients=gradients)
    compiled = [] if gradients else [CompileWhenItRepays(runtime.compile, each.network) for each in predictors]
    with counting_queries(predictors, query_file):
        return fill_rows(prediction, arrays, files, workspaces, runtime, runtime.query_batch_size, compiled, label)


def total_queries(predictors: Sequence[NoisePredictor]) -> int:
    """Return the queries that the predictors have answered so far, over all samples."""
    return sum(predictor.queries for predictor in predictors)


@contextmanager
def counting_queries(predictors: Sequence[NoisePredictor], file: Path) -> Iterator[None]:
    """Record the predictors' queries in a tally's file, at this rank's place, each before it is made."""
    place = COUNT.size * rank_info().rank
    counts = os.open(file, os.O_RDWR)
    before = read_count(os.pread(counts, COUNT.size, place))

    def record() -> None:
        os.pwrite(counts, count_bytes(before + total_queries(predictors)), place)

    for predictor in predictors:
        predictor.record_queries = record
    try:
        yield
    finally:
        for predictor in predictors:
            predictor.record_queries = None
        os.close(counts)
