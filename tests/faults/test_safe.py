"""Safe by default: who may read our files, and what hostile names, texts and clocks can do."""

import ast
import os
import re
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import hephaes_rpc
from hephaes_rpc.store.app import AppStore
from hephaes_rpc.store.workspace import OpenWorkspace
from hephaes_rpc.testing.logs import samples, write_mcap
from tests.e2e.sidecar import RpcError, Sidecar

SOURCE = Path(hephaes_rpc.__file__).parent
MAY_EXEC = {"engine/computations/runner.py"}
"""Runs the scripts that a user has enabled, in a process of their own."""


def test_no_pickle_and_no_code_from_text() -> None:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [each.name for each in node.names] + [getattr(node, "module", None) or ""]
                assert not {"pickle", "marshal", "shelve", "dill", "joblib"} & set(names), path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
                assert str(path.relative_to(SOURCE)) in MAY_EXEC, f"{path}:{node.lineno} runs text as code"


@pytest.mark.e2e
def test_only_the_owner_reads_what_we_write(sidecar: Sidecar, tmp_path: Path) -> None:
    root = tmp_path / "w"
    workspace = sidecar.request("workspaces/create", {"root_path": str(root)})
    log = write_mcap(tmp_path / "run.mcap", samples(50))
    asset = sidecar.request("assets/register", {"file_path": str(log)})["id"]
    sidecar.request("assets/index", {"asset_id": asset})
    made = sidecar.request("conversions/create", {"asset_ids": [asset], "output": {"format": "parquet"}})
    assert sidecar.wait_for_job(made["job_id"])["status"] == "succeeded"
    sidecar.request("workspaces/backup", {"workspace_id": workspace["id"]})
    for top in (root / ".hephaes", sidecar.data_dir):
        for path in top.rglob("*"):
            if path.name != "stderr.txt":  # the harness's own
                assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE((root / ".hephaes").stat().st_mode) == 0o700


SECRET = "token-9f8e7d6c5b4a"


@pytest.mark.e2e
def test_params_reach_no_log(sidecar: Sidecar, tmp_path: Path) -> None:
    sidecar.request("workspaces/create", {"root_path": str(tmp_path / "w")})
    for method, params in (
        ("tags/create", {"name": SECRET}),
        ("tags/create", {"name": SECRET}),
        ("assets/list", {"search": SECRET}),
        ("assets/get", {"asset_id": SECRET}),
        ("assets/get", {SECRET: 1}),
        ("conversionConfigs/import", {"text": f"a: {{ {SECRET}"}),
    ):
        try:
            sidecar.request(method, params)
        except RpcError:
            continue
    sidecar.send_raw(b"Content-Length: 30\r\n\r\n" + SECRET.encode().ljust(30))
    assert sidecar.request("health")["status"] == "ok"
    assert sidecar.shutdown() == 0
    log = (sidecar.data_dir / "logs" / "sidecar.log").read_text()
    assert SECRET not in log + sidecar.stderr


PATHS = [
    "new\nline",
    "tab\tbell\x07esc\x1b[31m",
    "quote'\"; DROP TABLE assets; --",
    "\u202eevil",
    "a" * 200,
    "100%_[x]",
]


@pytest.mark.e2e
@pytest.mark.parametrize("name", PATHS)
def test_any_name_that_is_text_round_trips(sidecar: Sidecar, tmp_path: Path, name: str) -> None:
    sidecar.request("workspaces/create", {"root_path": str(tmp_path / f"w {name[:50]}")})
    log = write_mcap(tmp_path / f"{name}.mcap", samples(30))
    asset = sidecar.request("assets/register", {"file_path": str(log)})
    assert asset["file_path"] == str(log)
    sidecar.request("assets/index", {"asset_id": asset["id"]})
    assert sidecar.request("assets/list", {"search": name})["total"] == 1
    assert sidecar.request("assets/list", {"search": name + "x"})["total"] == 0
    made = sidecar.request("conversions/create", {"asset_ids": [asset["id"]], "output": {"format": "parquet"}})
    job = sidecar.wait_for_job(made["job_id"])
    assert job["status"] == "succeeded", job["error"]
    told = (sidecar.data_dir / "logs" / "sidecar.log").read_text() + sidecar.stderr
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", told)


