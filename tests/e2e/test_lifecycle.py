"""From the first request to the exit code."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import PROBE, SpawnSidecar
from tests.e2e.sidecar import RpcError, Sidecar, frame

pytestmark = pytest.mark.e2e


def refused(sidecar: Sidecar, method: str, *params: Any) -> RpcError:
    with pytest.raises(RpcError) as caught:
        sidecar.request(method, *params)
    return caught.value


def test_before_initialize_only_health_and_discovery_answer(spawn: SpawnSidecar) -> None:
    sidecar = spawn()
    health = sidecar.request("health")
    assert health["status"] == "ok"
    assert health["app_name"] == "Hephaes Backend"
    assert health["jobs"] is None
    assert sidecar.request("rpc.discover")["openrpc"].startswith("1.")
    for method in ("assets/list", "workspaces/list", "shutdown", "no/such", ""):
        error = refused(sidecar, method, {})
        assert (error.code, error.data) == (-32002, {"kind": "not_initialized"})
    sidecar.notify("exit")
    assert sidecar.wait(3) == 1


def test_initialize_tells_what_the_sidecar_can_do(spawn: SpawnSidecar) -> None:
    sidecar = spawn(env={"HEPHAES_BACKEND_APP_NAME": "Robots"})
    result = sidecar.initialize()
    assert result["serverInfo"] == {"name": "hephaes-rpc", "version": sidecar.request("health")["version"]}
    capabilities = result["capabilities"]
    assert {"initialize", "shutdown", "health", "rpc.discover", "assets/list"} <= set(capabilities["methods"])
    assert "exit" not in capabilities["methods"]
    assert {"jobs/didChange", "jobs/progress", "$/progress", "assets/didChange"} <= set(capabilities["notifications"])
    assert capabilities["formats"] == {"logs": ["bag", "db3", "mcap"], "outputs": ["parquet", "tfrecord"]}
    documented = {method["name"] for method in sidecar.request("rpc.discover")["methods"]}
    assert {*capabilities["methods"], *capabilities["notifications"]} <= documented
    health = sidecar.request("health")
    assert health["app_name"] == "Robots"
    assert health["jobs"] == {"queued": 0, "running": 0}
    assert refused(sidecar, "initialize", {"processId": None}).code == -32600
    assert sidecar.shutdown() == 0


def test_what_an_editor_sends_is_taken(spawn: SpawnSidecar) -> None:
    sidecar = spawn()
    sidecar.initialize(
        processId=None,
        clientInfo={"name": "Neovim", "version": "0.11"},
        locale="en",
        rootPath=None,
        rootUri="file:///tmp",
        workspaceFolders=[{"uri": "file:///tmp", "name": "tmp"}],
        workDoneToken="1",
        trace="off",
        capabilities={"window": {"workDoneProgress": True}, "textDocument": {}},
    )
    assert sidecar.shutdown() == 0


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"initializationOptions": {"log_level": "loud"}}, "initializationOptions.log_level"),
        ({"initializationOptions": {"workspace": "/tmp"}}, "initializationOptions.workspace"),
        ({"initializationOptions": {"data_dir": "~nobody-of-that-name/x"}}, "initializationOptions"),
        ({"processId": 0}, "processId"),
        ({"processId": "1"}, "processId"),
        ({"proccessId": 1}, "proccessId"),
    ],
)
def test_options_that_do_not_fit_are_refused_and_may_be_mended(
    spawn: SpawnSidecar, params: dict[str, Any], path: str
) -> None:
    sidecar = spawn()
    error = refused(sidecar, "initialize", params)
    assert error.code == -32602
    assert [each["path"] for each in error.data["errors"]] == [path]
    sidecar.initialize()
    assert sidecar.request("health")["jobs"] is not None


def test_options_of_the_client_win_over_the_environment(spawn: SpawnSidecar, tmp_path: Path) -> None:
    sidecar = spawn()
    elsewhere = tmp_path / "elsewhere"
    sidecar.initialize(initializationOptions={"data_dir": str(elsewhere), "workspace_root": str(tmp_path / "ws")})
    assert (elsewhere / "app.db").is_file()
    assert not (sidecar.data_dir / "app.db").exists()
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700
    assert stat.S_IMODE((elsewhere / "logs" / "sidecar.log").stat().st_mode) == 0o600
    page = sidecar.request("workspaces/list")
    assert [item["root_path"] for item in page["items"]] == [str(tmp_path / "ws")]
    assert page["active_workspace_id"] == page["items"][0]["id"]


def test_a_bad_environment_is_one_sentence_and_code_2(spawn: SpawnSidecar) -> None:
    sidecar = spawn(env={"HEPHAES_LOG_LEVEL": "loud"})
    assert sidecar.wait(5) == 2
    assert sidecar.stderr.count("\n") == 1
    assert "'loud'" in sidecar.stderr


def test_nothing_is_sent_before_initialized(spawn: SpawnSidecar, tmp_path: Path) -> None:
    sidecar = spawn()
    sidecar.request("initialize", {"processId": None})
    sidecar.request("workspaces/create", {"root_path": str(tmp_path / "ws")})
    time.sleep(0.2)
    assert not [message for message in sidecar.messages if "method" in message]
    sidecar.notify("initialized", {})
    sidecar.request("workspaces/create", {"root_path": str(tmp_path / "ws2")})
    assert sidecar.wait_for("workspaces/didChange")["reason"] == "created"


def test_after_shutdown_only_exit_is_left(sidecar: Sidecar) -> None:
    assert sidecar.request("shutdown") is None
    for method in ("health", "assets/list", "shutdown", "initialize", "no/such"):
        assert refused(sidecar, method, {}).code == -32600
    sidecar.notify("initialized", {})
    assert sidecar.process.poll() is None
    sidecar.notify("exit")
    assert sidecar.wait(3) == 0


@pytest.mark.parametrize("leave", ["exit", "end of input"])
def test_shutdown_and_the_end_in_one_breath(spawn: SpawnSidecar, leave: str) -> None:
    sidecar = spawn()
    sidecar.initialize()
    data = frame({"jsonrpc": "2.0", "id": "bye", "method": "shutdown"})
    sidecar.send_raw(data + (frame({"jsonrpc": "2.0", "method": "exit"}) if leave == "exit" else b""))
    sidecar.close_stdin()
    assert sidecar.wait(3) == 0
    assert sidecar.result("bye") is None


def test_framing_lost_after_shutdown_is_1(sidecar: Sidecar) -> None:
    assert sidecar.request("shutdown") is None
    sidecar.send_raw(b"what is this\r\n\r\n")
    assert sidecar.response(None)["error"]["code"] == -32700
    assert sidecar.wait(3) == 1


def test_exit_without_shutdown_is_1(sidecar: Sidecar) -> None:
    sidecar.notify("exit")
    assert sidecar.wait(3) == 1


def test_shutdown_answers_what_it_stops(spawn: SpawnSidecar) -> None:
    sidecar = spawn(command=PROBE)
    sidecar.initialize()
    requests = [sidecar.start(method, {"seconds": 30}) for method in ("probe/long", "probe/patient", "probe/long")]
    assert sidecar.shutdown(timeout=5) == 0
    for request_id in requests:
        with pytest.raises(RpcError) as caught:
            sidecar.result(request_id, timeout=1)
        assert caught.value.code == -32800


# --- the client's process


def test_the_sidecar_ends_with_the_process_that_started_it(spawn: SpawnSidecar) -> None:
    client = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with client:
        sidecar = spawn()
        sidecar.initialize(processId=client.pid)
        time.sleep(0.2)
        assert sidecar.process.poll() is None
        client.kill()
        assert sidecar.wait(3) == 1
    assert sidecar.children() == []


def test_a_client_that_is_gone_already_is_noticed(spawn: SpawnSidecar) -> None:
    client = subprocess.Popen([sys.executable, "-c", ""])
    client.wait()
    sidecar = spawn()
    assert sidecar.request("initialize", {"processId": client.pid})["serverInfo"]
    assert sidecar.wait(3) == 1


def test_nothing_survives_a_kill_of_the_sidecar(sidecar: Sidecar) -> None:
    sidecar.request("health")
    time.sleep(0.3)
    os.kill(sidecar.process.pid, signal.SIGKILL)
    assert sidecar.wait(3) == -signal.SIGKILL
    until = time.monotonic() + 3
    while sidecar.children():
        assert time.monotonic() < until
        time.sleep(0.05)


# --- logs and trace


def test_the_client_hears_of_warnings_and_the_log_keeps_them_on_one_line(probe: Sidecar) -> None:
    probe.request("probe/warn", {"how": "a topic named \n2026 ERROR \x1b[31m\u2028 /x"})
    told = probe.wait_for("window/logMessage", lambda p: "a topic named" in p["message"])
    assert told == {"type": 2, "message": r"a topic named \u000a2026 ERROR \u001b[31m\u2028 /x"}
    text = (probe.data_dir / "logs" / "sidecar.log").read_text()
    (line,) = [line for line in text.split("\n") if "a topic named" in line]
    assert (json.loads(line)["message"], line.isprintable()) == ("a topic named \n2026 ERROR \x1b[31m\u2028 /x", True)
    assert r"\n2026 ERROR \u001b[31m\u2028 /x" in line
    until = time.monotonic() + 10
    while "a topic named " + r"\u000a2026 ERROR \u001b[31m\u2028 /x" not in probe.stderr:
        assert time.monotonic() < until, probe.stderr
        time.sleep(0.01)


def test_params_are_logged_nowhere(spawn: SpawnSidecar) -> None:
    sidecar = spawn(command=PROBE, env={"HEPHAES_LOG_LEVEL": "debug"})
    sidecar.initialize()
    sidecar.request("probe/echo", {"value": "a-secret-token"})
    refused(sidecar, "probe/typed", {"count": "a-secret-token"})
    refused(sidecar, "probe/raise", {"how": "a-secret-token"})
    sidecar.notify("$/setTrace", {"value": "a-secret-token"})
    sidecar.request("health")
    sidecar.shutdown()
    log = (sidecar.data_dir / "logs" / "sidecar.log").read_text()
    assert "incident" in log
    assert all(line.startswith("  | KeyError") for line in sidecar.stderr.splitlines() if "a-secret-token" in line)
    for line in map(json.loads, log.splitlines()):
        told = [text for text in line.pop("traceback", []) if "a-secret-token" in text]
        assert "a-secret-token" not in str(line)
        assert all(text.startswith("KeyError") for text in told)


def test_every_line_of_the_log_names_its_request_or_job(sidecar: Sidecar, tmp_path: Path) -> None:
    sidecar.request("workspaces/create", {"root_path": str(tmp_path / "workspace")})
    path = tmp_path / "bad.mcap"
    path.write_bytes(b"this is no log")
    asset = sidecar.request("assets/register", {"file_path": str(path)})
    request_id = sidecar.start("assets/index", {"asset_id": asset["id"]})
    sidecar.response(request_id)
    (job,) = sidecar.request("jobs/list")["items"]
    log = (sidecar.data_dir / "logs" / "sidecar.log").read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    of_job = [line["message"] for line in lines if line.get("job") == job["id"]]
    assert [f"job {job['id']}: failed" in text for text in of_job][-1]
    assert all({"time", "level", "logger", "process", "message"} <= set(line) for line in lines)
    assert f"[job {job['id']}] job {job['id']} (index), attempt 1: running" in sidecar.stderr


def test_trace_tells_of_each_request_while_it_is_asked_for(sidecar: Sidecar) -> None:
    sidecar.request("health")
    sidecar.notify("$/setTrace", {"value": "messages"})
    sidecar.request("health")
    first = sidecar.wait_for("$/logTrace", lambda p: p["message"].startswith("health took"))
    assert first["verbose"] is None
    sidecar.notify("$/setTrace", {"value": "verbose"})
    request_id = sidecar.start("health")
    sidecar.wait_for(
        "$/logTrace", lambda p: p["verbose"] is not None and f"id {json.dumps(request_id)}," in p["verbose"]
    )
    sidecar.notify("$/setTrace", {"value": "off"})
    sidecar.request("health")
    told = len(sidecar.notifications("$/logTrace"))
    sidecar.request("health")
    assert len(sidecar.notifications("$/logTrace")) == told


def test_a_log_folder_that_cannot_be_made_stops_nothing(spawn: SpawnSidecar, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sidecar = spawn(env={"HEPHAES_BACKEND_LOG_DIR": str(tmp_path / "file" / "logs")})
    with pytest.raises(RpcError) as caught:
        sidecar.request("initialize", {})
    assert caught.value.code in (400, -32803)
    assert sidecar.request("health")["status"] == "ok"
