"""How good a target was found to be."""

from dataclasses import dataclass

from secmi_exp.evaluation.scored import Interval
from secmi_exp.files.strict_json import Json


@dataclass(frozen=True)
class Measures:
    """Numbers with their 95% intervals."""

    metrics: dict[str, float]
    """denoising_loss of hold-outs and denoising_loss_members, mean over pixels, timesteps and images; kernel_distance
    of samples from hold-outs, and kernel_distance_members, what the members themselves have; fid likewise."""
    ci95: dict[str, Interval | None]
    """None for fid, which no interval is known of."""

    def facts(self) -> dict[str, Json]:
        """The entry of results.json."""
        return {"metrics": self.metrics, "ci95": {name: ends and list(ends) for name, ends in self.ci95.items()}}
