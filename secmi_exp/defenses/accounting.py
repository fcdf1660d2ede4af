"""The privacy that DP-SGD spends, computed by opacus' accountants.

Sources: Mironov et al., "Rényi Differential Privacy of the Sampled Gaussian Mechanism" (2019); Gopi et al., "Numerical
Composition of Differential Privacy" (NeurIPS 2021).
"""

import math
import warnings
from bisect import bisect_right
from dataclasses import dataclass

from opacus.accountants import create_accountant

from secmi_exp.errors import UserError, first_line


@dataclass(frozen=True)
class Spending:
    """Steps of the Poisson-subsampled Gaussian mechanism."""

    noise_multiplier: float
    """σ."""
    sample_rate: float
    """q: probability that an image is in a step's batch."""
    delta: float
    mechanism: str
    """Opacus' accountant: rdp or prv."""

    def epsilon(self, steps: int) -> float:
        """Return ε after so many steps; ∞ without noise.

        Raises:
            UserError: where the accountant can't compute it.

        >>> spending = Spending(noise_multiplier=1.0, sample_rate=0.01, delta=1e-5, mechanism="rdp")
        >>> spending.epsilon(0)
        0.0
        >>> round(spending.epsilon(1000), 3)
        2.101
        """
        if steps == 0:
            return 0.0
        if self.noise_multiplier == 0:
            return math.inf
        accountant = create_accountant(self.mechanism)
        accountant.history = [(self.noise_multiplier, self.sample_rate, steps)]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Optimal order is the")  # the bound holds, if less tightly
            warnings.filterwarnings("ignore", category=RuntimeWarning)  # of limits that PRVs are evaluated at
            try:
                return float(accountant.get_epsilon(self.delta))
            except (ArithmeticError, MemoryError, RuntimeError, ValueError) as error:
                raise UserError(
                    f"opacus' {self.mechanism} accountant can't compute ε of {steps} steps with "
                    f"noise_multiplier={self.noise_multiplier} ({first_line(error)}): set defense.accountant=rdp, or "
                    "more noise."
                ) from error

    def affordable(self, max_steps: int, max_epsilon: float) -> int:
        """Return the largest number of steps, up to max_steps, after which ε is not above max_epsilon.

        Doubling first keeps the accountant from computing trainings that are far longer than can be afforded.
        """
        beyond = 1
        while beyond <= max_steps and self.epsilon(beyond) <= max_epsilon:
            beyond *= 2
        candidates = range(beyond // 2, min(beyond, max_steps + 1))
        return candidates[bisect_right(candidates, max_epsilon, lo=1, key=self.epsilon) - 1]
