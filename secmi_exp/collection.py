"""`python -m secmi_exp.collection RUN`: how much of a collection was used, and how many images it takes to tell."""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secmi_exp.attacks.scorers.column import Column
from secmi_exp.attacks.scorers.map_distance import MapDistance
from secmi_exp.data.parquet_files import open_parquet
from secmi_exp.data.split import Part
from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError, reason_without_path
from secmi_exp.evaluation.collection_size import FEWEST, PowerCurve, least_share, power_curve, used_share
from secmi_exp.evaluation.scored import Floats
from secmi_exp.files.regular import read_regular
from secmi_exp.reporting.results_file import Results, read_results

draw_power = Deferred("secmi_exp.reporting.run_figures:draw_power")

ROUNDS = 1000
"""Bootstrap resamples."""
UNFITTED = {f"{scorer.__module__}.{scorer.__qualname__}" for scorer in (Column, MapDistance)}
"""Classes of scorers that are fitted to nothing; a class named by a file is compared with these, and never imported."""
LARGEST = 1000
"""Images in the figure, at most."""
NOBODY_CALLED = "no threshold calls more members than hold-outs on the calibration images"


@dataclass(frozen=True)
class JudgedRun:
    """A finished run's scores of the part that nothing was fitted on and no threshold was chosen on."""

    folder: Path
    results: Results
    settings: Mapping[str, Any]
    """The attack's settings, as results.json has them."""
    target: str
    """Digest of what decides the target's predictions."""
    members: Floats
    holdouts: Floats

    @classmethod
    def from_folder(cls, folder: Path) -> "JudgedRun":
        """Read it.

        Raises:
            UserError: for a folder that holds no finished run of an attack, or one of a version that recorded less.
        """
        results = read_results(folder / "results.json")
        if results.attack is None or not results.metrics:
            raise UserError(f"{folder} is a run without an attack: name one with +attack=….")
        facts = json.loads(read_regular(folder / "results.json"))
        try:
            settings, target = facts["attack_settings"], facts["provenance"]["target"]
            settings["scorers"][results.attack]["class"]
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{folder / 'results.json'} lacks what the run's attack and target are recognised by ({error}): run it "
                "again with this version, which reuses what the store has."
            ) from error
        try:
            columns = ["part", "is_member", f"score_{results.attack}"]
            with open_parquet(folder / "scores.parquet") as file:
                part, is_member, scores = file.read().select(columns).to_pydict().values()
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{folder / 'scores.parquet'} can't be read ({reason_without_path(error)}).") from error
        judged, member = np.array(part) == str(Part.EVALUATION), np.array(is_member)
        values = np.array(scores, dtype=np.float64)
        return cls(folder, results, settings, str(target), values[judged & member], values[judged & ~member])

    @property
    def threshold(self) -> float | None:
        """The threshold that was calibrated on other images; None where none was."""
        threshold = self.results.threshold.get("calibrated")
        if threshold is None and self.results.metrics.get("accuracy_calibrated") is not None:
            return math.inf  # which JSON has no number for
        return threshold

    @property
    def doubts(self) -> list[str]:
        """Why its figures are no measure of a leak, by its own warnings."""
        return [
            f"The figures of {self.folder} are no measure of a leak, so that neither the share that was used nor the "
            f"number of images that are needed can be estimated: {warning.sentence}"
            for warning in self.results.graves
        ]

    @property
    def fits(self) -> bool:
        """Whether the attack's scorer may be fitted in each run, so that two runs' scores can't be compared."""
        return self.settings["scorers"][self.results.attack]["class"] not in UNFITTED


def refuse_other(run: JudgedRun, reference: JudgedRun) -> None:
    """Refuse runs whose scores can't be compared.

    Raises:
        UserError: for another attack, other settings of it, another target, and an attack that is fitted.
    """
    for what, one, other in (
        ("attack", run.results.attack, reference.results.attack),
        ("settings of the attack", run.settings, reference.settings),
        ("target", run.target, reference.target),
    ):
        if one != other:
            raise UserError(
                f"{run.folder} and {reference.folder} have not the same {what}, so that their scores can't be "
                "compared: run both alike."
            )
    if run.fits:
        raise UserError(
            f"attack={run.results.attack} is fitted anew in each run, so that the scores of two runs can't be "
            "compared: choose an attack that fits nothing, such as attack=stat."
        )


