"""What must end whatever happens, Ctrl-C at the first moment of its end included.

Python looks for signals where one of its functions begins, so a KeyboardInterrupt may be raised before the first line
of an `__exit__`, of a `finally` that calls something, or after a descriptor was opened and before it has a name. What
begins here ends all the same: see `Ending`, which is native for that alone.

    class Crew(Ending)                      begin and end say what happens; end may be called again
    @ending_context                         contextlib.contextmanager, whose generator is surely gone on with
    EndingStack()                           contextlib.ExitStack, likewise
    OpenFile(path, flags)                   a descriptor with an owner from its first moment on
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Generic, ParamSpec, TypeVar, cast

from fastoci._engine.ending import Ending, OpenFile

__all__ = ["Ending", "EndingStack", "OpenFile", "ending_context"]

P = ParamSpec("P")
T = TypeVar("T")


class _Around(Ending, Generic[T]):
    """Another context manager, surely left.

    Leaving a generator's twice does nothing the second time, as it then has ended: what it held in a `with` of its own
    was ended there.
    """

    def __init__(self, context: AbstractContextManager[T]) -> None:
        self._context = context

    def begin(self) -> T:
        return self._context.__enter__()

    def end(self) -> None:
        self._context.__exit__(*_exception(failed=self.failed))


def ending_context(function: Callable[P, Iterator[T]]) -> Callable[P, AbstractContextManager[T]]:
    """Make a context manager of a generator function, as `contextlib.contextmanager` does.

    It cannot suppress an exception. What the generator does at its end belongs into a `with` of an `Ending` or
    `OpenFile`: a `finally` of its own can be interrupted like any other.
    """
    make = contextlib.contextmanager(function)

    @functools.wraps(function)
    def enter(*args: P.args, **kwargs: P.kwargs) -> AbstractContextManager[T]:
        # Entered, it gives what the generator yields, and not itself as other endings do.
        return cast("AbstractContextManager[T]", _Around(make(*args, **kwargs)))

    return enter


class EndingStack(Ending, ExitStack):
    """An `ExitStack` that is surely left. It cannot suppress an exception."""

    def end(self) -> None:
        """Leave all that was entered, the last first."""
        # Whatever an interruption has left on the stack is left the next time.
        ExitStack.__exit__(self, *_exception(failed=self.failed))


def _exception(*, failed: bool) -> tuple[Any, Any, Any]:
    """Return what `__exit__` is to be told; within `end` it is the exception that is being handled."""
    return sys.exc_info() if failed else (None, None, None)
