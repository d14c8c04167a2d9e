"""Names that tell whether their bearer lives."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hephaes_rpc.jobs import owner
from hephaes_rpc.jobs.owner import is_alive, new_owner

ELSEWHERE = "import sys; from hephaes_rpc.jobs.owner import new_owner; print(new_owner(), flush=True); sys.stdin.read()"


def test_a_process_is_alive_until_it_ends_also_as_a_zombie() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ELSEWHERE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert is_alive(name)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(name)
    assert not is_alive(name)


def test_two_owners_of_one_process_differ_and_live() -> None:
    one, two = new_owner(), new_owner()
    assert one != two
    assert is_alive(one)
    assert is_alive(two)


def test_a_process_id_used_again_or_another_run_of_the_system_is_nobody() -> None:
    id_, pid, started, boot = new_owner().split(":")
    assert not is_alive(f"{id_}:{pid}:{int(started) - 1}:{boot}")
    assert not is_alive(f"{id_}:{pid}:{started}:another-boot")
    for nonsense in ("", "somebody", "a:b:c:d", f"{id_}:{pid}"):
        assert not is_alive(nonsense)


def test_without_proc_the_process_id_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nowhere(type(Path())):  # type: ignore[misc]
        def read_text(self, *args: object, **kwargs: object) -> str:
            raise FileNotFoundError

    monkeypatch.setattr(owner, "Path", Nowhere)
    name = new_owner()
    assert is_alive(name)
    assert not is_alive(name.replace(f":{os.getpid()}:", ":4194305:"))
