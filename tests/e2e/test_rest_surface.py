"""A table test over all 37 routes of the REST backend: method, fields with their types, order, errors."""

import base64
import itertools
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import apsw
import pytest
from mcap.writer import Writer

from hephaes_rpc.methods import register_all
from hephaes_rpc.registry import REGISTRY
from tests.e2e.logs import write_long_log
from tests.e2e.rest_table import MISMATCH, ROUTES, SHAPES, SPEC, Refusal, Route
from tests.e2e.sidecar import RpcError, Sidecar
from tests.factories import samples, write_bag, write_mcap

pytestmark = pytest.mark.e2e

N_ROUTES = 37
SHARED = {"workspace_not_found", "workspace_not_ready", "no_active_workspace", "workspace_newer", "workspace_corrupt"}
OUTSIDE = {"permission", "disk_full", "io_error", "worker_died", "source_changed"}
"""Not brought about by a request; tests of their own make them."""
BEYOND = {"quality_gate", "script_failed", "script_not_enabled", "script_not_found"}
"""Of what the REST backend did not have; tests of their own make them."""
OF_LOGS = {"invalid_path", "invalid_spec"}
"""Shared by all methods that have a worker look at a log, though an inspection has no spec."""

UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
TYPES: dict[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "bool": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "utc": lambda value: isinstance(value, str) and UTC.fullmatch(value) is not None,
    "day": lambda value: isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value) is not None,
    "any": lambda _: True,
    "null": lambda value: value is None,
}


