"""Measures lists, filters, searches and the dashboard over a million assets, jobs and outputs; no part of the tests.

    python -m tests.store.million [folder] [--assets N] [--only WORD]

The workspace is made once per folder; every figure is over calls with different values, page and total together.
"""

import argparse
import itertools
import random
import shutil
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hephaes_rpc.config import Options, load
from hephaes_rpc.model.assets import TopicSummary
from hephaes_rpc.store import assets, joblists, outputs
from hephaes_rpc.store.app import AppStore
from hephaes_rpc.store.assets import AssetFilters
from hephaes_rpc.store.assetsearch import ROOT_MARK
from hephaes_rpc.store.findings import KINDS, SEVERITIES, kind_bit
from hephaes_rpc.store.joblists import JobFilters
from hephaes_rpc.store.outputs import OutputFilters
from hephaes_rpc.store.values import now_us, to_json
from hephaes_rpc.store.workspace import OpenWorkspace

GOAL_MS = 50.0
ROUNDS = 40
WORDS = ("drive", "garage", "highway", "night", "rain", "camera", "lidar", "parking", "tunnel", "bridge", "dock")
TAGS = {"rare": 0.0001, "some": 0.01, "many": 0.2, "most": 0.8}
DAY_US = 24 * 3600 * 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--only", default="", help="what the names of the cases must begin with")
    parser.add_argument("--assets", type=int, default=1_000_000)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="million-"))
    try:
        store = AppStore(
            load(Options(data_dir=str(folder / "data"), workspace_root=str(folder / "root")), Options(), {})
        )
        workspace = store.workspace(None)
        if workspace.assets.list(limit=1).total == 0:
            began = time.perf_counter()
            fill(workspace, options.assets)
            print(f"{options.assets} assets and jobs in {time.perf_counter() - began:.0f} s")
        slowest = measure(workspace, options.only)
        store.close()
        print(f"{'slowest p95':48} {slowest:8.1f} ms, goal {GOAL_MS:.0f} ms")
    finally:
        if options.folder is None:
            shutil.rmtree(folder)


