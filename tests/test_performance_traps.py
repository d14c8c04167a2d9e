"""The performance traps of the REST backend (reference/rest-surface.md, 8.2), one test each.

What another test holds already is named in ``ELSEWHERE``.
"""

import ast
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.engine.authoring.authored import InspectRequest, PreviewRequest
from hephaes_rpc.engine.authoring.workbench import inspect_log, preview_log
from hephaes_rpc.engine.logs import open_log, reader
from hephaes_rpc.engine.pipeline import ConvertTask, convert
from hephaes_rpc.engine.specs.document import load
from hephaes_rpc.store.assets import AssetFilters
from hephaes_rpc.store.db import Database, Session
from tests.corpus import Context
from tests.factories import Sample, samples, write_mcap
from tests.methods.conftest import Table, bare, table
from tests.store.test_lists import count_statements

__all__ = ["bare", "table"]

FOLDER = Path(__file__).parent
ELSEWHERE = {
    "reads that write": "methods/test_reads.py::test_reads_write_nothing",
    "a statement per row": "methods/test_reads.py::test_statements_do_not_grow_with_rows",
    "requests that block others": "e2e/test_main_job.py::test_other_requests_answer_while_a_conversion_runs",
    "whole files in memory": "engine/test_assembly.py::test_memory_follows_the_window_not_the_log",
    "lists without pages": "store/test_lists.py::test_pages_hold_what_one_page_holds",
    "orders without an index": "store/test_lists.py::test_orders_come_from_an_index",
    "forks of a server with threads": "test_layout.py::test_import_contracts_hold",
    "uploads on the event loop": "methods/test_uploads.py::test_chunks",
}
TRIGGERED = {
    "row_strategy": {"trigger_topic": "/imu", "joins": [{"topic": "/joints", "required": False}]},
    "features": {
        "z": {"source": {"topic": "/imu", "field_path": "orientation.z"}, "dtype": "float64"},
        "first": {"source": {"topic": "/joints", "field_path": "position[0]"}, "dtype": "float64"},
    },
    "output": {"format": "parquet"},
}


def test_tests_elsewhere_are_there() -> None:
    for where in ELSEWHERE.values():
        file, _, name = where.partition("::")
        functions = [node for node in ast.walk(ast.parse((FOLDER / file).read_text())) if hasattr(node, "name")]
        assert name in [node.name for node in functions], where


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A log of many chunks, and how many."""
    path = write_mcap(tmp_path_factory.mktemp("log") / "log.mcap", samples(4000), compression="zstd", chunk_size=4000)
    with open_log(path) as opened:
        return path, len(opened.chunks)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one for every chunk that is decompressed, whole or in part."""
    seen: list[str] = []

    def counting(original: Callable[..., Any]) -> Callable[..., Any]:
        def decompress(*args: Any) -> Any:
            seen.append(args[-1])
            return original(*args)

        return decompress

    for name in ("decompress", "decompress_part"):
        monkeypatch.setattr(reader, name, counting(getattr(reader, name)))
    return seen


def test_an_index_decompresses_nothing(log: tuple[Path, int], opened: list[str]) -> None:
    with open_log(log[0]) as found:
        assert found.summary.message_count == 4000
    assert opened == []


def test_an_inspection_stops_when_it_has_its_samples(log: tuple[Path, int], opened: list[str]) -> None:
    found = inspect_log(str(log[0]), InspectRequest(topics=["/imu"], sample_n=2), Context())
    assert found.topics["/imu"].sampled_message_count == 2
    assert 0 < len(opened) < log[1] / 4


def test_a_preview_decodes_its_window(log: tuple[Path, int], opened: list[str]) -> None:
    found = preview_log(str(log[0]), load(TRIGGERED).spec, PreviewRequest(sample_n=5), Context(), time.perf_counter)
    assert len(found.result.rows) == 5
    assert 0 < len(opened) < log[1] / 4


def seconds_of(folder: Path, n: int) -> float:
    """CPU time of a trigger join of ``n`` messages."""
    base = samples(400, topics=("/imu", "/joints"))
    span = base[-1].time - base[0].time + 1
    messages = (Sample(s.topic, s.time + k * span, s.payload) for k in range(n // 400) for s in base)
    path = write_mcap(folder / f"{n}.mcap", messages, chunk_size=1 << 20)
    task = ConvertTask(
        log_path=str(path), spec=load(TRIGGERED).spec, output_dir=str(folder / str(n)), episode_id="e", stem="e"
    )
    began = time.process_time()
    convert(task, Context())
    return time.process_time() - began


def test_a_trigger_join_is_linear(tmp_path: Path) -> None:
    seconds_of(tmp_path, 400)
    few, many = seconds_of(tmp_path, 8_000), seconds_of(tmp_path, 64_000)
    assert many < 24 * few, (few, many)  # eight times the messages; a quadratic one takes 64 times as long


def test_filters_are_put_to_the_database(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row that passes comes as one row, however many do not."""
    workspace = table.app.store.workspace(None)
    workspace.assets.register_many([(Path(f"/logs/{n}.bag"), n, 1) for n in range(300)])
    seen: list[int] = []
    original = Session.all

    def counting(session: Session, sql: str, bindings: Any = ()) -> Any:
        rows = original(session, sql, bindings)
        seen.append(len(rows))
        return rows

    monkeypatch.setattr(Session, "all", counting)
    assert workspace.assets.list(AssetFilters(search="/logs/17.bag", min_size_bytes=10)).total == 1
    assert max(seen) == 1


def test_a_scan_is_one_transaction_for_many_files(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()

    def scanned(n: int) -> int:
        for k in range(n):
            (folder / f"{n}_{k}.mcap").write_bytes(b"x")
        return count_writes(monkeypatch, lambda: table.call("assets/scanDirectory", directory_path=str(folder)))

    assert scanned(2) == scanned(60)


def count_writes(monkeypatch: pytest.MonkeyPatch, call: Callable[[], object]) -> int:
    """How many transactions of a call may write."""
    seen: list[int] = []
    original = Database.write

    def counting(database: Database, *nouns: str, **options: Any) -> Any:
        seen.append(1)
        return original(database, *nouns, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Database, "write", counting)
        call()
    return len(seen)


def test_a_list_of_jobs_does_not_carry_specs_of_others(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of one job is one job: neither rows nor statements grow with the jobs behind it."""
    workspace = table.app.store.workspace(None)
    asset = workspace.assets.register(Path("/logs/a.bag"), 1, 1)
    for _ in range(50):
        workspace.jobs.create("index", [asset.id], {"spec": "x" * 1000}, {})
    page = table.call("jobs/list", limit=1)
    assert (len(page["items"]), page["total"]) == (1, 50)
    one = count_statements(monkeypatch, lambda: table.call("jobs/list", limit=1))
    assert one == count_statements(monkeypatch, lambda: table.call("jobs/list", limit=50))
