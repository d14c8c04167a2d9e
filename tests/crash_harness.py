"""A conversion of several logs whose worker or sidecar is killed again and again; what comes out is as if undisturbed.

    python tests/crash_harness.py [KILLS] [SEED]     (make crash)

Strategy: an undisturbed run says which files there are to be, byte for byte.  Then the same conversion runs in a fresh
workspace, time after time; at a random moment of each run its sidecar, with or without its workers, or only its worker,
is killed with SIGKILL.  While it runs and at the kill every file under a final name must be one of the undisturbed run
and whole.  The sidecar is started again and the job ends; then the tree, the history of the job and the database are
compared.
"""

import hashlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

sys.path.insert(0, str(Path(__file__).parents[1]))

from hephaes_rpc.testing.logs import Sample, samples, write_bag, write_mcap
from hephaes_rpc.testing.sidecar import Sidecar, session_members

OUTPUT = {"format": "tfrecord", "compression": "gzip"}
VICTIMS = ("worker", "sidecar", "all")
JOB_S = 120.0

Tree = dict[str, str]


def write_logs(folder: Path, repeats: int) -> list[Path]:
    """Three logs of two formats."""
    folder.mkdir(parents=True, exist_ok=True)

    def repeated(seed: int, ros: Any) -> Iterator[Sample]:
        base = samples(1000, ros=ros, seed=seed, topics=("/imu", "/joints"))
        span_ns = base[-1].time - base[0].time + 1
        for k in range(repeats):
            for sample in base:
                yield sample._replace(time=sample.time + k * span_ns)

    return [
        write_mcap(folder / "a.mcap", repeated(1, 2), compression="zstd", chunk_size=1 << 18),
        write_bag(folder / "b.bag", repeated(2, 1), compression="lz4", chunk_size=1 << 18),
        write_mcap(folder / "c.mcap", repeated(3, 2), compression="lz4", chunk_size=1 << 18),
    ]


def tree(folder: Path) -> Tree:
    """SHA-256 of every file under a final name below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


class Run:
    """One conversion in a workspace of its own.

    Attributes:
        folder: Where its outputs go.
    """

    def __init__(self, place: Path, logs: list[Path]) -> None:
        self._place = place
        self._env = {"HEPHAES_MAX_WORKERS": "2"}
        self.sidecar = self._start()
        self.root = place / "w"
        self.sidecar.request("workspaces/create", {"root_path": str(self.root)})
        ids = []
        for log in logs:
            ids.append(self.sidecar.request("assets/register", {"file_path": str(log)})["id"])
            self.sidecar.request("assets/index", {"asset_id": ids[-1]})
        made = self.sidecar.request("conversions/create", {"asset_ids": ids, "output": OUTPUT})
        self.job_id, self.folder = made["job_id"], Path(made["output_path"])

    def _start(self) -> Sidecar:
        sidecar = Sidecar(self._place / "data", env=self._env)
        sidecar.initialize()
        return sidecar

    def restart(self) -> None:
        """Start the sidecar again after its death; its workers must be gone within 3 s."""
        dead = self.sidecar
        until = time.monotonic() + 3
        while session_members(dead.process.pid):
            assert time.monotonic() < until, "workers outlive their sidecar"
            time.sleep(0.01)
        dead.stop()
        self.sidecar = self._start()

    def job(self) -> Any:
        """The job as it is told now."""
        return self.sidecar.request("jobs/get", {"job_id": self.job_id})

    def to_the_end(self) -> Any:
        """The job once it has ended."""
        until = time.monotonic() + JOB_S
        while (job := self.job())["status"] not in ("succeeded", "failed", "cancelled"):
            assert time.monotonic() < until, f"the job does not end: {job}"
            time.sleep(0.05)
        return job

    def worker(self) -> int | None:
        """The process that writes to the folder of outputs."""
        for pid in self.sidecar.children():
            try:
                links = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
            except OSError:
                continue
            if any(link.startswith(str(self.folder)) for link in links):
                return pid
        return None

    def close(self) -> None:
        """End the sidecar in order."""
        assert self.sidecar.shutdown() == 0
        assert self.sidecar.stray == b""
        self.sidecar.stop()


def undisturbed(place: Path, logs: list[Path]) -> tuple[Tree, float]:
    """The files that are to come out, and how long that takes (s)."""
    run = Run(place, logs)
    started = time.monotonic()
    job = run.to_the_end()
    took_s = time.monotonic() - started
    assert job["status"] == "succeeded", job
    assert job["attempt"] == 1
    run.close()
    return tree(run.folder), took_s


def require_whole(run: Run, expected: Tree) -> None:
    """No file under a final name that is not the whole file."""
    for name, digest in tree(run.folder).items():
        assert expected.get(name) == digest, f"{name} is not whole"


def kill(run: Run, victim: str) -> bool:
    """Kill somebody; False when there was nobody left to be killed."""
    if victim == "worker":
        pid = run.worker()
        if pid is None:
            return False
        os.kill(pid, signal.SIGKILL)
    elif victim == "sidecar":
        run.sidecar.process.kill()
    else:
        os.killpg(run.sidecar.process.pid, signal.SIGKILL)
    return True


def disturbed(place: Path, logs: list[Path], expected: Tree, took_s: float, chance: random.Random) -> str:
    """One run with one kill; how it went.  Raises AssertionError."""
    run = Run(place, logs)
    victim = chance.choice(VICTIMS)
    until = time.monotonic() + chance.random() * took_s
    while time.monotonic() < until:
        require_whole(run, expected)
    killed = kill(run, victim)
    if victim != "worker":
        run.sidecar.wait(10)
        require_whole(run, expected)
        run.restart()
    require_whole(run, expected)
    job = run.to_the_end()
    assert job["status"] == "succeeded", job
    assert tree(run.folder) == expected, "the final tree differs from the undisturbed one"
    assert not [path.name for path in run.folder.rglob(".*")], "temporary files are left"
    assert 1 <= job["attempt"] <= 2, job["attempt"]
    assert job["finished_at"] >= job["started_at"] >= job["created_at"]
    outputs = run.sidecar.request("outputs/list", {"limit": 500})
    assert sorted(item["file_name"] for item in outputs["items"]) == sorted(map(_name, expected))
    attempt = int(job["attempt"])
    run.close()
    connection = apsw.Connection(str(run.root / ".hephaes" / "workspace.db"), flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    return f"{victim}: {f'attempt {attempt}' if killed else 'nobody left to kill'}"


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def harness(place: Path, kills: int, seed: int, repeats: int = 12) -> Counter[str]:
    """Run them all; how often each outcome came."""
    chance = random.Random(seed)
    logs = write_logs(place / "logs", repeats)
    expected, took_s = undisturbed(place / "whole", logs)
    assert len(expected) >= len(logs)
    outcomes: Counter[str] = Counter()
    for number in range(kills):
        with tempfile.TemporaryDirectory(dir=place) as folder:
            outcomes[disturbed(Path(folder), logs, expected, took_s, chance)] += 1
        if kills > 20 and number % 10 == 9:
            print(number + 1, dict(outcomes), flush=True)
    return outcomes


if __name__ == "__main__":
    kills, seed = int(sys.argv[1]) if len(sys.argv) > 1 else 100, int(sys.argv[2]) if len(sys.argv) > 2 else 7
    with tempfile.TemporaryDirectory() as place:
        print(f"seed {seed}")
        for outcome, count in sorted(harness(Path(place), kills, seed).items()):
            print(f"{count:5} {outcome}")
