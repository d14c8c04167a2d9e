"""Counts of jobs for who asks all the time."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from hephaes_rpc.jobs import counter
from hephaes_rpc.jobs.counter import JobCounter

Check = Callable[[JobCounter, "Jobs"], Awaitable[None]]


class Jobs:
    """Counts that the test sets, and how often they were asked for."""

    def __init__(self) -> None:
        self.queued = self.revision = self.asked = 0
        self.answers = threading.Event()
        self.answers.set()

    def count(self) -> tuple[int, int]:
        self.asked += 1
        self.answers.wait(5)
        return self.queued, 0


def run(check: Check) -> None:
    async def main() -> None:
        jobs = Jobs()
        with ThreadPoolExecutor(1) as executor:
            await check(JobCounter(jobs.count, lambda: jobs.revision, executor), jobs)

    asyncio.run(main())


def test_a_count_serves_until_this_process_changes_a_job_or_it_is_old(monkeypatch):
    async def check(counts, jobs):
        assert [await counts.now() for _ in range(3)] == [(0, 0)] * 3
        assert jobs.asked == 1
        jobs.queued = 1
        jobs.revision += 1
        assert [await counts.now() for _ in range(3)] == [(1, 0)] * 3
        assert jobs.asked == 2
        jobs.queued = 2  # by another process
        monkeypatch.setattr(counter, "FRESH_S", 0.0)
        assert counts.known() is None
        assert await counts.now() == (2, 0)

    run(check)


def test_who_asks_of_an_aging_count_has_the_next_one_begin(monkeypatch):
    async def check(counts, jobs):
        assert await counts.now() == (0, 0)
        assert counts.known() == (0, 0)
        assert jobs.asked == 1
        monkeypatch.setattr(counter, "FRESH_S", 60.0)
        counts._known = (*counts._known[:2], counts._known[2] - 31)
        jobs.queued = 1
        assert counts.known() == (0, 0)
        async with asyncio.timeout(5):
            while counts.known() == (0, 0):
                await asyncio.sleep(0.01)
        assert counts.known() == (1, 0)
        assert jobs.asked == 2

    run(check)


def test_a_change_during_a_count_is_counted_by_the_next():
    async def check(counts, jobs):
        jobs.answers.clear()
        first = asyncio.create_task(counts.now())
        await asyncio.sleep(0)  # it begins
        jobs.revision += 1
        jobs.answers.set()
        await first
        jobs.queued = 1
        assert await counts.now() == (1, 0)

    run(check)


def test_while_a_count_hangs_nothing_is_known():
    async def check(counts, jobs):
        jobs.answers.clear()
        assert await counts.now() is None
        assert await counts.now() is None
        assert jobs.asked == 1
        jobs.answers.set()
        async with asyncio.timeout(5):
            while await counts.now() is None:
                await asyncio.sleep(0.01)

    run(check)
