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
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from secmi_exp.attacks.scorers.nn_settings import ClassifierSettings
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
from secmi_exp.files.strict_json import Json
from secmi_exp.formatting import counted
from secmi_exp.store import SCRATCH, write_json

FEWEST_A_FOLD = 2
"""Maps of each side that a fold must have."""

FAR_BELOW = 0.1
"""AUC by which a ResNet-18 may lie below the best network and still be trained without another fold."""

Timesteps = tuple[int, ...] | None
"""Whose maps are the channels; None for maps that aren't SecMI's."""


@dataclass(frozen=True)
class Candidate:
    """A classifier that may be chosen."""

    network: Literal["resnet18", "small"]
    timesteps: Timesteps
    steps: int
    weight_decay: float
    width: int | None = None
    """Channels of the small network."""
    aucs: tuple[float, ...] = ()
    """AUC of each fold; fewer folds where the network was far below the best; empty without cross-validation."""

    @property
    def auc(self) -> float:
        """Mean over the folds."""
        return float(np.mean(self.aucs)) if self.aucs else 0.0

    def facts(self) -> dict[str, Json]:
        """Return its settings and AUCs."""
        return {**asdict(self), "auc": self.auc if self.aucs else None}

    def __str__(self) -> str:
        """Return what it is, in words."""
        name = f"small network of {self.width} channels" if self.width else "ResNet-18"
        at = f" on the maps at t_sec = {', '.join(map(str, self.timesteps))}" if self.timesteps else ""
        return f"{name}{at}, {self.steps} steps, weight decay {self.weight_decay:g}"


def choose_train_and_score(recipe: ClassifierSettings, maps: RowArray, fitting: Fitting) -> Scores:
    """Choose a classifier on the fitted rows, train it on all of them, score all maps [n, C, H, W]. [n].

    Where there are several to choose from, the choice is written into the workspace's file of facts.
    """
    trial = Trial(recipe, maps, fitting)
    tried = trial.candidates(recipe.network, maps.timesteps if isinstance(maps, ErrorMaps) else None)
    alternatives = maps.alternatives if isinstance(maps, ErrorMaps) and recipe.network != "resnet18" else ()
    if len(tried) == 1 and not alternatives:
        return trial.train_and_score(tried[0])
    fewest = FEWEST_A_FOLD * trial.folds
    if min(trial.sides) < fewest:
        chosen = tried[0]
        how = f"taken without a choice: {fewest} maps a side are needed for {trial.folds}-fold cross-validation"
    else:
        tried = trial.cross_validated(tried)
        for timesteps in alternatives:  # a ResNet-18 takes long, so only where it is the best so far
            networks = {"small", best_of(tried).network}
            further = [each for each in trial.candidates(recipe.network, timesteps) if each.network in networks]
            tried += trial.cross_validated(further, tried)
        chosen = best_of(tried)
        others = rejected(rivals(tried, chosen), trial.folds)
        how = f"AUC {chosen.auc:.3f} in {trial.folds}-fold cross-validation{others}"
    facts: dict[str, Json] = {
        "summary": f"{chosen}, fitted on {sum(trial.sides)} maps; {how}.",
        "maps": sum(trial.sides),
        "folds": trial.folds,
        "chosen": chosen.facts(),
        "candidates": [each.facts() for each in tried],
    }
    write_json(fitting.workspace / FACTS, facts)
    return trial.train_and_score(chosen)


def best_of(candidates: Sequence[Candidate]) -> Candidate:
    """Return the candidate of the highest AUC, the first of several."""
    return max(candidates, key=lambda each: each.auc)


def rivals(candidates: Sequence[Candidate], chosen: Candidate) -> list[Candidate]:
    """Return the best candidate of each other network or other set of timesteps."""
    groups: dict[tuple[str, Timesteps], list[Candidate]] = {}
    for each in candidates:
        groups.setdefault((each.network, each.timesteps), []).append(each)
    return [best_of(group) for kind, group in groups.items() if kind != (chosen.network, chosen.timesteps)]


def rejected(others: Sequence[Candidate], folds: int) -> str:
    """Return a sentence that names the others with their AUC, and what ends the one before; nothing for none."""
    descriptions = (f"{each}, AUC {each.auc:.3f}{in_few(len(each.aucs), folds)}" for each in others)
    return f". Rejected: {'; '.join(descriptions)}" if others else ""


def in_few(judged: int, folds: int) -> str:
    """Return in how many folds a candidate was judged, where not in all."""
    return f" in {judged} of the folds" if judged < folds else ""


