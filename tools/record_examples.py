"""Records the examples of the OpenRPC document: real calls of a real sidecar, normalised.

Strategy: one sidecar works through a day of a client.  What differs from run to run is replaced, the same thing by the
same thing: ids by numbered ones, the working folder by ``/home/robot``, the time of the recording, speeds, cursors.
Everything else stands as it came.  A test records again and compares the shapes.
"""

import base64
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hephaes_rpc.openrpc import EXAMPLES
from hephaes_rpc.testing import RpcError, Sidecar

DATA = Path(__file__).parents[1] / "tests" / "data"
HOME = "/home/robot"
NOW = "2026-01-15T09:30:00Z"
FINAL = ("succeeded", "failed", "cancelled")
VOLATILE: dict[str, Any] = {
    "uptime_s": 12.345,
    "processId": 4321,
    "next_cursor": "WyIyMDI2LTAxLTE1Il0",
    "cursor": "WyIyMDI2LTAxLTE1Il0",
    "seconds": 0.125,
}
"""Members whose value is replaced unless it is null."""
SPEED: dict[str, Any] = {"rate": 25000.0, "eta_s": 0.0}
"""Members that are replaced even then: whether they are known yet differs too."""
UNRECORDED = frozenset(("rpc.discover", "window/logMessage"))
"""The answer of the one is the document itself, the other comes when something is wrong with the machine."""

Call = dict[str, Any]


class Recorder:
    """Makes calls and keeps them, as they went over the wire."""

    def __init__(self, sidecar: Sidecar) -> None:
        self.sidecar = sidecar
        self.calls: dict[str, list[Call]] = {}

    def call(self, name: str, method: str, /, **params: Any) -> Any:
        """The result of a call, which is kept under ``name``."""
        result = self.sidecar.request(method, params or {})
        self._keep(method, {"name": name, "params": params, "result": result})
        return result

    def refused(self, name: str, method: str, /, **params: Any) -> None:
        """Make a call that is answered with an error, and keep it."""
        try:
            self.sidecar.request(method, params)
        except RpcError as error:
            told = {"code": error.code, "message": error.message, "data": error.data}
            self._keep(method, {"name": name, "params": params, "error": told})
        else:
            raise AssertionError(f"{method} was to refuse {params}")

    def call_answering(self, name: str, method: str, /, *, asks: str, answer: Any, **params: Any) -> Any:
        """The result of a call that asks the client something on the way; both are kept."""
        request_id = self.sidecar.start(method, params)
        asked = self.sidecar.wait_message(lambda m: m.get("method") == asks, 10, f"{method} does not ask")
        self.sidecar.answer(asked["id"], answer)
        self._keep(asks, {"name": name, "params": asked["params"], "result": answer})
        result = self.sidecar.result(request_id)
        self._keep(method, {"name": name, "params": params, "result": result})
        return result

    def notify(self, name: str, method: str, /, **params: Any) -> None:
        """Send a notification, and keep it."""
        self.sidecar.notify(method, params)
        self._keep(method, {"name": name, "params": params})

    def heard(self, name: str, method: str, fits: Callable[[Any], bool] = lambda _: True) -> Any:
        """Keep the first notification of the sidecar that fits."""
        params = self.sidecar.wait_for(method, fits)
        self._keep(method, {"name": name, "params": params})
        return params

    def finished(self, job_id: str) -> Any:
        """The job, once it has ended."""
        return self.sidecar.wait_for_job(job_id, 60)

    def _keep(self, method: str, call: Call) -> None:
        self.calls.setdefault(method, []).append(json.loads(json.dumps(call)))


def record(folder: Path) -> dict[str, list[Call]]:
    """The calls, normalised, by method."""
    home = folder / "home"
    (home / "logs").mkdir(parents=True)
    for name in ("poses.bag", "talker-zstd.mcap"):
        shutil.copy(DATA / name, home / "logs" / name)
    environ = {"HEPHAES_MAX_WORKERS": "1", "HEPHAES_ANALYZE": "off", "HOME": str(home)}
    with Sidecar(home / "data", env=environ) as sidecar:
        recorder = Recorder(sidecar)
        _lifecycle(recorder)
        _workspaces(recorder, home)
        bag, mcap = _assets(recorder, home)
        _uploads(recorder, home)
        _tags(recorder, bag)
        _configs(recorder)
        _authoring(recorder, mcap)
        conversion = _conversions(recorder, bag, mcap)
        _outputs(recorder, conversion)
        _scripts(recorder, home)
        _dashboard(recorder)
        _end(recorder)
        assert sidecar.stray == b"", sidecar.stray
    return Normaliser(str(home)).calls(recorder.calls)


