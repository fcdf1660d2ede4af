"""Keep failures of a tracker from ending a run: the first one is logged, and the tracker is not called again."""

import functools
import inspect
import logging
from collections.abc import Callable
from functools import cached_property
from types import FunctionType
from typing import Any

from secmi_exp.errors import first_line

log = logging.getLogger(__name__)

CLOSING = "finish"
"""The method that is called after a failure too, since it closes what is open."""


class Outage:
    """Whether tracking has failed in this run; shared by a tracker and the logger that it hands out."""

    def __init__(self) -> None:
        self.happened = False

    def tell(self, call: str, error: Exception) -> None:
        """Tell the first failure; those that follow from it are not told.

        Args:
            call: that failed.
            error: as raised.
        """
        if not self.happened:
            reason = f"{type(error).__name__}: {first_line(error)}"
            log.warning("Tracking has failed at %s (%s): the run goes on without it.", call, reason)
        self.happened = True


class Guarded:
    """A class none of whose public methods and properties ever raises an exception, inherited ones included.

    They give None instead, and after the first failure none of them, `finish` apart, does anything any more. What ends
    the program (Ctrl+C, a signal) passes through.
    """

    def __init_subclass__(cls, **arguments: Any):
        super().__init_subclass__(**arguments)
        for name in dir(cls):
            found = inspect.getattr_static(cls, name)
            if name.startswith("_") or hasattr(getattr(found, "fget", found), "guards"):
                continue
            if isinstance(found, FunctionType):
                setattr(cls, name, _guarded(found, name))
            elif isinstance(found, property) and found.fget:
                setattr(cls, name, property(_guarded(found.fget, name), found.fset, found.fdel, found.__doc__))

    @cached_property
    def outage(self) -> Outage:
        """Of its own, unless it was given another one's."""
        return Outage()


def _guarded(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(self: Guarded, *positional: Any, **named: Any) -> Any:
        if self.outage.happened and name != CLOSING:
            return None
        try:
            return function(self, *positional, **named)
        except Exception as error:  # whatever happens to a tracker, it may not cost the results
            self.outage.tell(f"{type(self).__name__}.{name}", error)
            return None

    call.guards = function  # type: ignore[attr-defined]
    return call