class World:
    """What the routes are called with."""

    def __init__(self, server: Sidecar, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.things: dict[str, str] = {}
        self._make_logs()
        self._make_workspaces()
        self._make_outputs()
        self._make_configs()

    def filled(self, value: Any) -> Any:
        """A value of the table with the things it names."""
        if isinstance(value, str) and value.startswith("$"):
            return self.things[value[1:]]
        if isinstance(value, dict):
            return {key: self.filled(each) for key, each in value.items()}
        return [self.filled(each) for each in value] if isinstance(value, list) else value

    def _register(self, path: Path, **params: Any) -> str:
        asset = self.server.request("assets/register", {"file_path": str(path), **params})
        return str(asset["id"])

    def _workspace(self, name: str) -> tuple[str, Path]:
        root = self.folder / name
        made = self.server.request("workspaces/create", {"root_path": str(root), "activate": False})
        return made["id"], root

    def _make_logs(self) -> None:
        logs = self.folder / "logs"
        logs.mkdir()
        (logs / "notes.txt").write_text("no log")
        write_mcap(logs / "drive.mcap", samples(200))
        write_bag(logs / "drive two.bag", samples(60, ros=1))
        write_mcap(self.folder / "new.mcap", samples(10))
        write_mcap(logs / "pending.mcap", samples(20))
        write_mcap(logs / "gone.mcap", samples(30))
        (logs / "broken.mcap").write_bytes(b"this is no log at all")
        (logs / "packed.mcap").write_bytes(b"\x1f\x8b" + bytes(100))
        with (logs / "empty.mcap").open("wb") as file:
            writer = Writer(file)
            writer.start("ros2")
            writer.finish()  # type: ignore[no-untyped-call]
        self.server.request("workspaces/create", {"root_path": str(self.folder / "main")})
        ids = {
            name: self._register(logs / file)
            for name, file in {
                "asset": "drive.mcap",
                "other_asset": "drive two.bag",
                "pending": "pending.mcap",
                "gone": "gone.mcap",
                "broken": "broken.mcap",
                "unsupported": "packed.mcap",
                "empty_asset": "empty.mcap",
            }.items()
        }
        (logs / "gone.mcap").unlink()
        for name in ("asset", "other_asset", "empty_asset"):
            self.server.request("assets/index", {"asset_id": ids[name]})
        data = base64.b64encode(b"A").decode()
        self.server.request("assets/upload", {"file_name": "uploaded.mcap", "data_base64": data})
        tags = {
            name: self.server.request("tags/create", {"name": text})["id"]
            for name, text in {"tag": "First", "second_tag": "Second Tag", "lost_tag": "Lost"}.items()
        }
        for name in ("tag", "lost_tag"):
            self.server.request("assets/attachTag", {"asset_id": ids["asset"], "tag_id": tags[name]})
        self.things |= ids | tags
        self.things |= {
            "log": str(logs / "drive.mcap"),
            "new_log": str(self.folder / "new.mcap"),
            "folder": str(logs),
            "text_file": str(logs / "notes.txt"),
        }

    def _make_workspaces(self) -> None:
        listed = self.server.request("workspaces/list", {})
        self.things["workspace"] = listed["active_workspace_id"]
        self.things["doomed_workspace"], _ = self._workspace("doomed")
        self.things["missing_workspace"], missing = self._workspace("missing")
        shutil.rmtree(missing)
        self.things["replaced_workspace"], replaced = self._workspace("replaced")
        (replaced / ".hephaes").rename(replaced / "moved")
        (replaced / ".hephaes").symlink_to(replaced / "moved")
        self.things["busy_workspace"], _ = self._workspace("busy")
        here = {"workspace_id": self.things["busy_workspace"]}
        asset_id = self._register(write_long_log(self.folder / "long.mcap", 60), **here)
        self.server.request("assets/index", {"asset_id": asset_id, **here})
        self._long = {"asset_ids": [asset_id], **here}
        self.things["fresh_root"] = str(self.folder / "fresh")
        self.things["file_root"] = self.things["text_file"]
        for name, content in {"taken_root": None, "foreign_root": b"no database", "newer_root": b""}.items():
            root = self.folder / name
            root.mkdir()
            self.things[name] = str(root)
            if content is None:
                (root / ".hephaes").write_text("a file")
            else:
                (root / ".hephaes").mkdir()
                (root / ".hephaes" / "workspace.db").write_bytes(content)
        newer = Path(self.things["newer_root"]) / ".hephaes" / "workspace.db"
        shutil.copy(self.folder / "doomed" / ".hephaes" / "workspace.db", newer)
        with apsw.Connection(str(newer)) as connection:
            connection.pragma("user_version", 99)

    def be_busy(self) -> None:
        """Have a job at work in the workspace that is to be busy."""
        self.server.request("conversions/create", self._long)

    def _make_outputs(self) -> None:
        made = [
            self.server.request("conversions/create", {"asset_ids": [self.things["asset"]], **more})
            for more in ({}, {"spec": SPEC}, {"mapping": {"imu": ["/imu"]}})
        ]
        for each in made:
            assert self.server.wait_for_job(each["job_id"])["status"] == "succeeded"
        first, _, last = made
        self.things |= {"conversion": first["id"], "job": first["job_id"]}
        for name, conversion in {"output": first, "lost_output": last}.items():
            page = self.server.request("outputs/list", {"conversion_id": conversion["id"], "role": "dataset"})
            self.things[name] = page["items"][0]["id"]
        lost = self.server.request("outputs/get", {"output_id": self.things["lost_output"]})
        Path(lost["file_path"]).unlink()

    def _make_configs(self) -> None:
        ids = [
            self.server.request("conversionConfigs/create", {"name": name, "spec": SPEC})["id"]
            for name in ("First Config", "Second Config", "Broken")
        ]
        self.things["config"], _, self.things["broken_config"] = ids
        database = self.folder / "main" / ".hephaes" / "workspace.db"
        with apsw.Connection(str(database)) as connection:
            connection.set_busy_timeout(5000)
            connection.execute(
                "INSERT INTO blobs (sha256, data, created_at) VALUES (?1, ?2, 0)", ("0" * 64, b"rotten")
            ).fetchall()
            connection.execute(
                "UPDATE config_revisions SET document_sha256 = ? WHERE config_id = ?", ("0" * 64, ids[-1])
            ).fetchall()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One sidecar that the routes are called at in turn."""
    folder = tmp_path_factory.mktemp("routes")
    with Sidecar(folder / "data") as running:
        running.initialize(capabilities={"window": {"openFileDialog": True}})
        yield World(running, folder)
        assert running.stray == b""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """A sidecar without a workspace and without a dialog."""
    with Sidecar(tmp_path_factory.mktemp("bare") / "data") as running:
        running.initialize()
        yield running


def wrong(value: Any, type_: str, path: str) -> list[str]:
    """What in a value is not of a type of the table."""
    if type_.endswith("?"):
        return [] if value is None else wrong(value, type_[:-1], path)
    for suffix, kind in (("[]", list), ("{}", dict)):
        if type_.endswith(suffix):
            if not isinstance(value, kind):
                return [f"{path} is {value!r}, no {type_}"]
            items = value.items() if isinstance(value, dict) else enumerate(value)
            return [issue for key, each in items for issue in wrong(each, type_[:-2], f"{path}[{key}]")]
    if type_.startswith("@"):
        if not isinstance(value, dict):
            return [f"{path} is {value!r}, no {type_}"]
        shape = SHAPES[type_[1:]]
        missing = [f"{path}.{name} is missing" for name in shape if name not in value]
        return missing + [
            issue for name in shape if name in value for issue in wrong(value[name], shape[name], f"{path}.{name}")
        ]
    fits = TYPES[type_](value) if type_ in TYPES else value in type_.split("|")
    return [] if fits else [f"{path} is {value!r}, no {type_}"]


def refused(server: Sidecar, method: str, params: dict[str, Any]) -> RpcError:
    with pytest.raises(RpcError) as error:
        pytest.fail(f"{method} answered {params} with {str(server.request(method, params))[:200]}")
    return error.value


def ask(world: World, route: Route, answer: dict[str, Any] | None = None) -> Any:
    """The answer to the params of a route; a dialog is answered too."""
    server = world.server
    asked = [m["id"] for m in server.messages if m.get("method") == "window/openFileDialog"]
    request_id = server.start(route.method, world.filled(route.params))
    if route.method == "assets/registerDialog":
        question = server.wait_message(
            lambda m: m.get("method") == "window/openFileDialog" and m["id"] not in asked, 10, "the dialog"
        )
        reply = answer or {"result": {"file_paths": [world.things["log"]]}}
        server.send({"jsonrpc": "2.0", "id": question["id"], **reply})
    return server.result(request_id)


def test_the_table_is_whole() -> None:
    register_all()
    assert len(ROUTES) == len({route.rest for route in ROUTES}) == len({route.method for route in ROUTES}) == N_ROUTES
    for route in ROUTES:
        declared = set(REGISTRY.methods[route.method].errors)
        provoked = {refusal.about for refusal in route.refusals if refusal.code != -32602}
        assert provoked <= declared, route.method
        elsewhere = OF_LOGS if "quality_gate" in declared else set()
        elsewhere |= {"unsupported"} if route.method == "conversions/create" else set()  # topics that cannot be decoded
        assert declared - provoked <= SHARED | OUTSIDE | BEYOND | elsewhere, (route.method, declared - provoked)
        assert ("cursor_mismatch" in declared) == (MISMATCH in route.refusals) == bool(route.order), route.method
        assert route.refusals


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.rest)
def test_errors(world: World, route: Route) -> None:
    if route.method == "workspaces/delete":
        world.be_busy()
    for refusal in route.refusals:
        if refusal.about == "dialog_unavailable":
            with pytest.raises(RpcError) as caught:
                ask(world, route, {"error": {"code": -32603, "message": "no dialogs today"}})
            error = caught.value
        else:
            error = refused(world.server, route.method, world.filled(route.params | refusal.params))
        assert error.code == refusal.code, (refusal, error.message, error.data)
        assert error.message
        if refusal.code == -32602:
            assert [issue["path"] for issue in error.data["errors"]] == [refusal.about], refusal
            assert all({"path", "message", "expected", "got"} <= set(issue) for issue in error.data["errors"])
        else:
            assert error.data["kind"] == refusal.about, (refusal, error.message)


@pytest.mark.parametrize("route", ROUTES[5:], ids=lambda route: route.rest)
def test_errors_of_the_workspace(world: World, bare: Sidecar, route: Route) -> None:
    """Every route from the sixth on."""
    params = world.filled(route.params)
    missing = world.things["missing_workspace"]
    for server, more, code, kind in (
        (world.server, {"workspace_id": "ws_nobody"}, 404, "workspace_not_found"),
        (world.server, {"workspace_id": missing}, 409, "workspace_not_ready"),
        (bare, {}, 409, "no_active_workspace"),
    ):
        error = refused(server, route.method, params | more)
        assert (error.code, error.data["kind"]) == (code, kind), (route.method, error.message)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.rest)
def test_fields_and_order(world: World, route: Route) -> None:
    found = ask(world, route)
    if not route.order:
        assert wrong(found, route.result, route.method) == []
        return
    assert wrong(found["items"], f"{route.result}[]", route.method) == []
    assert (found["total"], found["next_cursor"]) == (len(found["items"]), None)
    assert len(found["items"]) > 1
    for one, two in itertools.pairwise(found["items"]):
        assert follows(one, two, route.order), (one, two)
    one_by_one, cursor = [], None
    while cursor is not None or not one_by_one:
        page = world.server.request(route.method, world.filled(route.params) | {"limit": 1, "cursor": cursor})
        one_by_one += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert one_by_one == [item["id"] for item in found["items"]]


def follows(one: dict[str, Any], two: dict[str, Any], order: tuple[str, ...]) -> bool:
    for each in order:
        name = each.removeprefix("-")
        before, after = comparable(one[name]), comparable(two[name])
        if before != after:
            return bool(before > after) if each.startswith("-") else bool(before < after)
    return True


def comparable(value: Any) -> Any:
    """Times as times, nothing before everything, texts by their bytes."""
    if value is None:
        return 0.0
    if UTC.fullmatch(value):
        return datetime.fromisoformat(value).timestamp()
    return value.encode()


def test_a_client_without_dialogs_is_told_so(bare: Sidecar, tmp_path: Path) -> None:
    made = bare.request("workspaces/create", {"root_path": str(tmp_path / "root"), "activate": False})
    error = refused(bare, "assets/registerDialog", {"workspace_id": made["id"]})
    assert (error.code, error.data["kind"]) == (503, "dialog_unavailable")


def test_what_is_refused_is_a_refusal() -> None:
    assert all(isinstance(refusal, Refusal) for route in ROUTES for refusal in route.refusals)
    assert sum(len(route.refusals) for route in ROUTES) > 150


def test_a_log_without_topics_becomes_an_empty_dataset(world: World) -> None:
    """Where the REST backend refuses: every log that can be read can be converted."""
    spec = {"output": {"format": "parquet"}}
    made = world.server.request("conversions/create", world.filled({"asset_ids": ["$empty_asset"], "spec": spec}))
    job = world.server.wait_for(
        "jobs/didChange", lambda p: p["job"]["id"] == made["job_id"] and p["job"]["status"] in ("succeeded", "failed")
    )["job"]
    assert job["status"] == "succeeded", job["error"]
