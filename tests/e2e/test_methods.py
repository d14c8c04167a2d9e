"""What every method answers to wrong params, over real pipes; those of drafts and scripts have tests of their own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.methods import register_all
from hephaes_rpc.registry import REGISTRY
from tests.e2e.sidecar import RpcError, Sidecar

pytestmark = pytest.mark.e2e

METHODS = {
    "workspaces/list": {},
    "workspaces/create": {"root_path": "somewhere"},
    "workspaces/activate": {"workspace_id": "ws_nobody"},
    "workspaces/delete": {"workspace_id": "ws_nobody"},
    "workspaces/backup": {"workspace_id": "ws_nobody"},
    "workspaces/restore": {"workspace_id": "ws_nobody"},
    "workspaces/check": {"workspace_id": "ws_nobody"},
    "assets/register": {"file_path": "nothing.bag"},
    "assets/scanDirectory": {"directory_path": "nowhere"},
    "assets/analyze": {"asset_id": "nobody"},
    "assets/index": {"asset_id": "nobody"},
    "assets/reindexAll": {},
    "assets/list": {},
    "assets/get": {"asset_id": "nobody"},
    "assets/report": {"asset_id": "nobody"},
    "assets/upload": {"file_name": "a.bag", "data_base64": ""},
    "assets/uploadBegin": {"file_name": "a.bag", "size_bytes": 0},
    "assets/uploadChunk": {"upload_id": "nobody", "offset": 0, "data_base64": ""},
    "assets/uploadCommit": {"upload_id": "nobody"},
    "assets/uploadAbort": {"upload_id": "nobody"},
    "assets/registerDialog": {},
    "assets/attachTag": {"asset_id": "nobody", "tag_id": "nothing"},
    "assets/detachTag": {"asset_id": "nobody", "tag_id": "nothing"},
    "tags/list": {},
    "tags/create": {"name": "new"},
    "dashboard/summary": {},
    "dashboard/trends": {},
    "dashboard/blockers": {},
    "conversionConfigs/list": {},
    "conversionConfigs/get": {"config_id": "nobody"},
    "conversionConfigs/create": {"name": "new", "spec": {}},
    "conversionConfigs/update": {"config_id": "nobody"},
    "conversionConfigs/duplicate": {"config_id": "nobody"},
    "conversionConfigs/diff": {"config_id": "nobody"},
    "conversionConfigs/export": {"config_id": "nobody"},
    "conversionConfigs/import": {"text": "a: 1"},
    "conversions/create": {"asset_ids": ["nobody"]},
    "conversions/inspect": {"asset_id": "nobody"},
    "conversions/draft": {"asset_id": "nobody"},
    "conversions/preview": {"asset_id": "nobody", "spec": {"mapping": {"x": ["/x"]}}},
    "conversions/list": {},
    "conversions/get": {"conversion_id": "nobody"},
    "conversions/capabilities": {},
    "jobs/list": {},
    "jobs/get": {"job_id": "nobody"},
    "jobs/cancel": {"job_id": "nobody"},
    "jobs/retry": {"job_id": "nobody"},
    "jobs/logs": {"job_id": "nobody"},
    "outputs/list": {},
    "outputs/get": {"output_id": "nobody"},
    "outputs/content": {"output_id": "nobody"},
    "outputs/rows": {"output_id": "nobody"},
    "outputs/schema": {"output_id": "nobody"},
}
OPTIONAL = {"conversionConfigs/update": {"name": "other"}}
"""Without one of those the method has nothing to do."""
NOT_FOUND = {
    "conversionConfigs/update": "config_not_found",
    "workspaces/activate": "workspace_not_found",
    "workspaces/delete": "workspace_not_found",
    "workspaces/backup": "workspace_not_found",
    "workspaces/restore": "workspace_not_found",
    "workspaces/check": "workspace_not_found",
    "conversionConfigs/get": "config_not_found",
    "conversionConfigs/duplicate": "config_not_found",
    "conversionConfigs/diff": "config_not_found",
    "conversionConfigs/export": "config_not_found",
    "assets/analyze": "asset_not_found",
    "assets/index": "asset_not_found",
    "assets/get": "asset_not_found",
    "assets/report": "asset_not_found",
    "conversions/inspect": "asset_not_found",
    "conversions/draft": "asset_not_found",
    "conversions/get": "conversion_not_found",
    "jobs/get": "job_not_found",
    "jobs/cancel": "job_not_found",
    "jobs/retry": "job_not_found",
    "jobs/logs": "job_not_found",
    "outputs/get": "output_not_found",
    "outputs/content": "output_not_found",
    "outputs/rows": "output_not_found",
    "outputs/schema": "output_not_found",
    "assets/uploadChunk": "upload_not_found",
    "assets/uploadCommit": "upload_not_found",
    "assets/uploadAbort": "upload_not_found",
    "assets/attachTag": "asset_not_found",
    "assets/detachTag": "asset_not_found",
}
LISTS = [name for name in METHODS if name.endswith("/list")]
BOUND = [name for name in METHODS if not name.startswith("workspaces/")]
WITH_PROGRESS = [
    "assets/scanDirectory",
    "assets/analyze",
    "assets/index",
    "assets/reindexAll",
    "assets/report",
    "conversions/create",
    "conversions/inspect",
    "conversions/draft",
    "conversions/preview",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """One sidecar with an active workspace for all of these tests; none of them changes anything."""
    folder = tmp_path_factory.mktemp("methods")
    with Sidecar(folder / "data") as running:
        running.initialize()
        running.request("workspaces/create", {"root_path": str(folder / "workspace")})
        yield running
        assert running.stray == b""


def refusal(server: Sidecar, method: str, params: Any) -> RpcError:
    with pytest.raises(RpcError) as error:
        server.request(method, params)
    assert error.value.message
    return error.value


def test_the_table_is_whole() -> None:
    register_all()
    assert {
        name for name in REGISTRY.methods if name.partition("/")[0] in {n.partition("/")[0] for n in METHODS}
    } == set(METHODS)
    assert sorted(name for name in METHODS if REGISTRY.methods[name].progress) == sorted(WITH_PROGRESS)


@pytest.mark.parametrize("method", METHODS)
def test_wrong_params(server: Sidecar, method: str) -> None:
    by_position = refusal(server, method, [METHODS[method]])
    assert by_position.code == -32602
    unknown = refusal(server, method, METHODS[method] | {"limits": 1})
    assert unknown.code == -32602
    (issue,) = unknown.data["errors"]
    assert (issue["path"], issue["got"]) == ("limits", "1")
    for name, value in METHODS[method].items():
        missing = refusal(server, method, {key: METHODS[method][key] for key in METHODS[method] if key != name})
        assert [issue["path"] for issue in missing.data["errors"]] == [name]
        for wrong in (None, "7" if isinstance(value, int) else 7, ["a"] if isinstance(value, dict) else {"a": 1}, True):
            ill_typed = refusal(server, method, METHODS[method] | {name: wrong})
            assert ill_typed.code == -32602
            assert [issue["path"] for issue in ill_typed.data["errors"]] == [name]
        assert value is not None


@pytest.mark.parametrize("method", BOUND)
def test_unknown_workspace(server: Sidecar, method: str) -> None:
    error = refusal(server, method, METHODS[method] | OPTIONAL.get(method, {}) | {"workspace_id": "ws_nobody"})
    assert (error.code, error.data["kind"]) == (404, "workspace_not_found")
    assert error.data["workspace_id"] == "ws_nobody"


@pytest.mark.parametrize("method", NOT_FOUND)
def test_unknown_ids(server: Sidecar, method: str) -> None:
    error = refusal(server, method, METHODS[method] | OPTIONAL.get(method, {}))
    assert (error.code, error.data["kind"]) == (404, NOT_FOUND[method])
    assert "nobody" in error.message


@pytest.mark.parametrize(
    ("method", "kind", "code"),
    [
        ("assets/register", "invalid_path", 400),
        ("assets/scanDirectory", "invalid_path", 400),
        ("assets/upload", "upload_empty", 400),
        ("assets/uploadBegin", "upload_empty", 400),
        ("assets/registerDialog", "dialog_unavailable", 503),
        ("conversions/create", "unknown_asset", 422),
        ("conversionConfigs/import", "invalid_spec", 422),
    ],
)
def test_other_refusals(server: Sidecar, method: str, kind: str, code: int) -> None:
    error = refusal(server, method, METHODS[method])
    assert (error.code, error.data["kind"]) == (code, kind)


@pytest.mark.parametrize("method", LISTS)
def test_lists(server: Sidecar, method: str) -> None:
    page = server.request(method, {})
    assert page.keys() >= {"items", "total", "next_cursor"}
    assert page["total"] == len(page["items"])
    assert page["next_cursor"] is None
    for params, path in (
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
        ({"sort": "nothing"}, "sort"),
        ({"offset": 0}, "offset"),
    ):
        error = refusal(server, method, params)
        assert (error.code, [issue["path"] for issue in error.data["errors"]]) == (-32602, [path])
    error = refusal(server, method, {"cursor": "bm90aGluZw=="})
    assert (error.code, error.data["kind"]) == (400, "cursor_mismatch")


@pytest.mark.parametrize("method", WITH_PROGRESS)
def test_progress_ends_with_an_error_too(server: Sidecar, method: str) -> None:
    token = f"token of {method}"
    answer = server.response(server.start(method, METHODS[method] | {"workDoneToken": token}))
    kinds = [p["value"]["kind"] for p in server.notifications("$/progress") if p["token"] == token]
    assert ("error" in answer) == (method != "assets/reindexAll")
    assert kinds == ["begin", "end"]


def test_a_work_done_token_is_taken_where_there_is_progress_only(server: Sidecar) -> None:
    error = refusal(server, "assets/list", {"workDoneToken": "t"})
    assert [issue["path"] for issue in error.data["errors"]] == ["workDoneToken"]
    error = refusal(server, "assets/reindexAll", {"workDoneToken": 1.5})
    assert [issue["path"] for issue in error.data["errors"]] == ["workDoneToken"]


def test_the_document_describes_them(server: Sidecar) -> None:
    described = {method["name"]: method for method in server.request("rpc.discover")["methods"]}
    for name in METHODS:
        params = {param["name"]: param for param in described[name]["params"]}
        assert all(params[given]["required"] for given in METHODS[name])
        assert ("workspace_id" in params) == (name in BOUND or "workspace_id" in METHODS[name])
        assert ("workDoneToken" in params) == (name in WITH_PROGRESS)
        if name in LISTS:
            assert params["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 500, "default": 100}
            assert any(order in str(params["sort"]) for order in ("-created_at", "-registered_time", "-updated_at"))


def test_content_is_bounded(server: Sidecar) -> None:
    for params, path in (({"length": (8 << 20) + 1}, "length"), ({"length": -1}, "length"), ({"offset": -1}, "offset")):
        error = refusal(server, "outputs/content", {"output_id": "x", **params})
        assert [issue["path"] for issue in error.data["errors"]] == [path]


def test_paths_are_relative_to_nothing_surprising(server: Sidecar, tmp_path: Path) -> None:
    error = refusal(server, "assets/register", {"file_path": str(tmp_path / "a" / ".." / "b.bag")})
    assert error.message == f"{tmp_path / 'b.bag'} does not exist"
