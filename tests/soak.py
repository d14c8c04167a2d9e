"""Random requests for minutes on end, drawn from the sidecar's own OpenRPC document, with jobs in the background.

    python tests/soak.py [MINUTES] [SEED]     (make soak MINUTES=10)

Strategy: hypothesis draws params from each method's schemas; half of them are spoiled, and ids are often those of
things that are there.  Every request must be answered once, and with no -32603.  After a warm-up the memory of the
sidecar, its threads and its open files are sampled: none of them may rise.  A long run by hand begins with a workspace
whose lists fill the longest page and whose documents fill what is remembered of them, so that what grows up to a bound
is not taken for a leak.
"""

import contextlib
import random
import sys
import tempfile
import time
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from attrs import define, field
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from hephaes_rpc.testing.logs import samples, write_bag, write_mcap
from hephaes_rpc.testing.sidecar import Sidecar

UNASKED = frozenset(("initialize", "shutdown", "rpc.discover"))
KEPT = frozenset(("workspaces/delete", "workspaces/restore", "workspaces/create", "workspaces/activate"))
"""Asked with spoiled params only: they would take the ground from under everything else."""
BATCH = 40
EXAMPLES = 20
"""Of one run of hypothesis, which begins with the simplest ones: a tenth of them."""
SLOPE_BYTES_PER_10_MIN = 1 << 20
LONG_MIN = 5
FULL_PAGE = 500
FILES_PER_CONVERSION = 3
FEATURES = 22
LISTED = {
    "asset_id": "assets",
    "job_id": "jobs",
    "output_id": "outputs",
    "conversion_id": "conversions",
    "config_id": "conversionConfigs",
    "draft_id": "drafts",
    "tag_id": "tags",
}
Schema = dict[str, Any]