class Trial:
    """The maps and labels that classifiers are fitted on, and how they are trained.

    Args:
        recipe: the settings.
        maps: of all images, [n, C, H, W].
        fitting: rows that may be fitted on, and their labels.
    """

    def __init__(self, recipe: ClassifierSettings, maps: RowArray, fitting: Fitting):
        self.recipe, self.maps, self.fitting = recipe, maps, fitting
        self.folds = recipe.folds or 0
        self.sides = [int(fitting.is_member.sum()), int((~fitting.is_member).sum())]

    def candidates(self, network: str, timesteps: Timesteps) -> list[Candidate]:
        """Return what may be chosen, small networks first; ``auto`` is either network."""
        recipe, small = self.recipe, self.recipe.small
        found = []
        if small and network in ("auto", "small"):
            listed = product(small.widths, small.weight_decays, small.steps)
            found += [Candidate("small", timesteps, steps, decay, width) for width, decay, steps in listed]
        if network in ("auto", "resnet18"):
            n = sum(self.sides)
            steps = max(recipe.epochs * (n // min(recipe.batch_size, n)), recipe.min_steps)
            found.append(Candidate("resnet18", timesteps, steps, recipe.weight_decay))
        return found

    def cross_validated(self, candidates: Sequence[Candidate], rivals: Sequence[Candidate] = ()) -> list[Candidate]:
        """Return the candidates, all of the same timesteps, with their AUCs.

        The folds of small networks are trained side by side. Those of a ResNet-18, which take long, follow one another
        as long as it is near the best. What was found before the process was killed is read again.
        """
        judged = list(rivals)
        k = self.folds
        for network in dict.fromkeys(each.network for each in candidates):
            own = [each for each in candidates if each.network == network]
            for folds in [range(k)] if network == "small" else [range(fold, fold + 1) for fold in range(k)]:
                best = best_of(judged).auc if judged else 0.0
                if own[0].aucs and best_of(own).auc < best - FAR_BELOW:
                    break
                found = self._stored_aucs(own, folds)
                own = [replace(each, aucs=(*each.aucs, *aucs)) for each, aucs in zip(own, found, strict=True)]
            judged += own
        return judged[len(rivals) :]

    def _stored_aucs(self, candidates: Sequence[Candidate], folds: range) -> list[list[float]]:
        """Return each candidate's AUCs in these folds, from the workspace where they are there."""
        name = "-".join(map(str, [candidates[0].network, *(candidates[0].timesteps or ()), f"fold{folds.start}"]))
        workspace = self.fitting.workspace / SCRATCH / name
        file = workspace / "aucs.json"
        if not file.is_file():
            aucs = self._cross_validate(candidates, folds, workspace)
            workspace.mkdir(parents=True, exist_ok=True)
            write_json(file, aucs)
        found: list[list[float]] = json.loads(file.read_text(encoding="utf-8"))
        return found

    def train_and_score(self, chosen: Candidate) -> Scores:
        """Train a classifier on all fitted rows, score all maps."""
        maps = self._maps(chosen)
        fitted = np.array(maps[self.fitting.rows])
        learner = Learner(self._network(chosen, fitted), chosen.weight_decay)
        module = ErrorMapTraining([learner], self._procedure(chosen), self._scale(chosen, fitted))
        self._fit(module, fitted, np.zeros(len(fitted), np.int64), chosen.steps, self.fitting.workspace, final=True)
        return predict(module, maps, self.fitting.runtime)

    def _cross_validate(self, candidates: Sequence[Candidate], folds: range, workspace: Path) -> list[list[float]]:
        """Train without each of these folds; return each candidate's AUC on each.

        Candidates that differ by their weight decay or width are trained side by side; those that differ by the number
        of steps are one training, judged after each number.
        """
        first, is_member = candidates[0], self.fitting.is_member
        fitted = np.array(self._maps(first)[self.fitting.rows])
        fold_of = stratified_folds(is_member, self.folds, self.recipe.seed)
        trained = list(dict.fromkeys(replace(each, steps=0) for each in candidates))
        steps = sorted({each.steps for each in candidates})
        learners = [
            Learner(self._network(each, fitted), each.weight_decay, fold, number)
            for number, each in enumerate(trained)
            for fold in folds
        ]
        module = ErrorMapTraining(
            learners, self._procedure(first), self._scale(first, fitted), steps, (len(trained), len(fitted))
        )
        self._fit(module, fitted, fold_of, steps[-1], workspace, final=False)
        scores = module.held_out.double().cpu().numpy()
        outputs = [scores[steps.index(each.steps), trained.index(replace(each, steps=0))] for each in candidates]
        return [
            [Roc.from_scores(output[fold_of == fold], is_member[fold_of == fold]).auc for fold in folds]
            for output in outputs
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
            label="classifier" if final else f"{counted(len(module.learners), 'classifier')} to choose from",
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
        if small and candidate.network == "small":
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
    [0, 0, 1, 1]
    """
    random = np.random.default_rng(seed)
    fold = np.empty(len(is_member), np.int64)
    for side in (is_member, ~is_member):
        rows = random.permutation(np.flatnonzero(side))
        fold[rows] = np.arange(len(rows)) % folds
    return fold
