"""What is being worked on, for every line that is logged meanwhile: a request, a job, or both."""

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Work(NamedTuple):
    """Ids as text; None where there is none."""

    request: str | None = None
    method: str | None = None
    job: str | None = None


NOTHING = Work()
_current: ContextVar[Work] = ContextVar("work", default=NOTHING)


def current() -> Work:
    """What this thread, or task, is working on."""
    return _current.get()


class working_on:  # noqa: N801
    """Have lines that are logged in the block tell of that too."""

    __slots__ = ("_given", "_token")

    def __init__(self, *, request: str | None = None, method: str | None = None, job: str | None = None) -> None:
        self._given = Work(request, method, job)

    def __enter__(self) -> None:
        known, given = _current.get(), self._given
        if known is not NOTHING:
            given = Work(given.request or known.request, given.method or known.method, given.job or known.job)
        self._token = _current.set(given)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


def carried(function: Callable[P, T]) -> Callable[P, T]:
    """The function for another thread, where it works on what is being worked on here and now."""
    context = copy_context()

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return context.run(function, *args, **kwargs)

    return call
