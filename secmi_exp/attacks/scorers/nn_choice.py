"""Choosing SecMI_NN's classifier by cross-validation on the attack-train part, training it, and scoring with it.

The evaluation part has no say: neither its labels nor its maps are read before the classifier is trained.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from secmi_exp.attacks.scorers.nn_training import (
    ErrorMapTraining,
    FoldBatches,
    Learner,
    Procedure,
    predict,
    resnet18_network,
    small_network,
)
from secmi_exp.attacks.scorers.scorer import FACTS, Fitting, Scores
from secmi_exp.attacks.signals.error_maps import ErrorMaps
from secmi_exp.data.stored_rows import RowArray
from secmi_exp.engine.training import fit
from secmi_exp.evaluation.roc import Roc
from secmi_exp.store import SCRATCH, Json, write_json

FEWEST_A_FOLD = 2
"""Maps of each side that a fold must have."""

Timesteps = tuple[int, ...] | None
"""Whose maps are the channels; None for maps that aren't SecMI's."""


class SmallRecipe(Protocol):
    """The settings `SmallSettings`."""

    widths: list[int]
    weight_decays: list[float]
    steps: list[int]
    lr: float
    batch_size: int


class Recipe(Protocol):
    """The settings of `ErrorMapClassifier`."""

    epochs: int
    min_steps: int
    batch_size: int
    lr: float
    momentum: float
    weight_decay: float
    checkpoint_every: int
    seed: int
    network: Literal["auto", "resnet18", "small"]
    folds: int

    @property
    def small(self) -> SmallRecipe:
        """Of the small network."""


@dataclass(frozen=True)
class Candidate:
    """A classifier that may be chosen."""

    network: Literal["resnet18", "small"]
    timesteps: Timesteps
    steps: int
    weight_decay: float
    width: int | None = None
    """Of the small network."""
    auc: float | None = None
    """Mean over the folds; None where there was no cross-validation."""

    def __str__(self) -> str:
        """Return what it is, in words."""
        name = f"small network of {self.width} channels" if self.width else "ResNet-18"
        at = f" on the maps at t_sec = {', '.join(map(str, self.timesteps))}" if self.timesteps else ""
        return f"{name}{at}, {self.steps} steps, weight decay {self.weight_decay:g}"


def choose_train_and_score(recipe: Recipe, maps: RowArray, fitting: Fitting) -> Scores:
    """Choose a classifier on the fitted rows, train it on all of them, score all maps [n, C, H, W]. [n].

    Where there are several to choose from, the choice is written into the workspace's file of facts.
    """
    trial = Trial(recipe, maps, fitting)
    tried = trial.candidates(recipe.network, maps.timesteps if isinstance(maps, ErrorMaps) else None)
    alternatives = maps.alternatives if isinstance(maps, ErrorMaps) else ()
    if len(tried) == 1 and not alternatives:
        return trial.train_and_score(tried[0])
    fewest = FEWEST_A_FOLD * recipe.folds
    if min(trial.sides) < fewest:
        chosen = tried[-1] if recipe.network == "resnet18" else first_small(tried)
        how = f"taken without a choice: {fewest} maps a side are needed for {recipe.folds}-fold cross-validation"
    else:
        tried = trial.cross_validated(tried)
        for timesteps in alternatives:  # with the best network alone
            tried += trial.cross_validated(trial.candidates(best_of(tried).network, timesteps))
        chosen = best_of(tried)
        how = f"AUC {chosen.auc:.3f} in {recipe.folds}-fold cross-validation{in_words(rivals(tried, chosen))}"
    facts: dict[str, Json] = {
        "summary": f"{chosen}, fitted on {sum(trial.sides)} maps; {how}.",
        "maps": sum(trial.sides),
        "folds": recipe.folds,
        "chosen": asdict(chosen),
        "candidates": [asdict(each) for each in tried],
    }
    write_json(fitting.workspace / FACTS, facts)
    return trial.train_and_score(chosen)


def best_of(candidates: Sequence[Candidate]) -> Candidate:
    """Return the candidate of the highest AUC, the first of several."""
    return max(candidates, key=lambda each: each.auc or 0.0)


def first_small(candidates: Sequence[Candidate]) -> Candidate:
    """Return the first small network of the lists in the settings."""
    return next(each for each in candidates if each.network == "small")


def rivals(candidates: Sequence[Candidate], chosen: Candidate) -> list[Candidate]:
    """Return the best candidate of each other network or other set of timesteps."""
    groups: dict[tuple[str, Timesteps], list[Candidate]] = {}
    for each in candidates:
        groups.setdefault((each.network, each.timesteps), []).append(each)
    return [best_of(group) for kind, group in groups.items() if kind != (chosen.network, chosen.timesteps)]


def in_words(others: Sequence[Candidate]) -> str:
    """Return the end of a sentence that names the others with their AUC."""
    return f" ({'; '.join(f'{each.auc:.3f}: {each}' for each in others)})" if others else ""


class Trial:
    """The maps and labels that classifiers are fitted on, and how they are trained.

    Args:
        recipe: the settings.
        maps: of all images, [n, C, H, W].
        fitting: which of them may be fitted on, and their labels.
    """

    def __init__(self, recipe: Recipe, maps: RowArray, fitting: Fitting):
        self.recipe, self.maps, self.fitting = recipe, maps, fitting
        self.sides = [int(fitting.is_member.sum()), int((~fitting.is_member).sum())]

    def candidates(self, network: str, timesteps: Timesteps) -> list[Candidate]:
        """Return what may be chosen; ``auto`` is either network."""
        recipe, small = self.recipe, self.recipe.small
        found = []
        if network in ("auto", "small"):
            listed = product(small.widths, small.weight_decays, small.steps)
            found += [Candidate("small", timesteps, steps, decay, width) for width, decay, steps in listed]
        if network in ("auto", "resnet18"):
            n = sum(self.sides)
            steps = max(recipe.epochs * (n // min(recipe.batch_size, n)), recipe.min_steps)
            found.append(Candidate("resnet18", timesteps, steps, recipe.weight_decay))
        return found

    def cross_validated(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates, all of the same timesteps, with their AUCs.

        What was found before the process was killed is read again.
        """
        judged = []
        for network in dict.fromkeys(each.network for each in candidates):
            own = [each for each in candidates if each.network == network]
            at = "-".join(map(str, own[0].timesteps or ()))
            workspace = self.fitting.workspace / SCRATCH / f"cross-validation-{network}-{at}"
            file = workspace / "aucs.json"
            if not file.is_file():
                aucs = self._cross_validate(own, workspace)
                write_json(file, aucs)
            judged += [replace(each, auc=auc) for each, auc in zip(own, json.loads(file.read_text()), strict=True)]
        return judged

    def train_and_score(self, chosen: Candidate) -> Scores:
        """Train a classifier on all fitted rows, score all maps."""
        maps = self._maps(chosen)
        fitted = np.array(maps[self.fitting.rows])
        learner = Learner(self._network(chosen, fitted), chosen.weight_decay)
        module = ErrorMapTraining([learner], self._procedure(chosen), self._scale(chosen, fitted))
        self._fit(module, fitted, np.zeros(len(fitted), np.int64), chosen.steps, self.fitting.workspace, final=True)
        return predict(module, maps, self.fitting.runtime)

    def _cross_validate(self, candidates: Sequence[Candidate], workspace: Path) -> list[float]:
        """Return the mean over the folds of each candidate's AUC on the fold that it was not trained on.

        All folds, and candidates that differ by their weight decay or width, are trained side by side; those that
        differ by the number of steps are one training, judged after each number.
        """
        first, is_member = candidates[0], self.fitting.is_member
        fitted = np.array(self._maps(first)[self.fitting.rows])
        folds = stratified_folds(is_member, self.recipe.folds, self.recipe.seed)
        trained = list(dict.fromkeys(replace(each, steps=0) for each in candidates))
        steps = sorted({each.steps for each in candidates})
        learners = [
            Learner(self._network(each, fitted), each.weight_decay, fold, number)
            for number, each in enumerate(trained)
            for fold in range(self.recipe.folds)
        ]
        module = ErrorMapTraining(
            learners, self._procedure(first), self._scale(first, fitted), steps, (len(trained), len(fitted))
        )
        self._fit(module, fitted, folds, steps[-1], workspace, final=False)
        scores = module.held_out.double().cpu().numpy()
        return [
            mean_auc(scores[steps.index(each.steps), trained.index(replace(each, steps=0))], is_member, folds)
            for each in candidates
        ]

    def _fit(
        self,
        module: ErrorMapTraining,
        fitted: NDArray[np.float16],
        folds: NDArray[np.int64],
        steps: int,
        workspace: Path,
        *,
        final: bool,
    ) -> None:
        """Train; metrics of the final training alone are logged."""
        fit(
            module,
            FoldBatches(fitted, self.fitting.is_member, folds, module.procedure),
            name="nn",
            label="classifier" if final else f"{len(module.learners)} classifiers to choose from",
            workspace=workspace,
            runtime=self.fitting.runtime,
            logger=self.fitting.make_logger() if final else None,
            max_steps=steps,
            checkpoint_every=self.recipe.checkpoint_every,
            validate_every=None if final else math.gcd(*module.judged_after),
        )

    def _maps(self, candidate: Candidate) -> RowArray:
        """Return the maps that a candidate sees."""
        if candidate.timesteps is None or not isinstance(self.maps, ErrorMaps):
            return self.maps
        return self.maps.at(candidate.timesteps)

    def _network(self, candidate: Candidate, fitted: NDArray[np.float16]) -> nn.Module:
        """Return a network with fresh weights, the same for each fold."""
        torch.manual_seed(self.recipe.seed)
        channels = fitted.shape[1]
        return small_network(channels, candidate.width) if candidate.width else resnet18_network(channels)

    def _procedure(self, candidate: Candidate) -> Procedure:
        """Return how a candidate's network is trained."""
        recipe, small = self.recipe, self.recipe.small
        if candidate.network == "small":
            loss, optimizer = nn.functional.binary_cross_entropy_with_logits, partial(torch.optim.AdamW, lr=small.lr)
            return Procedure(loss, optimizer, small.batch_size, recipe.seed)
        sgd = partial(torch.optim.SGD, lr=recipe.lr, momentum=recipe.momentum)
        return Procedure(nn.functional.mse_loss, sgd, recipe.batch_size, recipe.seed)

    def _scale(self, candidate: Candidate, fitted: NDArray[np.float16]) -> Tensor:
        """Return the standard deviation of all maps, or for the small network of each channel, [1, 1 or C, 1, 1]."""
        axes = (0, 2, 3) if candidate.network == "small" else None
        deviation = fitted.astype(np.float32).std(axis=axes, keepdims=True)
        return torch.from_numpy(np.where(deviation > 0, deviation, 1.0).astype(np.float32))


def stratified_folds(is_member: NDArray[np.bool_], folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each row, drawn at random, of either side as many in each as in the next, or one more. [n].

    >>> stratified_folds(np.array([True, False, True, False]), 2, 0).tolist()
    [1, 0, 0, 1]
    """
    random = np.random.default_rng(seed)
    fold = np.empty(len(is_member), np.int64)
    for side in (is_member, ~is_member):
        rows = random.permutation(np.flatnonzero(side))
        fold[rows] = np.arange(len(rows)) % folds
    return fold


def mean_auc(scores: NDArray[np.float64], is_member: NDArray[np.bool_], folds: NDArray[np.int64]) -> float:
    """Return the mean of the folds' AUCs: scores of different folds, from different networks, can't be compared."""
    numbers = np.unique(folds)
    return float(np.mean([Roc.from_scores(scores[folds == each], is_member[folds == each]).auc for each in numbers]))
