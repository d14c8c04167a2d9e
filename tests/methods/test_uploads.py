import base64
import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.errors import HephaesError, ParamsError
from hephaes_rpc.store import uploads as store_uploads
from tests.methods.conftest import Table

DATA = bytes(range(256)) * 40


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def refusal(table: Table, name: str, **params: Any) -> HephaesError:
    with pytest.raises(HephaesError) as error:
        table.call(name, **params)
    return error.value


def raw(table: Table) -> Path:
    return table.app.config.raw_dir / str(table.call("workspaces/list")["active_workspace_id"])


def files(table: Table) -> list[str]:
    return sorted(path.name for path in raw(table).iterdir()) if raw(table).is_dir() else []


def begin(table: Table, name: str = "a.bag", data: bytes = DATA, **params: Any) -> str:
    return str(table.call("assets/uploadBegin", file_name=name, size_bytes=len(data), **params)["upload_id"])


def chunk(table: Table, upload_id: str, offset: int, data: bytes) -> int:
    found = table.call("assets/uploadChunk", upload_id=upload_id, offset=offset, data_base64=encoded(data))
    return int(found["received_bytes"])


def test_one_message(table: Table) -> None:
    asset = table.call("assets/upload", file_name=" ../some/where/Drive.MCAP ", data_base64=encoded(DATA))
    assert (asset["file_name"], asset["file_type"], asset["file_size"]) == ("Drive.MCAP", "mcap", len(DATA))
    assert asset["file_path"] == str(raw(table) / "Drive.MCAP")
    assert Path(asset["file_path"]).read_bytes() == DATA
    assert files(table) == ["Drive.MCAP"]
    assert table.changes("assets")[-1]["ids"] == [asset["id"]]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("", "invalid_name"),
        ("..", "invalid_name"),
        ("a/..", "invalid_name"),
        ("a/", "invalid_name"),
        (".mcap", "invalid_name"),
        ("a.txt", "invalid_name"),
        ("nul\0.bag", "invalid_name"),
        ("two\nlines.bag", "invalid_name"),
        ("\ud800.bag", "invalid_name"),
        ("x" * 250 + ".bag", "invalid_name"),
    ],
)
def test_names_without_a_way_out(table: Table, name: str, kind: str) -> None:
    for method, params in (("assets/upload", {"data_base64": "QQ=="}), ("assets/uploadBegin", {"size_bytes": 1})):
        error = refusal(table, method, file_name=name, **params)
        assert (error.code, error.kind) == (400, kind)
        error.message.encode()
    assert files(table) == []
    assert table.call("assets/list")["total"] == 0


def test_nothing_is_refused(table: Table) -> None:
    assert refusal(table, "assets/upload", file_name="a.bag", data_base64="").kind == "upload_empty"
    assert refusal(table, "assets/uploadBegin", file_name="a.bag", size_bytes=0).kind == "upload_empty"
    for text in ("%%%", "QQ", "Q Q==", "é"):
        with pytest.raises(ParamsError, match="base64"):
            table.call("assets/upload", file_name="a.bag", data_base64=text)


def test_chunks(table: Table) -> None:
    digest = hashlib.sha256(DATA).hexdigest()
    upload = begin(table, sha256=digest.upper())
    received = 0
    for first in range(0, len(DATA), 1000):
        received = chunk(table, upload, first, DATA[first : first + 1000])
    assert received == len(DATA)
    assert table.call("assets/list")["total"] == 0
    asset = table.call("assets/uploadCommit", upload_id=upload)
    assert Path(asset["file_path"]).read_bytes() == DATA
    assert files(table) == ["a.bag"]
    assert table.call("assets/uploadCommit", upload_id=upload) == asset
    assert refusal(table, "assets/uploadChunk", upload_id=upload, offset=0, data_base64="").kind == "upload_not_found"
    assert refusal(table, "assets/uploadAbort", upload_id=upload).kind == "upload_not_found"


