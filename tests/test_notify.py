"""Few notifications, in order, the last one never lost."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hephaes_rpc.model.jobs import Job, Progress
from hephaes_rpc.notify import PROGRESS_INTERVAL_S, TOLD_FOR, Notifier, WorkDone


class Wire:
    """Keeps what is sent, and when."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any, str | None]] = []
        self.times: list[float] = []

    def send(self, body: bytes, key: str | None = None) -> None:
        message = json.loads(body)
        assert message["jsonrpc"] == "2.0"
        assert "id" not in message
        self.times.append(time.monotonic())
        self.sent.append((message["method"], message["params"], key))


def progress(percentage: int, job_id: str = "j") -> Progress:
    return Progress(job_id, "running", "decode", percentage, 100, "rows", percentage, None, None, None)


def run(play: Callable[[Notifier], Any], wait_s: float = 0.15) -> list[tuple[str, Any, str | None]]:
    return played(play, wait_s).sent


def played(play: Callable[[Notifier], Any], wait_s: float) -> Wire:
    async def main() -> None:
        notifier = Notifier(asyncio.get_running_loop(), wire.send)
        notifier.open()
        await asyncio.to_thread(play, notifier)
        await asyncio.sleep(wait_s)

    wire = Wire()
    asyncio.run(main())
    return wire


def test_nothing_is_sent_before_the_client_listens() -> None:
    async def main() -> None:
        notifier = Notifier(asyncio.get_running_loop(), wire.send)
        notifier.notify("x", {})
        notifier.changed("assets", "w", ["a"], "created")
        await asyncio.sleep(0.08)
        notifier.open()
        notifier.notify("y", {})

    wire = Wire()
    asyncio.run(main())
    assert [method for method, _, _ in wire.sent] == ["y"]


def test_changes_of_one_kind_become_one() -> None:
    def play(notifier: Notifier) -> None:
        for asset in ("a", "b", "a", "c"):
            notifier.changed("assets", "w", [asset], "created")
        notifier.changed("assets", "w", ["a"], "updated")
        notifier.changed("assets", "v", ["a"], "created")
        notifier.changed("outputs", "w", ["o"], "refreshed")
        notifier.changed("outputs", "w", None, "refreshed")
        notifier.changed("outputs", "w", ["p"], "refreshed")
        notifier.changed("tags", "w", [], "created")

    assert [(method, *params.values()) for method, params, _ in run(play)] == [
        ("assets/didChange", "w", ["a", "b", "c"], "created"),
        ("assets/didChange", "w", ["a"], "updated"),
        ("assets/didChange", "v", ["a"], "created"),
        ("outputs/didChange", "w", None, "refreshed"),
    ]


def test_progress_is_sent_ten_times_a_second_and_the_latest_wins() -> None:
    def play(notifier: Notifier) -> None:
        until = time.monotonic() + 0.5
        step = 0
        while time.monotonic() < until:
            step += 1
            notifier.job_progress(progress(min(99, step)))
            time.sleep(0.002)

    started = time.monotonic()
    wire = played(play, 0.2)
    sent = [params["percentage"] for _, params, _ in wire.sent]
    assert 3 <= len(sent) <= 1 + (wire.times[-1] - started) / PROGRESS_INTERVAL_S
    assert sent == sorted(sent)
    assert sent[-1] == 99


def test_a_late_timer_does_not_send_what_was_held_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    interval_s = 0.5
    monkeypatch.setattr("hephaes_rpc.notify.PROGRESS_INTERVAL_S", interval_s)
    called: list[float] = []

    def play(notifier: Notifier) -> None:
        free = threading.Event()
        notifier.job_progress(progress(1))
        notifier.job_progress(progress(2))  # held, and timed
        notifier.loop.call_soon_threadsafe(free.wait)
        time.sleep(interval_s)
        called.append(time.monotonic())
        notifier.job_progress(progress(3))  # may be sent while the timer waits for the loop
        notifier.job_progress(progress(4))
        free.set()

    wire = played(play, interval_s * 2)
    assert [params["percentage"] for _, params, _ in wire.sent] == [1, 3, 4]
    assert wire.times[2] >= called[0] + interval_s


