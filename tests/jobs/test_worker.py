"""The worker process on raw pipes."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.processes import command
from tests.jobs.bench import LONG, gone


class Worker:
    """A worker and the last of what it has said."""

    def __init__(self, argv: list[str] | None = None, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            argv or command("worker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def send(self, **message: Any) -> None:
        self.stdin.write(json.dumps(message).encode() + b"\n")
        self.stdin.flush()

    def index(self, path: Path, asset_id: str = "a") -> None:
        task = {"type": "index", "job_id": "j", "attempt": 1, "assets": [{"asset_id": asset_id, "path": str(path)}]}
        self.send(op="run", task=task)

    def convert(self, folder: Path, *paths: Path, **spec: Any) -> None:
        assets = [
            {"asset_id": f"a{n}", "path": str(path), "episode_id": f"episode_{n:04}"} for n, path in enumerate(paths, 1)
        ]
        task = {
            "type": "convert",
            "job_id": "j",
            "attempt": 2,
            "conversion_id": "c",
            "output_dir": str(folder),
            "spec": spec,
            "assets": assets,
            "overwrite": False,
        }
        self.send(op="run", task=task)

    def event(self) -> Any:
        line = self.stdout.readline()
        assert line, f"the worker has ended: {self.stderr()}"
        return json.loads(line)

    def events(self) -> list[Any]:
        """Everything up to the end of the task."""
        found = [self.event()]
        while found[-1]["event"] not in ("done", "failed"):
            found.append(self.event())
        return found

    def until(self, phase: str) -> None:
        while self.event().get("phase") != phase:
            pass

    def stderr(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()


@pytest.fixture
def worker() -> Iterator[Worker]:
    running = Worker()
    yield running
    running.stop()


@pytest.mark.parametrize(
    "name", ["arrays.bag", "string-time-lz4.bag", "turtlesim-bz2.bag", "many-types.mcap", "unchunked.mcap"]
)
def test_index_tells_what_the_log_holds(worker: Worker, data: Path, name: str) -> None:
    worker.index(data / name, "the asset")
    *_, indexed, done = worker.events()
    assert done == {"event": "done"}
    found = (data / name).stat()
    assert (indexed["event"], indexed["asset_id"]) == ("indexed", "the asset")
    assert (indexed["file_size"], indexed["mtime_ns"]) == (found.st_size, found.st_mtime_ns)
    metadata = indexed["metadata"]
    assert metadata["message_count"] == sum(topic["message_count"] for topic in metadata["topics"])
    assert metadata["topic_count"] == len(metadata["topics"])
    raw = metadata["raw_metadata"]
    compression = next((c for c in ("lz4", "bz2") if c in name), "none")
    assert raw["compression_format"] == compression
    assert list(raw["compression"]) == [compression]
    is_bag = name.endswith(".bag")
    assert (raw["storage_format"], raw["ros_version"]) == (("bag", "ROS1") if is_bag else ("mcap", "ROS2"))


def test_one_worker_indexes_one_log_after_another(worker: Worker, data: Path) -> None:
    for name in ("poses.bag", "talker-zstd.mcap", "no-messages.bag"):
        worker.index(data / name)
        assert worker.events()[-1] == {"event": "done"}
    worker.stdin.close()
    assert worker.process.wait(5) == 0


def test_progress_is_of_bytes_really_swept_and_not_too_often(worker: Worker, long_log: Path) -> None:
    began = time.monotonic()
    worker.index(long_log)
    steps = [each for each in worker.events() if each["event"] == "progress"]
    took = time.monotonic() - began
    assert {(step["phase"], step["unit"], step["total"]) for step in steps} == {
        ("index", "bytes", long_log.stat().st_size)
    }
    assert len(steps) <= 2 + took * 10


def test_convert_publishes_each_log_as_it_is_done(worker: Worker, data: Path, tmp_path: Path) -> None:
    worker.convert(tmp_path / "out", data / "poses.bag", data / "talker-zstd.mcap", output={"format": "parquet"})
    events = worker.events()
    assert events[-1] == {"event": "done"}
    published = [each for each in events if each["event"] == "published"]
    assert [each["asset_id"] for each in published] == ["a1", "a2"]
    for number, each in enumerate(published, 1):
        dataset = each["outputs"][0]
        assert dataset["path"] == str(tmp_path / "out" / f"episode_{number:04}.parquet")
        assert Path(dataset["path"]).stat().st_size == dataset["size_bytes"]
    phases = list(dict.fromkeys((e["asset"], e["phase"]) for e in events if e["event"] == "progress"))
    assert phases == [(k, phase) for k in (0, 1) for phase in ("index", "plan", "decode", "write", "publish")]


def test_a_cancelled_task_ends_soon_and_removes_what_it_wrote(worker: Worker, long_log: Path, tmp_path: Path) -> None:
    worker.convert(tmp_path / "out", long_log, **LONG)
    worker.until("decode")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".episode_0001.tfrecord.j-2.tmp"]
    worker.send(op="cancel")
    failed = worker.events()[-1]
    assert (failed["event"], failed["error"]["kind"]) == ("failed", "cancelled")
    assert list((tmp_path / "out").iterdir()) == []
    assert worker.process.wait(5) == 1


def test_a_cancel_that_came_too_late_does_not_touch_the_next_task(worker: Worker, data: Path) -> None:
    worker.index(data / "poses.bag")
    worker.events()
    worker.send(op="cancel")
    worker.index(data / "poses.bag")
    assert worker.events()[-1] == {"event": "done"}


def test_a_bad_log_fails_with_its_kind_and_the_asset(worker: Worker, data: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.bag").write_bytes(b"#ROSBAG V2.0\nand no more")
    worker.convert(tmp_path / "out", data / "poses.bag", tmp_path / "bad.bag")
    failed = worker.events()[-1]
    assert (failed["event"], failed["asset"], failed["error"]["kind"]) == ("failed", 1, "bad_input")
    assert worker.process.wait(5) == 1
    assert "Traceback" not in worker.stderr()


def test_a_bug_is_told_by_an_incident_whose_traceback_stands_on_stderr(worker: Worker) -> None:
    worker.send(op="run", task={"type": "index", "job_id": "the job", "assets": [{}]})
    failed = worker.events()[-1]
    error = failed["error"]
    assert error["kind"] == "bug"
    assert "KeyError" not in error["message"]
    stderr = worker.stderr()
    assert f"incident {error['data']['incident']} in job the job" in stderr
    assert "KeyError" in stderr


def test_what_is_printed_goes_to_stderr_not_among_the_events(data: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, atexit\n"
        "def shout(*_):\n"
        "    print('print'); os.write(1, b'fd 1\\n'); os.system('echo shell'); os.system('cat >/dev/null')\n"
        "import numpy\n"
        "real = numpy.diff\n"
        "numpy.diff = lambda *a, **k: (shout(), real(*a, **k))[1]\n"
    )
    worker = Worker(env={"PYTHONPATH": str(tmp_path)})
    try:
        worker.index(data / "poses.bag")
        assert worker.events()[-1] == {"event": "done"}
        worker.stdin.close()
        assert worker.process.wait(5) == 0
        said = worker.stderr().split()
        assert {"print", "shell"} <= set(said)
        assert "fd" in said
    finally:
        worker.stop()


@pytest.mark.parametrize(
    "refused",
    [
        "raise MemoryError",
        "numpy.empty(1 << 50)",
        "import pyarrow; pyarrow.allocate_buffer(1 << 60)",
        "raise ValueError from OSError(12, 'Cannot allocate memory')",
        "raise ImportError('libarrow.so: failed to map segment from shared object')",
    ],
)
def test_running_out_of_memory_is_said(data: Path, tmp_path: Path, refused: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import numpy\ndef diff(*_, **k): {refused}\nnumpy.diff = diff\n")
    before = [place for place in (os.environ.get("PYTHONPATH"),) if place]
    worker = Worker(env={"PYTHONPATH": os.pathsep.join([str(tmp_path), *before])})
    try:
        worker.index(data / "poses.bag")
        error = worker.events()[-1]["error"]
        assert error["kind"] == "worker_died"
        assert "memory" in error["message"]
    finally:
        worker.stop()


def test_end_of_input_ends_it_in_the_middle_of_a_task(worker: Worker, long_log: Path, tmp_path: Path) -> None:
    worker.convert(tmp_path / "out", long_log, **LONG)
    worker.until("decode")
    worker.stdin.close()
    assert worker.process.wait(3) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only the Linux kernel kills on the parent's death")
def test_it_dies_with_its_parent_even_inside_a_long_call_that_holds_everything(tmp_path: Path) -> None:
    # The worker's threads cannot run while the call lasts, and its input stays open: only the kernel can end it.
    stuck = (
        "import ctypes, os, sys, time; from hephaes_rpc.processes import die_with_parent; die_with_parent();"
        "os.write(1, b'%d\\n' % os.getpid()); ctypes.PyDLL(None).sleep(20)"
    )
    parent = (
        "import subprocess, sys; r = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdin=subprocess.PIPE);"
        "r.wait()"
    )
    process = subprocess.Popen([sys.executable, "-c", parent, stuck], stdout=subprocess.PIPE)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert gone(pid)


def test_sigterm_ends_it(worker: Worker, data: Path) -> None:
    worker.index(data / "poses.bag")
    worker.events()
    worker.process.terminate()
    assert worker.process.wait(3) == -signal.SIGTERM


def test_the_frozen_program_starts_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert command("worker") == [sys.executable, "worker"]


def test_a_worker_tells_every_second_that_it_lives_and_whether_it_does_anything(
    worker: Worker, long_log: Path, tmp_path: Path
) -> None:
    worker.convert(tmp_path / "out", long_log, output={"format": "tfrecord", "compression": "gzip"})
    events = worker.events()
    pulses = [each for each in events if each["event"] == "pulse"]
    assert pulses
    assert all(each["idle_s"] < 1 for each in pulses)
    assert events[-1] == {"event": "done"}


def test_a_limit_of_memory_from_outside_is_named(worker: Worker, long_log: Path, tmp_path: Path) -> None:
    worker.convert(tmp_path / "out", long_log, output={"format": "tfrecord", "compression": "gzip"})
    worker.until("plan")
    mapped = int(Path(f"/proc/{worker.process.pid}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(worker.process.pid, resource.RLIMIT_AS, (mapped, mapped))
    *_, failed = worker.events()
    assert (failed["event"], failed["error"]["kind"]) == ("failed", "worker_died"), failed
    assert failed["error"]["data"] == {"reason": "memory", "limit_bytes": mapped}
    assert f"{mapped >> 20} MB" in failed["error"]["message"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == []
