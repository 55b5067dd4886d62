"""Errors on their way through Prefect, which keeps the text of each in its database, for all who see its pages."""

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.context import FlowRunContext, TaskRunContext

from personalgen.errors import PersonalgenError
from personalgen.journal.discreet import told

P = ParamSpec("P")
R = TypeVar("R")


class VeiledError(Exception):
    """What Prefect is told of an error: its kind and what the journal says of it, no value of a row."""

    def __init__(self, error: Exception) -> None:
        super().__init__(
            f"{type(error).__name__}: {told(error)}" if isinstance(error, PersonalgenError) else told(error)
        )
        self.error = error

    def __reduce__(self) -> tuple[type["VeiledError"], tuple[Exception]]:
        """Pickle as it is made: its error comes back from a worker of buckets."""
        return type(self), (self.error,)


def veiled(work: Callable[P, R]) -> Callable[P, R]:
    """Return a function for Prefect to run, whose errors it sees veiled; called without Prefect it raises its own."""

    @wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if not (TaskRunContext.get() or FlowRunContext.get()):
            return work(*args, **kwargs)
        try:
            return work(*args, **kwargs)
        except VeiledError:
            raise
        except Exception as error:  # noqa: BLE001 - it goes on, within the other
            raise VeiledError(error) from None

    return run


def shown(work: Callable[P, R]) -> Callable[P, R]:
    """Return a function whose errors are written to the terminal in full: only Prefect hears of them beyond it."""

    @wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return work(*args, **kwargs)
        except Exception as error:
            traceback.print_exception(error, file=sys.stderr)
            raise

    return run


class StepTask(Task[P, R]):
    """A task of a step of ours: Prefect sees its errors veiled, and who calls it the errors themselves."""

    def __init__(self, step: Callable[P, R], **options: Any) -> None:
        super().__init__(veiled(step), name=step.__name__, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the step as a task, and return what it returns."""
        with unveiled():
            return super().__call__(*args, **kwargs)


@contextmanager
def unveiled() -> Iterator[None]:
    """Raise the error itself where Prefect hands back a veiled one."""
    try:
        yield
    except VeiledError as found:
        raise found.error from None