def test_a_hundred_percent_is_sent_at_once_and_cannot_be_replaced() -> None:
    sent: list[tuple[str, Any, str | None]] = []

    def play(notifier: Notifier) -> None:
        for percentage in (1, 2, 50, 100):
            notifier.job_progress(progress(percentage))

    sent = run(play)
    assert [(params["percentage"], key is None) for _, params, key in sent] == [(1, False), (100, True)]


def test_jobs_do_not_hold_each_other_back() -> None:
    def play(notifier: Notifier) -> None:
        for number in range(20):
            notifier.job_progress(progress(1, f"job {number}"))

    assert len(run(play, 0)) == 20


def test_flush_sends_what_is_held_back() -> None:
    def play(notifier: Notifier) -> None:
        notifier.job_progress(progress(1))
        notifier.job_progress(progress(7))
        notifier.changed("assets", "w", ["a"], "created")
        notifier.flush()

    assert [method for method, _, _ in run(play, 0)] == ["jobs/progress", "assets/didChange", "jobs/progress"]


def test_threads_keep_the_order_of_a_job() -> None:
    def play(notifier: Notifier) -> None:
        threads = [threading.Thread(target=storm, args=(notifier, n)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def storm(notifier: Notifier, number: int) -> None:
        for step in range(200):
            notifier.job_progress(progress(step // 2, f"job {number}"))
        notifier.job_progress(progress(100, f"job {number}"))

    sent = [params for _, params, _ in run(play)]
    for number in range(4):
        steps = [params["percentage"] for params in sent if params["job_id"] == f"job {number}"]
        assert steps == sorted(steps)
        assert steps[-1] == 100


def job(job_id: str, at: datetime) -> Job:
    return Job(job_id, "index", "running", [], {}, None, None, None, at, at, at, None, 1, 3, None, None, None, None)


def test_what_was_told_of_a_job_is_known_as_long_as_others_may_ask() -> None:
    def play(notifier: Notifier) -> None:
        notifier.job_changed(job("a", now))
        assert notifier.has_told(job("a", now))
        assert not notifier.has_told(job("a", now + timedelta(seconds=1)))
        notifier.job_changed(job("b", now + TOLD_FOR))
        assert notifier.has_told(job("a", now))
        notifier.job_changed(job("c", now + TOLD_FOR + timedelta(seconds=1)))
        assert not notifier.has_told(job("a", now))
        assert notifier.has_told(job("b", now + TOLD_FOR))

    now = datetime.now(UTC)
    assert [params["job"]["id"] for _, params, _ in run(play)] == ["a", "b", "c"]


@pytest.mark.parametrize("token", ["t", 0, None])
def test_work_done_is_silent_without_a_token(token: Any) -> None:
    def play(notifier: Notifier) -> None:
        work = WorkDone(notifier, token)
        work.begin("Scan")
        for step in range(5):
            work.report(f"file {step}", 250.0)
        work.end("done")

    sent = run(play, 0)
    values = [params["value"] for _, params, _ in sent]
    assert values == ([] if token is None else [BEGIN, REPORT, {"kind": "end", "message": "done"}])
    assert [key is None for _, _, key in sent] == [True, False, True][: len(sent)]


BEGIN = {"kind": "begin", "title": "Scan", "cancellable": True, "percentage": 0}
REPORT = {"kind": "report", "message": "file 0", "percentage": 100}


def test_trace_is_told_when_it_is_on() -> None:
    def play(notifier: Notifier) -> None:
        notifier.log_trace(lambda: ("off", "more"))
        notifier.trace = "messages"
        notifier.log_trace(lambda: ("on", "more"))
        notifier.trace = "verbose"
        notifier.log_trace(lambda: ("loud", "more"))

    assert [params for _, params, _ in run(play, 0)] == [
        {"message": "on", "verbose": None},
        {"message": "loud", "verbose": "more"},
    ]


def test_a_loop_that_has_ended_is_no_error() -> None:
    loop = asyncio.new_event_loop()
    notifier = Notifier(loop, Wire().send)
    notifier.open()
    loop.close()
    notifier.changed("assets", "w", ["a"], "created")
