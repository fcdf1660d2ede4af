"""Several results compared, as the end of a sweep compares its jobs."""

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike

import pandas as pd

from secmi_exp.api.html import page_of, table_of
from secmi_exp.api.result import AuditResult, load
from secmi_exp.errors import UserError
from secmi_exp.formatting import shown
from secmi_exp.reporting.contests import find_contests
from secmi_exp.reporting.entries import read_entries
from secmi_exp.reporting.ranking import Ranking, rank
from secmi_exp.reporting.run_folders import find_runs
from secmi_exp.reporting.sweep_tables import CELLS, PAIRED, REPEATED, remarks

PREPARATION = ("image_size", "channels", "crop", "exif")
"""Settings of the dataset that decide the pixels of an image."""


@dataclass(frozen=True, repr=False)
class ResultComparison:
    """A ranking by AUC, with a test of each pair."""

    ranking: Ranking

    @property
    def table(self) -> pd.DataFrame:
        """A row for each result, the best first; ``p_value`` and ``p_holm`` are of the same AUC as the best's."""
        return pd.DataFrame(self.ranking.rows())

    @property
    def pairs(self) -> pd.DataFrame:
        """A row for each pair: differences of the metrics with intervals, DeLong's paired test, and Holm's correction.

        Over runs of several seeds or splits: the mean difference and its t interval, without a test.
        """
        return pd.DataFrame(self.ranking.pair_rows())

    def __repr__(self) -> str:
        shown = ", ".join(f"{each.name} AUC {each.auc}" for each in self.ranking.standings)
        return f"<ResultComparison: {shown}>"

    def _repr_html_(self) -> str:
        headings, _ = REPEATED if self.ranking.contest.repeated else PAIRED
        rows = [[CELLS[name](standing) for name in headings] for standing in self.ranking.standings]
        title = f"{len(self.ranking.standings)} attacks compared"
        return page_of(title, [table_of(headings, rows)], remarks(self.ranking))


def compare(results: Iterable[AuditResult | str | PathLike[str]]) -> ResultComparison:
    """Compare results on the same images by DeLong's paired test, with Holm's correction over all pairs.

    Results that differ in a seed or a split are averaged, and compared by the runs in common.

    Args:
        results: two or more, of different settings, on the same images or with some images in common; as results, or as
            the folders that `load` takes.

    Raises:
        UserError: for fewer than two, the same run twice, results that have no images in common, and other images of
            the same names.
    """
    if isinstance(results, AuditResult | str | PathLike) or not isinstance(results, Iterable):
        raise UserError(
            f"compare takes a list of results, and {shown(results)} is none: write compare([one, another])."
        )
    read = [each if isinstance(each, AuditResult) else load(each) for each in results]
    folders = [each.folder for each in read]
    if len(set(folders)) < 2 or len(set(folders)) < len(folders):
        raise UserError(
            f"A comparison needs at least two different results, and {len(set(folders))} of {len(folders)} are."
        )
    refuse_other_images(read)
    entries = [entry for entry in read_entries(find_runs(folders).finished) if entry.is_own]
    contests = find_contests(entries)
    compared = {each.run.folder for contest in contests for each in contest.scorings}
    alone = [each for each in read if each.folder.resolve() not in compared]
    if alone:
        raise UserError(
            f"{len(alone)} of {len(read)} results can't be compared with another, the first of them "
            f"{alone[0].place}: they must have scored the same images, by other settings."
        )
    if len(contests) > 1:
        titles = "; ".join(", ".join(each.name for each in contest.contenders) for contest in contests)
        raise UserError(f"The results are on {len(contests)} sets of images ({titles}): compare those of each set.")
    return ResultComparison(rank(contests[0]))


def refuse_other_images(results: Iterable[AuditResult]) -> None:
    """Refuse results whose images have the same names and other pixels, though they were prepared alike.

    Raises:
        UserError: naming two of them.
    """
    seen: dict[tuple[object, ...], AuditResult] = {}
    for each in results:
        prepared = tuple(each.run.config.get(f"dataset.{name}") for name in PREPARATION)
        first = seen.setdefault((tuple(each.scores.id), tuple(each.scores.is_member), *prepared), each)
        if first.facts["provenance"]["attacked"] != each.facts["provenance"]["attacked"]:
            raise UserError(
                f"The results in {first.place} and {each.place} have scored other images of the same names: only "
                "scores of the same images can be paired."
            )
