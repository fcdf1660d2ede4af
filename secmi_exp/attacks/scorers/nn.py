"""SecMI_NN: a classifier of absolute error maps. Source: Duan et al. (ICML 2023) and their released code."""

from dataclasses import asdict
from typing import ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.scorers.nn_settings import ClassifierSettings
from secmi_exp.attacks.scorers.scorer import Fitting, LearnedScorer, Scores
from secmi_exp.deferred import Deferred
from secmi_exp.files.strict_json import Json

choose_train_and_score = Deferred("secmi_exp.attacks.scorers.nn_choice:choose_train_and_score")

PAPER = ("epochs", "min_steps", "batch_size", "lr", "momentum", "weight_decay", "seed")
"""The settings that decide the scores of the paper's network."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ErrorMapClassifier(ClassifierSettings, LearnedScorer):
    """Trained on the error maps of members and hold-outs of the attack-train part; the last step's weights score.

    The paper's network is a ResNet-18, trained by squared error against 1 for members and 0 for hold-outs. Maps are
    divided by their standard deviation on the fitted part: their raw size, often below 0.01, is no match for the ε of
    batch normalisation.
    """

    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("error_map",)

    def settings(self) -> dict[str, Json]:
        """All but how often it is saved; those of the paper's network alone where it is the only one tried."""
        settings: dict[str, Json] = asdict(self)
        paper = {name: settings[name] for name in PAPER}
        if self.network == "resnet18":
            return paper
        return paper | {name: settings[name] for name in ("network", "folds", "small")}

    def fit_and_score(self, measured: Measurements, fitting: Fitting) -> Scores:
        """Choose a network, train it on the maps of the fitted rows, score all maps."""
        scores: Scores = choose_train_and_score(self, measured.values["error_map"], fitting)
        return scores
