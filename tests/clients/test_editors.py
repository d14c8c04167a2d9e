"""Clients that editors are made of, against the real sidecar: pygls' own, and vscode-jsonrpc."""

import asyncio
import json
import re
import shlex
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pygls.client import JsonRPCClient

from tests.clients.conftest import ROOT, Install

pytestmark = pytest.mark.e2e

FINAL = ("succeeded", "failed", "cancelled")


async def drive_with_pygls(serve: list[str], log: Path, root: Path) -> dict[str, Any]:
    """The main job through pygls' client as it comes, which makes namedtuples of results."""
    client = JsonRPCClient()
    ended: dict[str, asyncio.Future[Any]] = {}
    told: list[str] = []
    loop = asyncio.get_running_loop()

    @client.feature("jobs/didChange")
    def job_changed(params: Any) -> None:
        if params.job.status in FINAL:
            future = ended.setdefault(params.job.id, loop.create_future())
            if not future.done():
                future.set_result(params.job)

    @client.feature("$/progress")
    def progress(params: Any) -> None:
        told.append(params.value.kind)

    async def call(method: str, **params: Any) -> Any:
        message_id = str(uuid.uuid4())
        return await asyncio.wait_for(client.protocol.send_request_async(method, params, message_id), 60)

    await client.start_io(*serve, "--log-level", "error")
    try:
        hello = await call("initialize", processId=None, capabilities={})
        client.protocol.notify("initialized", {})
        await call("workspaces/create", root_path=str(root))
        asset = await call("assets/register", file_path=str(log))
        await call("assets/index", asset_id=asset.id, workDoneToken="t")
        conversion = await call("conversions/create", asset_ids=[asset.id])
        future = ended.setdefault(conversion.job_id, loop.create_future())
        job = await asyncio.wait_for(future, 60)
        try:
            await call("assets/get", asset_id="nobody")
            refused = None
        except Exception as error:
            refused = getattr(error, "code", error)
        assert await call("shutdown") is None
        client.protocol.notify("exit", {})
        server = client._server
        assert server is not None
        code = await asyncio.wait_for(server.wait(), 10)
    finally:
        if client._server is not None and client._server.returncode is None:
            client._server.kill()
        await asyncio.wait_for(client.stop(), 10)
    return {"server": hello.serverInfo.name, "job": job.status, "told": told, "refused": refused, "exit": code}


def test_the_client_of_pygls(
    serve: list[str], environ: dict[str, str], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    seen = asyncio.run(drive_with_pygls(serve, data / "poses.bag", tmp_path / "workspace"))
    assert (seen["told"][0], seen["told"][-1]) == ("begin", "end")
    assert {**seen, "told": ...} == {
        "server": "hephaes-rpc",
        "job": "succeeded",
        "told": ...,
        "refused": 404,
        "exit": 0,
    }


@pytest.mark.slow
def test_vscode_jsonrpc(
    node: str, install: Install, serve: list[str], environ: dict[str, str], data: Path, tmp_path: Path
) -> None:
    folder = install(ROOT / "clients" / "typescript")
    script = Path(__file__).with_name("editor.mjs")
    python, *args = serve
    done = subprocess.run(
        [node, str(script), str(data / "poses.bag"), str(tmp_path / "workspace"), python, *args],
        cwd=folder,
        env=environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["told"][0], seen["told"][-1]) == ("begin", "end")
    assert seen["cancelled"] in ("answered", -32800)
    assert {**seen, "told": ..., "cancelled": ...} == {
        "server": "hephaes-rpc",
        "health": "ok",
        "positional": -32602,
        "cancelled": ...,
        "told": ...,
        "job": "succeeded",
        "missing": {"code": 404, "kind": "asset_not_found"},
        "exit": 0,
        "errors": [],
    }


@pytest.fixture
def nvim() -> str:
    """The Neovim program, version 0.11 or later."""
    program = shutil.which("nvim")
    if program is None:
        pytest.skip("needs nvim")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"NVIM v(\d+)\.(\d+)", said)
    if found is None or (int(found[1]), int(found[2])) < (0, 11):
        pytest.skip(f"needs nvim 0.11 or later, this is {said.splitlines()[0]}")
    return program


def test_the_snippet_for_neovim(
    nvim: str, serve: list[str], environ: dict[str, str], data: Path, tmp_path: Path
) -> None:
    commands = tmp_path / "commands"
    commands.mkdir()
    python, *args = serve
    command = commands / "hephaes-rpc"
    command.write_text(f'#!/bin/sh\nexec {shlex.join([python, *args[:-1]])} "$@"\n')
    command.chmod(0o755)
    text = (ROOT / "docs" / "editors.md").read_text(encoding="utf-8")
    snippet = tmp_path / "snippet.lua"
    snippet.write_text(text.partition("```lua\n")[2].partition("```")[0])
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    log, seen = workspace / "poses.bag", tmp_path / "seen.json"
    shutil.copy(data / "poses.bag", log)
    done = subprocess.run(
        [nvim, "--headless", "-u", "NONE", "-l", str(Path(__file__).with_name("neovim.lua")), snippet, log, seen],
        cwd=workspace,
        env=environ
        | {"PYTHONPATH": str(ROOT), "PATH": f"{commands}:{environ['PATH']}", "XDG_STATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(seen.read_text())
    assert result["last"] == f"{log}: succeeded"
    assert result["progress"][-1].endswith(" 100 %")
    (written,) = (workspace / ".hephaes" / "outputs").rglob("*.parquet")
    assert pq.read_table(written).num_rows > 0


def test_the_docs_call_methods_that_exist() -> None:
    api = json.loads((ROOT / "docs" / "openrpc.json").read_bytes())
    known = {method["name"] for method in api["methods"]}
    for name in ("editors.md", "testing.md"):
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        called = set(re.findall(r'"((?:\$/|[a-z]\w*/)\w+)"', text))
        assert called
        assert called <= known, name