@pytest.mark.e2e
def test_names_that_are_no_text_or_too_long_are_refused(sidecar: Sidecar, tmp_path: Path) -> None:
    sidecar.request("workspaces/create", {"root_path": str(tmp_path / "w")})
    odd = os.fsencode(tmp_path) + b"/odd-\xff\xfe.mcap"
    source = write_mcap(tmp_path / "plain.mcap", samples(30))
    os.rename(source, odd)  # noqa: PTH104  (a path of bytes)
    write_mcap(tmp_path / "good.mcap", samples(30))
    scanned = sidecar.request("assets/scanDirectory", {"directory_path": str(tmp_path)})
    assert [asset["file_name"] for asset in scanned["registered_assets"]] == ["good.mcap"]
    for path in ("/" + "x" * 300 + ".mcap", "/" + "d/" * 3000 + "x.mcap", "/tmp/nul\0.mcap"):
        for method, params in (("assets/register", {"file_path": path}), ("workspaces/create", {"root_path": path})):
            with pytest.raises(RpcError) as told:
                sidecar.request(method, params)
            assert told.value.code in (400, -32602, -32803), (method, told.value)
            assert told.value.data["kind"] in ("invalid_path", "invalid_params", "io_error"), told.value
    assert sidecar.request("health")["status"] == "ok"


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.e2e
@pytest.mark.parametrize(
    "text", [BOMB, "!!python/object/apply:os.system ['true']", "a: " * 5000, "[" * 100_000, "- x\n" * 300_000]
)
def test_hostile_documents_are_refused_at_once(sidecar: Sidecar, tmp_path: Path, text: str) -> None:
    sidecar.request("workspaces/create", {"root_path": str(tmp_path / "w")})
    started = time.monotonic()
    with pytest.raises(RpcError) as told:
        sidecar.request("conversionConfigs/import", {"text": text, "name": "x"})
    assert told.value.code in (422, -32602)
    assert time.monotonic() - started < 10
    assert len(str(told.value)) < 5000


@pytest.mark.e2e
@pytest.mark.parametrize("sort", ["id; DROP TABLE assets", "file_size DESC --", "(SELECT 1)", "-"])
def test_what_sorts_is_a_name_of_ours(sidecar: Sidecar, tmp_path: Path, sort: str) -> None:
    sidecar.request("workspaces/create", {"root_path": str(tmp_path / "w")})
    with pytest.raises(RpcError) as told:
        sidecar.request("assets/list", {"sort": sort})
    assert told.value.code == -32602
    assert sidecar.request("assets/list")["total"] == 0


def test_a_clock_that_goes_backwards(app: AppStore, workspace: OpenWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [time.time_ns()]  # the module's own clock is replaced for the store, too
    monkeypatch.setattr(time, "time_ns", lambda: clock[0])
    seen: list[str] = []
    for k, step_s in enumerate((0, 10, -3600, 5, -(10**9), 7)):
        clock[0] += step_s * 10**9
        seen.append(workspace.assets.register(workspace.root / f"{k}.bag", 1, 1).id)
    assert len(set(seen)) == 6
    found: list[str] = []
    cursor: Any = None
    while True:
        page = workspace.assets.list(limit=2, cursor=cursor)
        found += [item.id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(found) == sorted(seen), "a page lacks something, or shows it twice"
    job, _ = workspace.jobs.index_once(seen[0], {}, {})
    clock[0] -= 10**18
    claimed = workspace.jobs.claim("me:1:2:3", ("index",))
    assert claimed is not None
    assert claimed.id == job.id
    assert app.get_workspace(workspace.id).active_job_count == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads the limits of a Linux process")
@pytest.mark.e2e
def test_nothing_of_ours_is_open_in_a_worker(sidecar: Sidecar, tmp_path: Path) -> None:
    sidecar.request("workspaces/create", {"root_path": str(tmp_path / "w")})
    log = write_mcap(tmp_path / "run.mcap", samples(30))
    asset = sidecar.request("assets/register", {"file_path": str(log)})["id"]
    sidecar.request("assets/index", {"asset_id": asset})
    workers = sidecar.children()
    assert workers
    for pid in workers:
        links = []
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # a worker may just have closed it
                links.append(str(fd.readlink()))
        assert links
        assert not [link for link in links if link.endswith((".db", ".db-wal", ".db-shm"))], links