def fill(workspace: OpenWorkspace, n: int) -> None:
    """``n`` assets of the last year with tags, metadata and an index job each, and a conversion for every hundredth."""
    draw = random.Random(1)
    tag_ids = {name: workspace.tags.create(name).id for name in TAGS}
    start = now_us() - 365 * DAY_US
    topic = TopicSummary("/imu", "sensor_msgs/msg/Imu", 3, 1.5, "imu", "cdr", "ros2msg", None, None, None, 0, None)
    numbers = [start + i * (365 * DAY_US // n) for i in range(n)]
    ids = [str(uuid.UUID(int=draw.getrandbits(128))) for _ in range(n)]

    def rows() -> Iterator[tuple[Any, ...]]:
        for i, (number, asset_id) in enumerate(zip(numbers, ids, strict=True)):
            kind = ("mcap", "bag")[i % 3 == 0]
            name = f"{draw.choice(WORDS)}_{draw.choice(WORDS)}_{i:07}.{kind}"
            path = f"logs/{i // 1000:04}/{name}" if i % 10 else f"/archive/{i // 1000:04}/{name}"
            marked = path if path.startswith("/") else ROOT_MARK + path
            status = draw.choices(("indexed", "pending", "failed"), (96, 3, 1))[0]
            done = status == "indexed"
            kinds = draw.choices((0, kind_bit(draw.choice(KINDS)), kind_bit("damaged_log")), (70, 29, 1))[0] * done
            severity = (3 if kinds & kind_bit("damaged_log") else draw.choice((1, 2))) if kinds else 0
            score = (draw.randrange(40, 100) if kinds else 100) if done else None
            duration, began = draw.lognormvariate(5, 1), 1_600_000_000_000_000_000 + draw.randrange(10**17)
            yield (
                *(number, asset_id, path, name, kind, draw.randrange(10**10), 1, status),
                *(number + 5_000_000 if done else None, duration if done else None, began if done else None),
                f"{name} {kind} {marked}",
                *(score, severity, kinds),
            )

    with workspace.db.write("assets") as session:
        session.many(
            "INSERT INTO assets (registered_at, id, file_path, file_name, file_type, file_size, mtime_ns,"
            " indexing_status, last_indexed_at, duration, start_ns, search_text, score, severity, finding_kinds)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows(),
        )
    with workspace.db.write("assets") as session:
        session.many(
            "INSERT INTO asset_metadata (asset_id, end_ns, message_count, topic_count, topics, created_at, updated_at)"
            " VALUES (?, 1, 3, 1, ?, 1, 1)",
            ((asset_id, to_json([topic])) for asset_id in ids),
        )
        session.many(
            "INSERT INTO asset_tags (tag_id, asset, created_at) VALUES (?, ?, 1)",
            ((tag_ids[name], number) for number in numbers for name, share in TAGS.items() if draw.random() < share),
        )
    with workspace.db.write("jobs") as session:
        made = [
            (str(uuid.UUID(int=draw.getrandbits(128))), *draw.choices(("succeeded", "failed"), (99, 1)), number)
            for number in numbers
        ]
        session.many(
            "INSERT INTO jobs (id, type, status, config, payload, attempt, max_attempts, created_at, updated_at,"
            " finished_at) VALUES (?1, 'index', ?2, '{\"trigger\":\"index_asset\"}', '{}', 1, 3, ?3, ?3, ?3)",
            made,
        )
        session.many(
            "INSERT INTO job_assets (job_id, position, asset_id) VALUES (?, 0, ?)",
            ((job[0], asset_id) for job, asset_id in zip(made, ids, strict=True)),
        )
    for asset_id in ids[:: max(1, n // 1000)]:
        workspace.conversions.create([asset_id], {}, {}, output_path=str(workspace.outputs_dir / asset_id))
    fill_outputs(workspace, n)


def fill_outputs(workspace: OpenWorkspace, n: int) -> None:
    """``n`` outputs, of the conversions in turn: datasets, manifests and reports, a few of them gone."""
    draw = random.Random(3)
    kinds = (("parquet", "dataset"), ("tfrecord", "dataset"), ("json", "manifest"), ("md", "report"))

    def rows(made: list[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        for i in range(n):
            conversion_id, job_id, created_at = made[i * len(made) // n]
            file_format, role = kinds[i % 4]
            name = f"{draw.choice(WORDS)}_{i:07}.{file_format}"
            yield (
                *(str(uuid.UUID(int=draw.getrandbits(128))), conversion_id, job_id, f"outputs/{i}", name, name),
                *(file_format, role, draw.randrange(10**9), draw.choices(("ready", "missing"), (99, 1))[0]),
                *(f"{name} {name} {file_format} {role} {conversion_id}", created_at + i, created_at + i),
            )

    with workspace.db.write("outputs") as session:
        made = session.all("SELECT id, job_id, created_at FROM conversions ORDER BY created_at, id")
        session.many(
            "INSERT INTO outputs (id, conversion_id, job_id, path, relative_path, file_name, format, role, size_bytes,"
            " availability_status, search_text, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows(made),
        )


def measure(workspace: OpenWorkspace, only: str = "") -> float:
    """Print a line per kind of call: median, p95 and longest, and p95 of the time on a core; the largest p95 in ms."""
    draw = random.Random(2)
    now = datetime.now(UTC)
    tags = list(TAGS)
    ids = [item.id for item in workspace.assets.list(limit=500).items]
    conversions = [item.id for item in workspace.conversions.list(limit=500).items]

    def around(low: float, high: float) -> tuple[float, float]:
        middle = draw.uniform(low, high)
        width = draw.choice((0.0001, 0.01, 0.3, 3)) * (high - low)
        return max(low, middle - width), middle + width

    def sizes() -> dict[str, Any]:
        low, high = around(0, 10**10)
        return {"min_size_bytes": int(low), "max_size_bytes": int(high)}

    def durations() -> dict[str, Any]:
        low, high = around(0, 1000)
        return {"min_duration": low, "max_duration": high}

    def starts() -> dict[str, Any]:
        low, high = around(1_600_000_000, 1_700_000_000)
        return {"start_after": datetime.fromtimestamp(low, UTC), "start_before": datetime.fromtimestamp(high, UTC)}

    def scores() -> dict[str, Any]:
        low, high = around(40, 100)
        return {"min_score": int(low), "max_score": min(100, int(high) + 1)}

    def registered() -> dict[str, Any]:
        low, high = around(0, 365)
        return {"registered_after": now - timedelta(high), "registered_before": now - timedelta(low)}

    def created(low: float, high: float) -> dict[str, Any]:
        return {"created_after": now - timedelta(high), "created_before": now - timedelta(low)}

    def text() -> dict[str, Any]:
        number = f"{draw.randrange(10**6):07}"
        word, other = draw.choice(WORDS), draw.choice(WORDS)
        return {
            "search": draw.choice(
                [
                    word,
                    word[:3],
                    f"{word}_{other}",
                    number,
                    number[:4],
                    ".mcap",
                    "bag",
                    "logs/",
                    f"{word}_{other}_{number[:2]}",
                ]
            )
        }

    orders = [sign + name for sign in ("", "-") for name in assets.LISTING.sorts]
    one: dict[str, Callable[[], dict[str, Any]]] = {
        "search": text,
        "tag": lambda: {"tag": draw.choice([*tags, "nobody"])},
        "type": lambda: {"type": draw.choice(["bag", "MCAP", "none"])},
        "status": lambda: {"status": draw.choice(["indexed", "pending", "failed", "indexing"])},
        "duration": durations,
        "start time": starts,
        "size": sizes,
        "registration": registered,
        "score": scores,
        "finding": lambda: {"finding": draw.choice(KINDS)},
        "severity": lambda: {"severity": draw.choice(SEVERITIES)},
    }
    workspace.assets.list(AssetFilters(type="bag"))
    workspace.assets.memory.wait()
    cases: dict[str, Callable[[], object]] = {}
    for sort in assets.LISTING.sorts:
        cases[f"assets by {sort}"] = lambda sort=sort: workspace.assets.list(
            sort=draw.choice(["", "-"]) + sort, limit=draw.choice([100, 500])
        )
    for name, make in one.items():
        cases[f"assets with {name}"] = lambda make=make: workspace.assets.list(AssetFilters(**make()))
        cases[f"assets with {name}, another order"] = lambda make=make: workspace.assets.list(
            AssetFilters(**make()),
            sort=draw.choice(["-", ""]) + draw.choice(["last_indexed_time", "file_name", "file_size"]),
        )
    for (name, make), (other, also) in itertools.combinations(one.items(), 2):
        cases[f"assets with {name} and {other}"] = lambda make=make, also=also: workspace.assets.list(
            AssetFilters(**make() | also()), sort=draw.choice(orders)
        )
    for n in range(3, len(one) + 1):
        cases[f"assets with {n} filters"] = lambda n=n: workspace.assets.list(
            AssetFilters(
                **{name: value for make in draw.sample(list(one.values()), n) for name, value in make().items()}
            ),
            sort=draw.choice(orders),
        )
    cases["assets, a later page"] = pages(workspace)
    cases["one asset"] = lambda: workspace.assets.detail(draw.choice(ids))
    cases["tags"] = lambda: workspace.tags.list()
    for sort in ("created_at", "updated_at"):
        cases[f"jobs by {sort}"] = lambda sort=sort: workspace.jobs.list(sort=draw.choice(["", "-"]) + sort)
    for filters in (
        {"status": "succeeded"},
        {"status": "failed"},
        {"status": "queued"},
        {"type": "index"},
        {"type": "convert"},
        {"type": "convert", "status": "failed"},
        {"created_after": now - timedelta(30), "created_before": now - timedelta(20)},
        {"type": "index", "created_after": now - timedelta(300)},
    ):
        said = ", ".join(
            f"{key} {value:%d.%m.}" if isinstance(value, datetime) else value for key, value in filters.items()
        )
        for sort in ("-created_at", "updated_at"):
            cases[f"jobs, {said}, {sort}"] = lambda filters=filters, sort=sort: workspace.jobs.list(
                JobFilters(**filters), sort=sort
            )
    cases["jobs of an asset"] = lambda: workspace.jobs.list(JobFilters(asset_id=draw.choice(ids)))
    job_filters: dict[str, Callable[[], dict[str, Any]]] = {
        "type": lambda: {"type": draw.choice(["index", "convert"])},
        "status": lambda: {"status": draw.choice(["succeeded", "failed", "queued"])},
        "asset": lambda: {"asset_id": draw.choice(ids)},
        "time": lambda: created(*around(0, 365)),
    }
    output_filters: dict[str, Callable[[], dict[str, Any]]] = {
        "search": text,
        "format": lambda: {"format": draw.choice(["parquet", "json", "csv"])},
        "role": lambda: {"role": draw.choice(["dataset", "manifest", "sidecar"])},
        "availability": lambda: {"availability": draw.choice(["ready", "missing", "invalid"])},
        "asset": lambda: {"asset_id": draw.choice(ids)},
        "conversion": lambda: {"conversion_id": draw.choice(conversions)},
    }
    for n in range(1, len(job_filters) + 1):
        for names in itertools.combinations(job_filters, n):
            cases[f"jobs with {' and '.join(names)}, any order"] = lambda names=names: workspace.jobs.list(
                JobFilters(**{key: value for name in names for key, value in job_filters[name]().items()}),
                sort=draw.choice(["", "-"]) + draw.choice(list(joblists.LISTING.sorts)),
            )
    for n in range(3):
        for names in itertools.combinations(output_filters, n):
            cases[f"outputs with {' and '.join(names) or 'nothing'}, any order"] = lambda names=names: (
                workspace.outputs.list(
                    OutputFilters(**{key: value for name in names for key, value in output_filters[name]().items()}),
                    sort=draw.choice(["", "-"]) + draw.choice(list(outputs.LISTING.sorts)),
                )
            )
    cases["conversions"] = lambda: workspace.conversions.list()
    cases["dashboard summary"] = lambda: workspace.dashboard.summary(datetime.now(UTC))
    cases["dashboard trends"] = lambda: workspace.dashboard.trends(draw.choice([7, 90]), datetime.now(UTC))
    cases["dashboard blockers"] = lambda: workspace.dashboard.blockers()
    slowest = 0.0
    for name, call in cases.items():
        if not name.startswith(only):
            continue
        times, busy = [], []
        for _ in range(ROUNDS):
            began, began_cpu = time.perf_counter(), time.thread_time()
            call()
            times.append((time.perf_counter() - began) * 1000)
            busy.append((time.thread_time() - began_cpu) * 1000)
        p95 = statistics.quantiles(times, n=20)[-1]
        slowest = max(slowest, p95)
        p95_cpu = statistics.quantiles(busy, n=20)[-1]
        print(
            f"{name:60} {statistics.median(times):8.1f} {p95:8.1f} {max(times):8.1f} ms, cpu {p95_cpu:8.1f} ms"
            f"{' !' if p95 > GOAL_MS else ''}"
        )
    return slowest


def pages(workspace: OpenWorkspace) -> Callable[[], object]:
    cursor: list[str | None] = [None]

    def turn() -> None:
        cursor[0] = workspace.assets.list(limit=500, cursor=cursor[0]).next_cursor

    return turn


if __name__ == "__main__":
    main()
