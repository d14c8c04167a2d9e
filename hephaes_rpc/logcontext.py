"""What is being worked on, for every line that is logged meanwhile: a request, a job, or both."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import ParamSpec, TypeVar

from attrs import evolve, frozen

P = ParamSpec("P")
T = TypeVar("T")


@frozen
class Work:
    """Ids as text; None where there is none."""

    request: str | None = None
    method: str | None = None
    job: str | None = None


NOTHING = Work()
_current: ContextVar[Work] = ContextVar("work", default=NOTHING)


def current() -> Work:
    """What this thread, or task, is working on."""
    return _current.get()


@contextmanager
def working_on(*, request: str | None = None, method: str | None = None, job: str | None = None) -> Iterator[None]:
    """Have lines that are logged in the block tell of that too."""
    known = _current.get()
    token = _current.set(
        evolve(known, request=request or known.request, method=method or known.method, job=job or known.job)
    )
    try:
        yield
    finally:
        _current.reset(token)


def carried(function: Callable[P, T]) -> Callable[P, T]:
    """The function for another thread, where it works on what is being worked on here and now."""
    context = copy_context()

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return context.run(function, *args, **kwargs)

    return call
