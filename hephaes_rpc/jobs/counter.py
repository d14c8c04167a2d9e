"""Counts the jobs of all open workspaces for who asks all the time, and keeps nobody waiting for a database.

Strategy: a thread of its own counts.  A request takes part in the next count that begins, so many at once cost one
count; what has not come back within LIMIT_S is not known, and while a count hangs nobody waits at all.  As long as no
job is known to have changed, a count serves for FRESH_S; who asks in the second half of that has the next one begin.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor

LIMIT_S = 0.25
FRESH_S = 2.0

logger = logging.getLogger(__name__)

Counts = tuple[int, int]


class JobCounter:
    """How many jobs are queued and running; made on the loop that it lives on.

    Args:
        count: Counts; called in the executor, once at a time.
        revision: Another value whenever a job is known to have changed.
        executor: Has a thread for this alone.
    """

    def __init__(self, count: Callable[[], Counts], revision: Callable[[], object], executor: Executor) -> None:
        self._count = count
        self._revision = revision
        self._executor = executor
        self._known: tuple[Counts, object, float] | None = None
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.Future[Counts | None] | None = None
        self._began: float | None = None

    def known(self) -> Counts | None:
        """What ``now`` gives, if it gives that at once."""
        if self._known is not None:
            counts, revision, at = self._known
            age_s = time.monotonic() - at
            if age_s < FRESH_S and revision == self._revision():
                if age_s > FRESH_S / 2 and self._began is None:
                    self._begin()
                return counts
        return None

    async def now(self) -> Counts | None:
        """The counts, with every change that was known by now; None when a database does not answer."""
        if (known := self.known()) is not None:
            return known
        if self._began is not None and time.monotonic() - self._began > LIMIT_S:
            return None
        if self._next is None:
            self._next = self._loop.create_future()
            self._loop.call_later(LIMIT_S, _give_up, self._next)
        asked = self._next
        if self._began is None:
            self._begin()
        return await asyncio.shield(asked)

    def _begin(self) -> None:
        asked, self._next = self._next, None
        self._began = began = time.monotonic()
        revision = self._revision()
        counting = self._loop.run_in_executor(self._executor, self._count)
        counting.add_done_callback(lambda counted: self._ended(counted, asked, (revision, began)))

    def _ended(
        self, counted: asyncio.Future[Counts], asked: asyncio.Future[Counts | None] | None, of: tuple[object, float]
    ) -> None:
        self._began = None
        found = None
        try:
            found = counted.result()
            self._known = (found, *of)
        except Exception:
            logger.exception("jobs cannot be counted")
        if asked is not None and not asked.done():
            asked.set_result(found)
        if self._next is not None:
            self._begin()


def _give_up(asked: asyncio.Future[Counts | None]) -> None:
    if not asked.done():
        asked.set_result(None)
