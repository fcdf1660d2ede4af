"""Warnings that belong to a run's results: what a reader of the numbers has to know about the data and the target.

Whatever computes or reads something calls `warn`. The pipeline collects the warnings of one run; they stand in
results.json, in the terminal's table, in a sweep's table and on the report page. What only concerns the course of the
run, such as an outage of a tracker, is a line of the log instead.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Literal, Protocol, TypeVar

from secmi_exp.formatting import LONGEST_SENTENCE, printable, shortened

log = logging.getLogger(__name__)

Side = Literal["members", "holdouts"]


@dataclass(frozen=True)
class RunWarning:
    """One warning, as results.json holds it."""

    code: str
    """Identifier for programs: lower case with underscores, never changed once released."""
    sentence: str
    """A sentence: what is wrong or was assumed, the value seen, and what to do."""
    side: Side | None = None
    """The side of the split that is concerned; None where it is both or neither."""
    count: int | None = None
    """Images that are concerned; None where they can't be counted."""
    grave: bool = False
    """Whether the run's figures are no measure of a leak because of it."""

    @property
    def heading(self) -> str:
        """What stands before the sentence where a person reads it."""
        return "Figures are no measure of a leak" if self.grave else "Warning"

    def as_json(self) -> Mapping[str, str | int | bool | None]:
        """The fields by name."""
        return asdict(self)


class _Graded(Protocol):
    @property
    def grave(self) -> bool: ...


Graded = TypeVar("Graded", bound=_Graded)


def grave_first(warnings: Iterable[Graded]) -> list[Graded]:
    """The grave ones before the others, each in their order."""
    return sorted(warnings, key=lambda warning: not warning.grave)


_collected: ContextVar[list[RunWarning] | None] = ContextVar("_collected", default=None)


@contextmanager
def collect_warnings() -> Iterator[list[RunWarning]]:
    """Collect what `warn` is called with in this context, each warning once, in order of appearance.

    >>> with collect_warnings() as collected:
    ...     warn("captions_missing", "2 images have no caption.", count=2)
    ...     warn("captions_missing", "2 images have no caption.", count=2)
    >>> [(warning.code, warning.count) for warning in collected]
    [('captions_missing', 2)]
    """
    collected: list[RunWarning] = []
    token = _collected.set(collected)
    try:
        yield collected
    finally:
        _collected.reset(token)


def warn(code: str, sentence: str, *, side: Side | None = None, count: int | None = None, grave: bool = False) -> None:
    """Add a warning to the run's results, and log it.

    Call it where the fact is known whether or not the store has the result already: a warning that is given inside of
    a store's ``build`` would be missing from every later run.

    Args:
        code: see `RunWarning`, as for the others.
        sentence: complete, with a full stop.
        side: of the split.
        count: of images.
        grave: whether the figures are no measure of a leak.
    """
    warning = RunWarning(code, shortened(printable(sentence), LONGEST_SENTENCE), side, count, grave)
    collected = _collected.get()
    if collected is not None:
        if warning in collected:
            return
        collected.append(warning)
    log.warning("%s", warning.sentence)
