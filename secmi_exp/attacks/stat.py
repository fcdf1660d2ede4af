"""SecMI_stat: the negative t-error. Source: Duan et al. (ICML 2023), equation 12."""

from typing import ClassVar

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.scorer import Scores
from secmi_exp.attacks.signal import Signals


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Stat:
    """Members come back closer to where they were."""

    reads_maps: ClassVar[bool] = False

    def score(self, signals: Signals, t_sec: int) -> Scores:
        """−(t-error at t_sec), [n]."""
        return -signals.t_error(t_sec).astype(np.float64)
