"""The sidecar under load: pipelined calls, concurrent lists, many queued jobs, and what it answers meanwhile.

Run it by itself on a quiet machine: ``python benchmarks/sidecar_load.py``.  It prints a Markdown table.  The
latency of a call runs from when its request is written to when its answer is read, with all that waits before it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hephaes_rpc.client import Client, frame, serve_command
from hephaes_rpc.testing.logs import samples, write_mcap

FINAL = ("succeeded", "failed", "cancelled")
WRITERS = 8
PROBE_S = 0.02


class TimedClient(Client):
    """Notes when answers and ends of jobs are read."""

    def __init__(self, data_dir: Path) -> None:
        self.answered: dict[Any, float] = {}
        self.ended: dict[str, tuple[float, str]] = {}
        environ = {**os.environ, "HEPHAES_BACKEND_DATA_DIR": str(data_dir), "HEPHAES_LOG_LEVEL": "warning"}
        super().__init__(serve_command(), env=environ, stderr=subprocess.DEVNULL)

    def _take(self, message: Any) -> None:
        now = time.perf_counter()
        if message.get("method") == "jobs/didChange":
            job = message["params"]["job"]
            if job["status"] in FINAL:
                self.ended[job["id"]] = (now, job["status"])
        elif "id" in message:
            self.answered[message["id"]] = now
        super()._take(message)

    def burst(self, method: str, params: dict[str, Any], count: int, writers: int) -> tuple[float, list[float]]:
        """Seconds until ``count`` calls, written by so many threads, are answered, and the latency of each."""
        ids = [f"{method} {time.perf_counter_ns()} {k}" for k in range(count)]
        frames = [frame({"jsonrpc": "2.0", "id": each, "method": method, "params": params}) for each in ids]
        sent: dict[str, float] = {}

        def write(first: int) -> None:
            for k in range(first, count, writers):
                sent[ids[k]] = time.perf_counter()
                self.send_raw(frames[k])

        began = time.perf_counter()
        threads = [threading.Thread(target=write, args=(k,)) for k in range(writers)]
        for thread in threads:
            thread.start()
        for each in ids:
            self.result(each, 300)
        for thread in threads:
            thread.join()
        return max(self.answered[each] for each in ids) - began, [self.answered[each] - sent[each] for each in ids]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def row(what: str, count: int, took_s: float, latencies: Sequence[float]) -> str:
    """A line of the table."""
    cells = [f"{1000 * percentile(latencies, share):.1f}" for share in (0.5, 0.95, 0.99, 1.0)]
    return f"| {what} | {count:,} | {took_s:.2f} | {count / took_s:,.0f} | {' | '.join(cells)} |"


def memory_mb(pid: int) -> float:
    """Memory in use by a process, MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def jobs(client: TimedClient, asset_ids: Sequence[str], count: int) -> tuple[float, float, list[float]]:
    """Seconds to queue so many conversions, until all have ended, and latencies of ``health`` meanwhile."""
    began = time.perf_counter()
    made = []
    for k in range(count):
        asked = {"asset_ids": [asset_ids[k % len(asset_ids)]], "output": {"format": "parquet"}, "reuse": False}
        made.append(client.request("conversions/create", asked)["job_id"])
    queued = time.perf_counter() - began
    latencies = []
    while not all(job_id in client.ended for job_id in made):
        asked_at = time.perf_counter()
        client.request("health")
        latencies.append(time.perf_counter() - asked_at)
        time.sleep(PROBE_S)
    assert {client.ended[job_id][1] for job_id in made} == {"succeeded"}
    return queued, max(client.ended[job_id][0] for job_id in made) - began, latencies


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--lists", type=int, default=1_000)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--assets", type=int, default=50)
    given = parser.parse_args()
    print("| what | calls | s | per s | p50 ms | p95 ms | p99 ms | max ms |\n| --- " + "| ---: " * 7 + "|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with TimedClient(folder / "data") as client:
            client.request("workspaces/create", {"root_path": str(folder / "workspace")})
            ids = []
            for k in range(given.assets):
                log = write_mcap(folder / f"{k}.mcap", samples(200, seed=k))
                ids.append(client.request("assets/register", {"file_path": str(log)})["id"])
            client.request("assets/reindexAll", timeout=300)
            lone = [client.burst("health", {}, 1, 1)[0] for _ in range(200)]
            print(row("`health`, one after the other", len(lone), sum(lone), lone), flush=True)
            took, latencies = client.burst("health", {}, given.calls, 1)
            print(row("`health`, pipelined", given.calls, took, latencies), flush=True)
            for method in ("assets/list", "jobs/list"):
                took, latencies = client.burst(method, {"limit": 50}, given.lists, WRITERS)
                print(row(f"`{method}` (50 items), at once", given.lists, took, latencies), flush=True)
            queued, took, latencies = jobs(client, ids, given.jobs)
            print(row("conversions queued and done", given.jobs, took, [took]), flush=True)
            print(row("`health` meanwhile", len(latencies), took, latencies), flush=True)
            pid = client.process.pid
            print(f"\nQueueing {given.jobs} conversions took {queued:.2f} s; it had {memory_mb(pid):.0f} MB then.")


if __name__ == "__main__":
    main()