def strategy(schema: Schema, known: Schema, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values that a schema describes, or nearly so: bounds and formats are not always kept."""
    if "$ref" in schema:
        return strategy(known[schema["$ref"].rpartition("/")[2]], known, depth + 1)
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            choices = schema[several]
            return st.one_of([strategy(each, known, depth + 1) for each in choices[: 1 if depth > 5 else None]])
    kinds = schema.get("type", ["null", "boolean", "integer", "string"])
    return st.one_of([_of_type(kind, schema, known, depth) for kind in ([kinds] if isinstance(kinds, str) else kinds)])


def _of_type(kind: str, schema: Schema, known: Schema, depth: int) -> st.SearchStrategy[Any]:
    if kind == "object":
        names: dict[str, Any] = schema.get("properties", {})
        required = set(schema.get("required", ()))
        optional = (
            {} if depth > 5 else {k: strategy(v, known, depth + 1) for k, v in names.items() if k not in required}
        )
        wanted = {k: strategy(v, known, depth + 1) for k, v in names.items() if k in required}
        return st.fixed_dictionaries(wanted, optional=optional)
    if kind == "array":
        items = schema.get("items", {})
        return st.lists(strategy(items, known, depth + 1), max_size=0 if depth > 5 else 3)
    if kind == "integer":
        return st.integers(schema.get("minimum"), schema.get("maximum"))
    return {
        "string": st.text(max_size=20),
        "number": st.floats(allow_nan=False, allow_infinity=False),
        "boolean": st.booleans(),
        "null": st.none(),
    }[kind]


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def calls(document: Schema) -> st.SearchStrategy[tuple[str, Any, bool]]:
    """A method, params, and whether they have been spoiled."""
    known = document["components"]["schemas"]
    one = []
    for method in document["methods"]:
        name = method["name"]
        if name in UNASKED or "x-direction" in method:
            continue
        required = {each["name"]: strategy(each["schema"], known) for each in method["params"] if each.get("required")}
        optional = {
            each["name"]: strategy(each["schema"], known) for each in method["params"] if not each.get("required")
        }
        fitting = st.fixed_dictionaries(required, optional=optional)
        spoiled = st.one_of(
            ANY, st.tuples(fitting, st.text(max_size=8), ANY).map(lambda parts: {**parts[0], parts[1]: parts[2]})
        )
        if name not in KEPT:
            one.append(st.tuples(st.just(name), fitting, st.just(False)))
        one.append(st.tuples(st.just(name), spoiled, st.just(True)))
    return st.one_of(one)


@define
class Soak:
    """What has been seen so far.

    Attributes:
        answers: How many answers of each code; 0 for results.
        bugs: Requests that were answered with -32603.
        samples: Time (s), memory (bytes), threads and open files, once a few seconds.
    """

    sidecar: Sidecar
    place: Path
    chance: random.Random
    answers: Counter[int] = field(factory=Counter)
    bugs: list[tuple[str, Any, str]] = field(factory=list)
    samples: list[tuple[float, int, int, int]] = field(factory=list)
    ids: dict[str, list[str]] = field(factory=dict)

    def prepare(self) -> None:
        """A workspace with logs that are converted over and over."""
        self.sidecar.initialize()
        self.sidecar.request("workspaces/create", {"root_path": str(self.place / "w")})
        for path in (
            write_mcap(self.place / "a.mcap", samples(300), compression="zstd"),
            write_bag(self.place / "b.bag", samples(300, ros=1)),
        ):
            asset = self.sidecar.request("assets/register", {"file_path": str(path)})["id"]
            self.sidecar.request("assets/index", {"asset_id": asset})
        self.know()

    def fill(self) -> None:
        """Have more of everything than a page can hold, and have a batch of the longest pages asked for at once."""
        logs = self.place / "many"
        logs.mkdir()
        for k in range(FULL_PAGE):
            write_mcap(logs / f"{k}.mcap", samples(5, seed=k))
        self.sidecar.request("assets/scanDirectory", {"directory_path": str(logs)}, timeout=300)
        self.sidecar.request("assets/reindexAll", timeout=600)
        feature = {"source": {"kind": "path", "topic": "/cmd_vel", "field_path": "linear.x"}}
        for k in range(FULL_PAGE):
            spec = {
                "schema": {"name": f"speeds {k}", "version": 1},
                "row_strategy": {"kind": "per-message", "topic": "/cmd_vel"},
                "features": {f"x{n}": feature for n in range(FEATURES)},
            }
            self.sidecar.request("tags/create", {"name": f"tag {k}"})
            self.sidecar.request("conversionConfigs/create", {"name": f"config {k}", "spec": spec})
        ids = [item["id"] for item in self.sidecar.request("assets/list", {"limit": FULL_PAGE})["items"]]
        made = [
            self.sidecar.request("conversions/create", {"asset_ids": [each], "output": {"format": "parquet"}})["job_id"]
            for each in ids[: FULL_PAGE // FILES_PER_CONVERSION]
        ]
        for job in made:
            self.sidecar.wait_for_job(job, timeout=900)
        for noun in LISTED.values():
            asked = [self.sidecar.start(f"{noun}/list", {"limit": FULL_PAGE}) for _ in range(BATCH)]
            for request_id in asked:
                assert "result" in self.sidecar.response(request_id, 300)

    def know(self) -> None:
        """Learn the ids of what is there."""
        for name, noun in LISTED.items():
            page = self.sidecar.request(f"{noun}/list", {"limit": 20})
            self.ids[name] = [item["id"] for item in page["items"]]

    def convert(self) -> None:
        """Have one more job in the background, unless many wait."""
        jobs = self.sidecar.request("health")["jobs"]
        ids = self.sidecar.request("assets/list", {"status": "indexed", "limit": 5})["items"]
        if ids and jobs is not None and jobs["queued"] + jobs["running"] < 3:
            asset = self.chance.choice(ids)["id"]
            output = {"format": self.chance.choice(("parquet", "tfrecord"))}
            self.sidecar.request("conversions/create", {"asset_ids": [asset], "output": output})

    def truthful(self, params: Any) -> Any:
        """Params whose ids are often those of things that are there."""
        if not isinstance(params, dict):
            return params
        found = {}
        for name, value in params.items():
            ids = self.ids.get(name) or (self.ids["asset_id"] if name == "asset_ids" else [])
            if ids and self.chance.random() < 0.8:
                value = [self.chance.choice(ids)] if name == "asset_ids" else self.chance.choice(ids)
            if name == "workspace_id" and self.chance.random() < 0.9:
                value = None
            if name in ("root_path", "directory_path", "file_path") and isinstance(value, str):
                value = str(self.place / "logs" / value.replace("/", "_").replace("\0", "")[:40])
            found[name] = value
        return found

    def ask(self, batch: list[tuple[str, Any, bool]]) -> None:
        """Send requests in one go, some of them cancelled, and wait for each one's answer."""
        sent = []
        for name, params, spoiled in batch:
            asked = self.truthful(params)
            if name in KEPT and not spoiled:
                continue
            request_id = self.sidecar.start(name, asked)
            sent.append((request_id, name, asked))
            if self.chance.random() < 0.05:
                self.sidecar.cancel(request_id)
        for request_id, name, asked in sent:
            if name == "assets/registerDialog":
                self._answer_dialogs()
            answer = self.sidecar.response(request_id, 60)
            error = answer.get("error")
            self.answers[error["code"] if error else 0] += 1
            if error and error["code"] == -32603:
                self.bugs.append((name, asked, error["data"]["incident"]))
        self._answer_dialogs()
        ids = [request_id for request_id, *_ in sent]
        found = Counter(m["id"] for m in self.sidecar.messages if "method" not in m)
        assert all(found[request_id] == 1 for request_id in ids), "a request was not answered once"
        with self.sidecar._arrived:
            self.sidecar.messages.clear()
            self.sidecar._answers.clear()

    def _answer_dialogs(self) -> None:
        for message in list(self.sidecar.messages):
            if "method" in message and "id" in message:
                self.sidecar.answer(message["id"], {"file_paths": []})

    def sample(self, now: float) -> None:
        """Take memory, threads and open files of the sidecar."""
        status = Path(f"/proc/{self.sidecar.process.pid}/status").read_text()
        rss = int(status.partition("VmRSS:")[2].split()[0]) * 1024
        threads = int(status.partition("Threads:")[2].split()[0])
        n_open = len(list(Path(f"/proc/{self.sidecar.process.pid}/fd").iterdir()))
        self.samples.append((now, rss, threads, n_open))


def slope(points: list[tuple[float, int]]) -> float:
    """Bytes per second of the line through the points (least squares)."""
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def soak(place: Path, seconds: float, seed: int, *, full: bool = False, pause_s: float = 0.0) -> Soak:
    """Ask for so long from the first question on; raises AssertionError at once when an answer is missing.

    Args:
        full: Begin with lists that fill the longest page.
        pause_s: Leave the machine to others for so long after each batch of requests.
    """
    with Sidecar(place / "data", env={"HEPHAES_MAX_WORKERS": "1"}) as sidecar:
        found = Soak(sidecar, place, random.Random(seed))
        found.prepare()
        if full:
            found.fill()
        document = sidecar.request("rpc.discover")
        started: float | None = None
        rounds = 0

        def ask(batch: list[tuple[str, Any, bool]]) -> None:
            nonlocal rounds, started
            started = started or time.monotonic()
            now = time.monotonic() - started
            if now > seconds:
                raise _OverError
            rounds += 1
            if rounds % 5 == 0:
                found.convert()
                found.know()
            found.ask(batch)
            time.sleep(pause_s)
            if not found.samples or now - found.samples[-1][0] > min(5.0, seconds / 20):
                found.sample(now)

        batches = st.lists(calls(document), min_size=BATCH // 2, max_size=BATCH)
        few = settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        with contextlib.suppress(_OverError):
            for number in count(seed):
                seeded(number)(few(given(batches)(ask)))()
        assert sidecar.request("health")["status"] == "ok"
        assert sidecar.stray == b""
        assert sidecar.shutdown() == 0
    return found


class _OverError(Exception):
    """The time is over."""


def report(found: Soak, warm_up_s: float) -> list[str]:
    """What is wrong, a line each; empty when nothing is."""
    wrong = [f"{name} answered -32603 (incident {incident}) to {asked!r}" for name, asked, incident in found.bugs]
    late = [each for each in found.samples if each[0] >= warm_up_s]
    if len(late) >= 10:
        rising = slope([(at, rss) for at, rss, *_ in late]) * 600
        if rising > SLOPE_BYTES_PER_10_MIN:
            wrong.append(f"memory rises by {rising / 1e6:.2f} MB in 10 minutes")
        for what, column in (("threads", 2), ("open files", 3)):
            third = len(late) // 3
            early, end = (max(each[column] for each in part) for part in (late[:third], late[-third:]))
            if end > early + 2:
                wrong.append(f"{what} rose from {early} to {end}")
    return wrong


def main() -> int:
    """Run, tell, and say by the exit code whether all was well."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as place:
        found = soak(Path(place), minutes * 60, seed, full=minutes >= LONG_MIN)
        log = Path(place) / "data" / "logs" / "sidecar.log"
        told = log.read_text() if log.exists() else ""
    wrong = report(found, minutes * 60 * 0.3)
    print(f"{sum(found.answers.values())} requests: {dict(found.answers)}")
    late = [each for each in found.samples if each[0] >= minutes * 60 * 0.3]
    if len(late) > 1:
        print(f"memory {late[0][1] / 1e6:.1f} -> {late[-1][1] / 1e6:.1f} MB, slope", end=" ")
        print(f"{slope([(at, rss) for at, rss, *_ in late]) * 600 / 1e6:.2f} MB in 10 minutes")
        print(
            "MB by the minute:", *(f"{rss / 1e6:.0f}" for _, rss, *_ in found.samples[:: len(found.samples) // 30 or 1])
        )
        print(f"threads {late[0][2]} -> {late[-1][2]}, open files {late[0][3]} -> {late[-1][3]}")
    print(*wrong[:20], sep="\n")
    for _, _, incident in found.bugs[:5]:
        print(told[told.find(incident) - 60 :][:2500])
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
