"""Failures of a tracker don't end a run: the first one is logged, and the tracker isn't called again."""

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
    """Whether tracking has failed in this run; shared by a tracker and its Lightning logger."""

    def __init__(self) -> None:
        self.happened = False

    def report(self, call: str, error: Exception) -> None:
        """Log the first failure; later ones follow from it and are not logged.

        Args:
            call: name of the call that failed.
            error: the error that it raised.
        """
        if not self.happened:
            reason = f"{type(error).__name__}: {first_line(error)}"
            log.warning("Tracking has failed at %s (%s): the run goes on without it.", call, reason)
        self.happened = True


class Guarded:
    """Base of classes whose public methods and properties, inherited ones included, raise no `Exception`.

    They return None instead, and after the first failure they do nothing, except `finish`. What ends the program
    (Ctrl+C, a signal) passes through.
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
        """The object's own, unless it was set to one that is shared."""
        return Outage()


def _guarded(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(self: Guarded, *positional: Any, **named: Any) -> Any:
        if self.outage.happened and name != CLOSING:
            return None
        try:
            return function(self, *positional, **named)
        except Exception as error:  # a failing tracker must not cost the results
            self.outage.report(f"{type(self).__name__}.{name}", error)
            return None

    call.guards = function  # type: ignore[attr-defined]
    return call