def test_a_wrong_offset_is_told_what_is_expected(table: Table) -> None:
    upload = begin(table)
    chunk(table, upload, 0, DATA[:100])
    for offset in (0, 99, 101, 10**15):
        error = refusal(table, "assets/uploadChunk", upload_id=upload, offset=offset, data_base64=encoded(b"x"))
        assert (error.code, error.kind, error.data["expected_offset"]) == (409, "offset_mismatch", 100)
    error = refusal(table, "assets/uploadCommit", upload_id=upload)
    assert (error.code, error.kind, error.data["expected_offset"]) == (409, "upload_incomplete", 100)
    with pytest.raises(ParamsError, match="size_bytes"):
        chunk(table, upload, 100, DATA)
    with pytest.raises(ParamsError, match="8 MiB"):
        chunk(table, upload, 100, bytes((8 << 20) + 1))
    assert chunk(table, upload, 100, DATA[100:]) == len(DATA)
    assert Path(table.call("assets/uploadCommit", upload_id=upload)["file_path"]).read_bytes() == DATA


def test_threads_that_send_the_same_chunks_never_mix_them(table: Table) -> None:
    upload = begin(table)
    kinds: list[str] = []

    def send() -> None:
        offset = 0
        while offset < len(DATA):
            try:
                offset = chunk(table, upload, offset, DATA[offset : offset + 700])
            except HephaesError as error:
                kinds.append(error.kind)
                offset = error.data["expected_offset"]

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(kinds) <= {"offset_mismatch"}
    assert Path(table.call("assets/uploadCommit", upload_id=upload)["file_path"]).read_bytes() == DATA


def test_a_wrong_checksum_keeps_the_upload_open(table: Table) -> None:
    upload = begin(table, sha256="0" * 64)
    chunk(table, upload, 0, DATA)
    error = refusal(table, "assets/uploadCommit", upload_id=upload)
    assert (error.code, error.kind) == (422, "checksum_mismatch")
    assert error.data["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert table.call("assets/list")["total"] == 0
    assert table.call("assets/uploadAbort", upload_id=upload) is None
    assert files(table) == []
    with pytest.raises(ParamsError, match="sha256"):
        begin(table, sha256="abc")


def test_unfinished_uploads_expire(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = begin(table)
    chunk(table, upload, 0, DATA[:5])
    now = store_uploads.now_us()
    monkeypatch.setattr(store_uploads, "now_us", lambda: now + 24 * 3600 * 1_000_000)
    for name, params in (("Chunk", {"offset": 5, "data_base64": ""}), ("Commit", {}), ("Abort", {})):
        error = refusal(table, f"assets/upload{name}", upload_id=upload, **params)
        assert (error.code, error.kind) == (404, "upload_not_found")
    assert len(files(table)) == 1
    other = begin(table, "b.bag")
    assert files(table) == [f".{other}.part"]


def test_nothing_is_overwritten(table: Table) -> None:
    first = table.call("assets/upload", file_name="a.bag", data_base64=encoded(DATA))
    late = begin(table, "b.bag")
    chunk(table, late, 0, DATA)
    (raw(table) / "b.bag").write_bytes(b"mine")
    for name, params in (
        ("assets/upload", {"file_name": "a.bag", "data_base64": "QQ=="}),
        ("assets/uploadBegin", {"file_name": "x/a.bag", "size_bytes": 5}),
        ("assets/uploadCommit", {"upload_id": late}),
    ):
        error = refusal(table, name, **params)
        assert (error.code, error.kind) == (409, "asset_already_registered")
    assert Path(first["file_path"]).read_bytes() == DATA
    assert (raw(table) / "b.bag").read_bytes() == b"mine"
    assert table.call("assets/list")["total"] == 1


def test_links_in_the_raw_folder_lead_nowhere(table: Table, tmp_path: Path) -> None:
    table.call("assets/upload", file_name="a.bag", data_base64=encoded(DATA))
    (raw(table) / "link.bag").symlink_to(tmp_path / "target.bag")
    assert refusal(table, "assets/upload", file_name="link.bag", data_base64="QQ==").kind == "asset_already_registered"
    assert not (tmp_path / "target.bag").exists()


def test_a_deleted_workspace_keeps_logs_but_no_halves(table: Table) -> None:
    folder = raw(table)
    table.call("assets/upload", file_name="a.bag", data_base64=encoded(DATA))
    chunk(table, begin(table, "b.bag"), 0, DATA[:5])
    table.call("workspaces/delete", workspace_id=table.call("workspaces/list")["active_workspace_id"])
    assert [path.name for path in folder.iterdir()] == ["a.bag"]