def _lifecycle(recorder: Recorder) -> None:
    recorder.refused("too early", "assets/list")
    recorder.call(
        "handshake",
        "initialize",
        processId=os.getpid(),
        clientInfo={"name": "desktop", "version": "2.1.0"},
        capabilities={"window": {"openFileDialog": True}},
        initializationOptions={"log_level": "warning"},
    )
    recorder.notify("ready", "initialized")
    recorder.call("well", "health")
    recorder.notify("tell of every answer", "$/setTrace", value="messages")
    recorder.call("nothing yet", "workspaces/list", limit=1)
    recorder.heard("an answer", "$/logTrace")
    recorder.notify("quiet again", "$/setTrace", value="off")
    recorder.notify("stop a request", "$/cancelRequest", id=17)


def _workspaces(recorder: Recorder, home: Path) -> None:
    workspace = recorder.call("a new folder", "workspaces/create", root_path=str(home / "field trials"), name="trials")
    recorder.heard("a new one", "workspaces/didChange", lambda p: p["reason"] == "created")
    recorder.call("use it", "workspaces/activate", workspace_id=workspace["id"])
    recorder.call("all of them", "workspaces/list", sort="name")
    saved = recorder.call("a copy", "workspaces/backup", workspace_id=workspace["id"])
    recorder.call("all is well", "workspaces/check", workspace_id=workspace["id"])
    one = {"workspace_id": workspace["id"]}
    recorder.call("back to the copy", "workspaces/restore", **one, file_name=saved["file_name"])
    recorder.refused("no such copy", "workspaces/restore", **one, file_name="gone.db")
    other = recorder.call("another", "workspaces/create", root_path=str(home / "scratch"), activate=False)
    recorder.call("away with it", "workspaces/delete", workspace_id=other["id"])
    recorder.refused("unknown", "workspaces/activate", workspace_id="ws_none")


def _assets(recorder: Recorder, home: Path) -> tuple[str, str]:
    log = home / "logs" / "poses.bag"
    bag = recorder.call("a bag", "assets/register", file_path=str(log))["id"]
    recorder.refused("twice", "assets/register", file_path=str(log))
    recorder.refused("no such file", "assets/register", file_path=str(home / "logs" / "gone.mcap"))
    recorder.refused("a slip of the pen", "assets/register", file_pth=str(log))
    found = recorder.call("a folder", "assets/scanDirectory", directory_path=str(home / "logs"))
    mcap = found["registered_assets"][0]["id"]
    recorder.call("with progress", "assets/index", asset_id=bag, workDoneToken="index-1")
    for kind in ("begin", "end"):
        recorder.heard(kind, "$/progress", lambda p, kind=kind: p["value"]["kind"] == kind)
    recorder.call("what all messages say", "assets/analyze", asset_id=bag)
    recorder.call("everything", "assets/reindexAll")
    recorder.heard("indexed", "assets/didChange", lambda p: p["reason"] == "updated")
    recorder.call("indexed bags", "assets/list", type="bag", status="indexed", sort="-file_size", limit=10)
    recorder.call("the first page", "assets/list", limit=1)
    recorder.call("one", "assets/get", asset_id=bag)
    recorder.refused("unknown", "assets/get", asset_id="nobody")
    return bag, mcap


