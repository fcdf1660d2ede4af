"""SecMI_stat: the negative t-error. Source: Duan et al. (ICML 2023), equation 12."""

import numpy as np
from pydantic import ConfigDict, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.scorer import Scores
from secmi_exp.attacks.signal import Signals


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Stat:
    """Members come back closer to where they were."""

    t_sec: PositiveInt

    @property
    def maps(self) -> list[int]:
        """None: sums are enough."""
        return []

    def score(self, signals: Signals) -> Scores:
        """−(t-error at t_sec), [n]."""
        return -signals.t_error(self.t_sec).astype(np.float64)
