"""SecMI_NN: a ResNet-18 on the absolute error map. Source: Duan et al. (ICML 2023) and their released code."""

from dataclasses import asdict
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.scorers.scorer import Fitting, LearnedScorer, Scores
from secmi_exp.store import Json


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ErrorMapClassifier(LearnedScorer):
    """Trained by squared error against 1 for members and 0 for hold-outs; the last step's weights score.

    The maps are divided by their standard deviation on the fitted part: their raw size, often below 0.01, is no match
    for the ε of batch normalisation.
    """

    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("error_map",)

    epochs: PositiveInt
    min_steps: PositiveInt
    batch_size: Annotated[int, Field(ge=2)]
    lr: PositiveFloat
    momentum: NonNegativeFloat
    weight_decay: NonNegativeFloat
    checkpoint_every: PositiveInt
    seed: NonNegativeInt

    def settings(self) -> dict[str, Json]:
        """All but how often it is saved."""
        return {name: value for name, value in asdict(self).items() if name != "checkpoint_every"}

    def fit_and_score(self, measured: Measurements, fitting: Fitting) -> Scores:
        """Train on the maps of the fitted rows, score all maps."""
        from secmi_exp.attacks.scorers.nn_training import train_and_score

        maps = measured.values["error_map"]
        return train_and_score(self, maps, fitting)