def _uploads(recorder: Recorder, home: Path) -> None:
    small, large = DATA / "no-messages.bag", DATA / "unchunked.mcap"
    body = large.read_bytes()
    recorder.call("a small one", "assets/upload", file_name="empty.bag", data_base64=_base64(small.read_bytes()))
    recorder.refused("no name", "assets/upload", file_name="..", data_base64="")
    digest = hashlib.sha256(body).hexdigest()
    begun = recorder.call(
        "a large one", "assets/uploadBegin", file_name="yard.mcap", size_bytes=len(body), sha256=digest
    )
    part = {"upload_id": begun["upload_id"]}
    half = len(body) // 2
    recorder.call("its first half", "assets/uploadChunk", **part, offset=0, data_base64=_base64(body[:half]))
    recorder.refused("a gap", "assets/uploadChunk", **part, offset=half + 1, data_base64=_base64(body[half + 1 :]))
    recorder.call("the rest", "assets/uploadChunk", **part, offset=half, data_base64=_base64(body[half:]))
    recorder.call("all of it is there", "assets/uploadCommit", **part)
    begun = recorder.sidecar.request("assets/uploadBegin", {"file_name": "wrong.bag", "size_bytes": 10})
    recorder.call("never mind", "assets/uploadAbort", upload_id=begun["upload_id"])
    shutil.copy(DATA / "turtlesim-bz2.bag", home / "logs" / "turtle.bag")
    recorder.call_answering(
        "the person chooses",
        "assets/registerDialog",
        asks="window/openFileDialog",
        answer={"file_paths": [str(home / "logs" / "turtle.bag")]},
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _tags(recorder: Recorder, asset_id: str) -> None:
    recorder.call("a new one", "tags/create", name="outdoor")
    recorder.heard("a new one", "tags/didChange", lambda p: p["reason"] == "created")
    recorder.refused("a name twice", "tags/create", name="Outdoor")
    recorder.call("by name", "assets/attachTag", asset_id=asset_id, tag_id="outdoor")
    recorder.call("with counts", "tags/list")
    recorder.call("the last one", "assets/detachTag", asset_id=asset_id, tag_id="outdoor")


def _dashboard(recorder: Recorder) -> None:
    recorder.call("now", "dashboard/summary")
    recorder.call("two days", "dashboard/trends", days=2)
    recorder.call("what needs somebody", "dashboard/blockers")


def _configs(recorder: Recorder) -> None:
    spec = {
        "schema": {"name": "poses", "version": 1},
        "row_strategy": {"kind": "per-message", "topic": "pose_data"},
        "features": {"x": {"source": {"topic": "pose_data", "field_path": "position.x"}, "dtype": "float32"}},
        "output": {"format": "parquet"},
    }
    config = recorder.call("a spec", "conversionConfigs/create", name="Poses", spec=spec, metadata={"by": "lab 2"})
    recorder.heard("a new one", "conversionConfigs/didChange", lambda p: p["reason"] == "created")
    recorder.refused("a name twice", "conversionConfigs/create", name="poses", spec={})
    spec["output"] = {"format": "parquet", "compression": "zstd"}
    recorder.call("another compression", "conversionConfigs/update", config_id=config["id"], spec=spec)
    recorder.call("nothing new", "conversionConfigs/update", config_id="poses", name="Poses", revision_limit=0)
    recorder.call("what changed", "conversionConfigs/diff", config_id="poses")
    recorder.call("by name", "conversionConfigs/get", config_id="poses", revision_limit=1)
    recorder.refused("unknown", "conversionConfigs/get", config_id="nobody")
    text = recorder.call("as YAML", "conversionConfigs/export", config_id="poses")["text"]
    recorder.call("under another name", "conversionConfigs/import", text=text, name="Poses of lab 3")
    recorder.call("a copy", "conversionConfigs/duplicate", config_id="poses", description="to try things out")
    recorder.call("by name", "conversionConfigs/list", sort="name", limit=2)


def _authoring(recorder: Recorder, log: str) -> None:
    recorder.call("a page", "assets/report", asset_id=log)
    recorder.call("a topic", "conversions/inspect", asset_id=log, topics=["/topic"], sample_n=1)
    wanted = {"output_format": "parquet", "preview_rows": 1}
    one_topic = {"asset_id": log, "topics": ["/topic"], "sample_n": 1}
    drafted = recorder.call("to Parquet", "conversions/draft", **one_topic, draft_request=wanted)
    recorder.refused("no boxes", "conversions/draft", **one_topic, draft_request={"template": "detection"})
    spec = drafted["draft"]["spec"]
    recorder.call("from the third row", "conversions/preview", asset_id=log, spec=spec, start_row=2, sample_n=2)
    recorder.heard("a new one", "drafts/didChange", lambda p: p["reason"] == "created")
    wanted = {"output_format": "parquet", "include_preview": False}
    draft = recorder.call("without a preview", "drafts/create", **one_topic, label="as it is", draft_request=wanted)
    one = {"draft_id": draft["id"]}
    spec = draft["revision"]["spec_document_json"]["spec"] | {"schema": {"name": "poses", "version": 2}}
    recorder.call("another name", "drafts/update", **one, spec=spec, label="named")
    recorder.refused("not yet", "drafts/confirm", **one)
    recorder.call("its rows", "drafts/preview", **one, sample_n=1)
    recorder.call("that is it", "drafts/confirm", **one)
    recorder.call("under a name", "drafts/saveConfig", **one, name="Poses, drafted")
    recorder.call("its first revision", "drafts/get", **one, revision_number=1)
    recorder.call("the other one", "drafts/discard", draft_id=drafted["draft_id"])
    recorder.refused("too late", "drafts/discard", draft_id=drafted["draft_id"])
    recorder.call("saved ones", "drafts/list", status="saved")


def _conversions(recorder: Recorder, bag: str, mcap: str) -> Any:
    recorder.call("what can be asked for", "conversions/capabilities")
    saved = recorder.call("by a saved config", "conversions/create", asset_ids=[bag], saved_config_id="poses")
    recorder.finished(saved["job_id"])
    recorder.refused("no such config", "conversions/create", asset_ids=[bag], saved_config_id="postures")
    made = recorder.call(
        "two logs to Parquet", "conversions/create", asset_ids=[bag, mcap], output={"format": "parquet"}
    )
    queued = recorder.call("to TFRecord", "conversions/create", asset_ids=[bag], output={"format": "tfrecord"})
    recorder.call("one that waits", "jobs/cancel", job_id=queued["job_id"])
    retried = recorder.call("again", "jobs/retry", job_id=queued["job_id"])
    job_id = made["job_id"]
    recorder.finished(job_id)
    recorder.heard("done", "jobs/didChange", lambda p: p["job"]["id"] == job_id and p["job"]["status"] in FINAL)
    recorder.heard("the last one", "jobs/progress", lambda p: p["job_id"] == job_id and p["percentage"] == 100)
    recorder.finished(retried["id"])
    recorder.call("finished ones", "jobs/list", type="convert", status="succeeded", limit=1)
    recorder.call("one", "jobs/get", job_id=job_id)
    recorder.call("its first lines", "jobs/logs", job_id=job_id, limit=2)
    recorder.refused("too late", "jobs/cancel", job_id=job_id)
    recorder.call("the newest", "conversions/list", limit=1)
    recorder.call("one", "conversions/get", conversion_id=made["id"])
    recorder.refused("a spec that contradicts itself", "conversions/create", asset_ids=[bag], spec={"rows": {}})
    return made


def _scripts(recorder: Recorder, home: Path) -> None:
    folder = home / "field trials" / "scripts"
    folder.mkdir()
    (folder / "speed.py").write_text("def compute(batch):\n    return {'speed': batch.column(0)}\n")
    (folder / "broken.py").write_text("def compute(batch)\n")
    recorder.call("what it has", "scripts/check", path="speed.py", function="compute")
    recorder.call("what is wrong", "scripts/check", path="broken.py")
    recorder.call("it may run", "scripts/register", path="speed.py")
    recorder.call("all of them", "scripts/list")
    recorder.refused("no such file", "scripts/register", path="pace.py")


def _outputs(recorder: Recorder, conversion: Any) -> None:
    page = recorder.call("datasets", "outputs/list", conversion_id=conversion["id"], role="dataset", limit=10)
    recorder.heard("published", "outputs/didChange")
    output_id = page["items"][0]["id"]
    recorder.call("one", "outputs/get", output_id=output_id)
    recorder.call("its first bytes", "outputs/content", output_id=output_id, offset=0, length=16)
    recorder.call("its columns", "outputs/schema", output_id=output_id)
    recorder.call("its first rows", "outputs/rows", output_id=output_id, limit=2)


def _end(recorder: Recorder) -> None:
    recorder.call("stop", "shutdown")
    recorder.refused("too late", "health")
    recorder.notify("leave", "exit")
    recorder.sidecar.wait()


class Normaliser:
    """Replaces what is another each time; one normaliser for one recording, so that ids stay recognisable."""

    _ID = re.compile(r"\b(ws_)?([0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b")
    _TIME = re.compile(r"\b20(2[6-9]|[3-9]\d)-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
    _STAMP = re.compile(r"\b20\d{6}T\d{6}\.\d{6}Z")
    _TOOK = re.compile(r"\b\d+\.\d ms")

    def __init__(self, home: str) -> None:
        self._home = home
        self._ids: dict[str, str] = {}

    def calls(self, calls: dict[str, list[Call]]) -> dict[str, list[Call]]:
        """The calls of every method."""
        return {method: [self._value(call) for call in calls[method]] for method in calls}

    def _value(self, value: Any, name: str = "") -> Any:
        if name in SPEED or (value is not None and name in VOLATILE):
            return (SPEED | VOLATILE)[name]
        if isinstance(value, dict):
            return {key: self._value(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item) for item in value]
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        text = self._STAMP.sub("20260115T093000.000000Z", self._TIME.sub(NOW, text.replace(self._home, HOME)))
        return self._TOOK.sub("1.2 ms", self._ID.sub(self._numbered, text))

    def _numbered(self, found: re.Match[str]) -> str:
        number = len(self._ids) + 1
        workspace = f"ws_{number:032d}"
        return self._ids.setdefault(found[0], workspace if found[1] else f"00000000-0000-4000-8000-{number:012d}")


def shape(value: Any) -> Any:
    """Names and JSON types of a value; of a list the shapes its items have."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in sorted(value.items())}
    if isinstance(value, list):
        return sorted({json.dumps(shape(item), sort_keys=True) for item in value})
    return "number" if type(value) in (int, float) else type(value).__name__


def main() -> int:
    """Record, and write the file that the OpenRPC document takes its examples from."""
    with tempfile.TemporaryDirectory() as folder:
        calls = record(Path(folder))
    EXAMPLES.write_text(json.dumps(calls, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