def tell(run: JudgedRun, reference: JudgedRun | None) -> tuple[list[str], PowerCurve | None]:
    """Sentences on the share and on the number of images, and the curve; why nothing can be said, where a run says so.

    Raises:
        UserError: see `tell_share` and `tell_power`.
    """
    if doubts := [*run.doubts, *(reference.doubts if reference else [])]:
        return doubts, None
    share = tell_share(run, reference)
    power, curve = tell_power(run)
    return [share, power], curve


def tell_share(run: JudgedRun, reference: JudgedRun | None) -> str:
    """How much of the collection was used.

    Raises:
        UserError: see `refuse_other`.
    """
    if reference:
        refuse_other(run, reference)
        if reference.threshold is None:
            return f"{reference.folder} has no calibrated threshold, so that it gives no share: judge more images."
        if reference.threshold == math.inf:
            return f"{reference.folder} gives no share: {NOBODY_CALLED}."
        found = used_share(run.members, reference.members, reference.holdouts, reference.threshold)
        low, high = found.ci95
        value = "not resolved," if found.value is None else f"{found.value:.0%}"
        return (
            f"Share of the collection that was used: {value} [{low:.0%}, {high:.0%}] (95% interval, from "
            f"{len(run.members)} of its images, {len(reference.members)} known members and "
            f"{len(reference.holdouts)} known hold-outs). It assumes that used images score as the known members do, "
            "and others as the known hold-outs."
        )
    if run.threshold is None:
        return "The run has no calibrated threshold, so that nothing can be said of the share: judge more images."
    if run.threshold == math.inf:
        return f"At least 0% of the collection was used: {NOBODY_CALLED}."
    least = least_share(run.members, run.holdouts, run.threshold)
    return (
        f"At least {least:.0%} of the collection was used (95% confidence, from {len(run.members)} of its images and "
        f"{len(run.holdouts)} hold-outs). It assumes that unused images score as the hold-outs do. For an estimate "
        "give a run on images that are known to be members and hold-outs by --reference."
    )


def tell_power(run: JudgedRun) -> tuple[str, PowerCurve]:
    """How many images it takes, and the curve.

    Raises:
        UserError: for fewer than two images a side.
    """
    largest = min(LARGEST, max(20, 2 * len(run.members)))
    sizes = np.unique(np.geomspace(5, largest, 60).round())
    curve = power_curve(run.members, run.holdouts, sizes, rounds=ROUNDS, seed=run.results.seed or 0)
    needed, (low, high) = curve.needed.images, curve.needed.ci95
    sentence = (
        f"Images it takes to tell such a collection in four of five cases (power 80%, one-sided level 5%, with as many "
        f"hold-outs): {count(needed)} [{count(low)}, {count(high)}] (95% interval). It assumes collections that are "
        f"used as much as this one is, and the same target and attack, {run.results.attack}."
    )
    return sentence, curve


def count(images: float) -> str:
    """A number of images; infinite where no number is known to be enough.

    >>> count(17.0), count(FEWEST), count(float("inf"))
    ('17', '5 or fewer', 'no number')
    """
    if images <= FEWEST:
        return f"{FEWEST} or fewer"
    return f"{images:,.0f}" if np.isfinite(images) else "no number"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what can be said, and draw power.png into the run's folder."""
    parser = argparse.ArgumentParser(
        prog="python -m secmi_exp.collection",
        description="How much of a collection was used, and how many images it takes to tell, from a finished run's "
        "scores; draws power.png into the run's folder.",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a run whose members are the collection")
    parser.add_argument(
        "--reference",
        metavar="RUN",
        type=Path,
        help="folder of a run of the same attack on the same target, on images that are known to be members and not",
    )
    given = parser.parse_args(arguments)
    try:
        run = JudgedRun.from_folder(given.run)
        sentences, curve = tell(run, JudgedRun.from_folder(given.reference) if given.reference else None)
        if curve:
            draw_power(given.run / "power.png", curve, f"{run.results.attack} on {run.results.target}")
    except UserError as error:
        sys.stderr.write(f"secmi_exp.collection: {error}\n")
        sys.exit(1)
    sys.stdout.write("\n".join([*sentences, str(given.run)]) + "\n")


if __name__ == "__main__":
    main()
