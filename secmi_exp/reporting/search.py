"""How a search ends: its jobs by the AUC that it went by, and the evaluation of the one that this chooses."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from secmi_exp.reporting.jobs import Job, estimate, swept_names


def by_validation(jobs: Sequence[Job], direction: str) -> list[Job]:
    """The jobs that have a validation AUC, the best first, the earlier of equals before the later.

    Args:
        jobs: by number.
        direction: of the search, maximize or minimize.
    """
    found = [(job.validation.value, job) for job in jobs]
    ranked = [(auc, job) for auc, job in found if auc is not None]
    return [job for _, job in sorted(ranked, key=lambda pair: pair[0], reverse=direction == "maximize")]


def search_table(ranked: Sequence[Job]) -> Table:
    """A row for each job, with the settings that were tried; nothing of the evaluation part, which isn't to choose."""
    tried = swept_names([job.given for job in ranked])
    table = Table("job", title=f"{len(ranked)} jobs by their AUC on attack-train images", title_justify="left")
    for name in tried:
        table.add_column(Text(name.rpartition(".")[2]))
    for title in ("validation AUC", "queries/sample", "made", "seconds"):
        table.add_column(title, justify="right", no_wrap=title == "validation AUC")
    for job in ranked:
        cost = (str(job.results["queries_per_sample"]), f"{job.queries_spent:,}", f"{job.seconds:.1f}")
        settings = (brief(job.given.get(name, "")) for name in tried)
        table.add_row(*map(Text, (job.name, *settings, str(job.validation), *cost)))
    return table


def brief(value: str) -> str:
    """A setting as the table has room for it; a sampler draws numbers of any length.

    >>> brief("0.0026938830192854116"), brief("100000"), brief("randaugment")
    ('0.002694', '100000', 'randaugment')
    """
    try:
        return f"{float(value):.4g}" if len(value) > 8 else value
    except ValueError:
        return value


def choice(ranked: Sequence[Job]) -> str:
    """What a search chooses, and how it does on images that had no part in that."""
    best = ranked[0]
    settings = " ".join(f"{name}={best.given.get(name, '')}" for name in swept_names([job.given for job in ranked]))
    samples = best.results["validation"]
    return (
        f"Best on attack-train images: job {best.name}{f' ({settings})' if settings else ''}: validation AUC "
        f"{best.validation} over {samples['n_member']} members and {samples['n_holdout']} hold-outs; on the evaluation "
        f"part AUC {estimate(best.results, 'auc')}."
    )
