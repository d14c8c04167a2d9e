"""Scripts of users: the columns they make, and what becomes of those that misbehave."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from hephaes_rpc.engine.computations.scripts import Scripts, functions_of, load_script, read_script
from hephaes_rpc.engine.pipeline import ConvertResult, ConvertTask, convert
from hephaes_rpc.engine.specs import document
from hephaes_rpc.errors import CancelledByClient, HephaesError, SpecError
from tests.corpus import Context
from tests.factories import samples, write_mcap
from tests.reference import tfrecord as twin

ROWS = {"row_strategy": {"kind": "per-message", "topic": "/imu"}}
FEATURES = {
    "acc": {"source": {"topic": "/imu", "field_path": "linear_acceleration.z"}, "dtype": "float64"},
    "gyro": {"source": {"topic": "/imu", "field_path": "angular_velocity.x"}, "dtype": "float64"},
}
NORM = """
import numpy as np

def norm(batch):
    acc, gyro = (np.asarray(batch.column(name)) for name in ("acc", "gyro"))
    return {
        "both": np.stack([acc, gyro], axis=1).astype(np.float32),
        "big": acc > 0,
        "text": [b"%d" % t for t in batch.column("timestamp_ns").to_pylist()],
        "ragged": [[float(k)] * (k % 3) for k in range(len(batch))],
        "n": np.arange(len(batch)),
    }
"""
OUTPUTS = {
    "both": {"dtype": "float32", "shape": [2]},
    "big": {"dtype": "bool"},
    "text": {"dtype": "bytes"},
    "ragged": {"dtype": "float64", "shape": [-1]},
    "n": {"dtype": "int64", "description": "number in its batch"},
}
TWICE = "def compute(batch):\n    return {'twice': [2 * x for x in batch.column(0).to_pylist()]}\n"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mcap(tmp_path_factory.mktemp("log") / "run.mcap", samples(400))


def task(log: Path, folder: Path, script: str, computation: dict[str, Any], **more: Any) -> ConvertTask:
    scripts = folder / "scripts"
    (scripts / "sub").mkdir(parents=True, exist_ok=True)
    (scripts / "sub/made.py").write_text(script)
    spec = {**ROWS, "features": FEATURES, "computations": [{"file": "sub/made.py", **computation}], **more}
    loaded = document.load({"spec_version": 2, "spec": {"output": {"format": "parquet"}} | spec})
    return ConvertTask(
        log_path=str(log),
        spec=loaded.spec,
        output_dir=str(folder / "out"),
        episode_id="ep",
        stem="run",
        scripts=Scripts(str(scripts)),
    )


def dataset(result: ConvertResult) -> Path:
    (path,) = [Path(output.path) for output in result.outputs if output.role == "dataset"]
    return path


def one(function: str, name: str = "x", dtype: str = "float64", **more: Any) -> tuple[str, dict[str, Any]]:
    return function, {"inputs": ["acc"], "outputs": {name: {"dtype": dtype}}, **more}


def test_columns_of_a_script_are_columns_of_parquet(log: Path, tmp_path: Path) -> None:
    inputs = ["acc", "gyro", "timestamp_ns"]
    asked = task(log, tmp_path, NORM, {"function": "norm", "inputs": inputs, "outputs": OUTPUTS})
    path = dataset(convert(asked, Context()))
    table = pq.read_table(path)
    assert table.schema.names == ["timestamp_ns", "acc", "gyro", *OUTPUTS]
    types = [str(table.schema.field(name).type) for name in OUTPUTS]
    assert types == ["fixed_size_list<element: float>[2]", "bool", "binary", "list<element: double>", "int64"]
    assert not any(table.column(name).null_count for name in OUTPUTS)
    found = table.to_pydict()
    assert np.array_equal(np.array(found["both"], np.float32)[:, 1], np.array(found["gyro"], np.float32))
    assert found["big"] == [acc > 0 for acc in found["acc"]]
    assert found["text"] == [b"%d" % t for t in found["timestamp_ns"]]
    told = json.loads(path.with_name(f"{path.name}.manifest.json").read_bytes())["conversion"]["computations"]
    assert [(each["file"], each["function"], each["inputs"]) for each in told] == [("sub/made.py", "norm", inputs)]
    assert told[0]["sha256"] == load_script(str(tmp_path / "scripts"), "sub/made.py").sha256
    assert told[0]["outputs"]["n"] == {"dtype": "int64", "shape": [], "description": "number in its batch"}


def test_columns_of_a_script_are_features_of_tfrecord(log: Path, tmp_path: Path) -> None:
    inputs = ["acc", "gyro", "timestamp_ns"]
    asked = task(
        log,
        tmp_path,
        NORM,
        {"function": "norm", "inputs": inputs, "outputs": OUTPUTS},
        output={"format": "tfrecord"},
    )
    records = twin.read(dataset(convert(asked, Context())))
    assert len(records) == len([each for each in samples(400) if each.topic == "/imu"])
    for record in records:
        assert record["text"] == ("bytes", [str(record["timestamp_ns"][1][0]).encode()])
        assert len(record["both"][1]) == 2
        assert "both__present" not in record


def test_a_computation_may_read_another_and_dropped_rows_are_not_seen(log: Path, tmp_path: Path) -> None:
    picky = "def compute(batch):\n    assert not batch.column(0).null_count\n    return {'seen': batch.column(0)}\n"
    asked = task(
        log,
        tmp_path,
        TWICE,
        {"inputs": ["acc"], "outputs": {"twice": {"dtype": "float64"}}},
    )
    (tmp_path / "scripts/picky.py").write_text(picky)
    raw = document.to_dict(document.SpecDocument(spec=asked.spec))
    raw["spec"]["features"]["word"] = {
        "source": {"topic": "/imu", "field_path": "header.frame_id"},
        "dtype": "native",
        "missing": "drop",
    }
    raw["spec"]["computations"].append(
        {"file": "picky.py", "inputs": ["twice"], "outputs": {"seen": {"dtype": "float64"}}}
    )
    loaded = document.load(raw).spec
    path = dataset(convert(ConvertTask(**{**_fields(asked), "spec": loaded}), Context()))
    found = pq.read_table(path).to_pydict()
    assert found["seen"] == found["twice"] == [2 * acc for acc in found["acc"]]


def _fields(asked: ConvertTask) -> dict[str, Any]:
    return {name: getattr(asked, name) for name in ("log_path", "output_dir", "episode_id", "stem", "scripts")}


HOSTILE = {
    "loops": (
        one("def compute(batch):\n    while True:\n        pass\n", time_limit_s=0.3),
        "sub/made.py, line [23]: it took longer than its 0.3 s",
    ),
    "loops and holds on": (
        one(
            "import signal\ndef compute(batch):\n    signal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
            "    while True:\n        pass\n",
            time_limit_s=0.3,
        ),
        "sub/made.py: it took longer than its 0.3 s and did not stop",
    ),
    "loops when loaded": (
        one("while True:\n    pass\ndef compute(batch):\n    return {}\n", time_limit_s=0.3),
        "line [12]: it took longer",
    ),
    "allocates": (
        one("def compute(batch):\n    x = []\n    while True:\n        x.append(bytes(1 << 20))\n", memory_limit_mb=64),
        "line 4: it needed more memory than its 64 MB",
    ),
    "allocates at once": (
        one("import numpy as np\ndef compute(batch):\n    return np.zeros(1 << 38)\n", memory_limit_mb=64),
        "line 3: it needed more memory",
    ),
    "exits": (one("import sys\ndef compute(batch):\n    sys.exit(3)\n"), "line 3: it called exit \\(3\\)"),
    "leaves": (one("import os\ndef compute(batch):\n    os._exit(0)\n"), "it ended its process with code 0"),
    "kills itself": (
        one("import os\ndef compute(batch):\n    os.kill(os.getpid(), 9)\n"),
        "its process was killed by SIGKILL",
    ),
    "forks": (one("import os\ndef compute(batch):\n    os.fork()\n"), "line 3: PermissionError: .*start processes"),
    "starts processes": (
        one("import subprocess\ndef compute(batch):\n    subprocess.run(['true'])\n"),
        "line 3: PermissionError: .*start processes",
    ),
    "raises": (one("def compute(batch):\n    return 1 / 0\n"), "line 2: ZeroDivisionError"),
    "raises when loaded": (one("raise RuntimeError('no')\ndef compute(batch):\n    ...\n"), "line 1: RuntimeError: no"),
    "is no Python": (one("def compute(batch):\n    return (\n"), "line 2: it is no Python"),
    "has no such function": (one("def computes(batch):\n    ...\n"), "did you mean 'computes'"),
    "takes nothing": (one("def compute():\n    ...\n"), "line 1: the function 'compute' takes no record batch"),
    "gives nothing": (one("def compute(batch):\n    pass\n"), "line 1: compute: it gave NoneType"),
    "gives another column": (
        one("def compute(batch):\n    return {'y': [1.0]}\n"),
        "it gave no 'x' and 'y' is no output",
    ),
    "gives too few": (one("def compute(batch):\n    return {'x': [1.0]}\n"), "'x' has 1 values for [0-9]+ rows"),
    "gives nulls": (one("def compute(batch):\n    return {'x': [None] * len(batch)}\n"), "'x' has a null"),
    "gives text": (one("def compute(batch):\n    return {'x': ['a'] * len(batch)}\n"), "'x' is not double"),
    "writes into the pipe": (
        one(
            "import os\ndef compute(batch):\n"
            "    for fd in range(3, 20):\n        try: os.write(fd, b'x' * 9)\n        except OSError: pass\n"
            "    return {'x': [1.0] * len(batch)}\n"
        ),
        "it wrote into the pipe|what came back|it ended",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_script_fails_with_file_and_line_and_leaves_nothing(log: Path, tmp_path: Path, what: str) -> None:
    (script, computation), expected = HOSTILE[what]
    with pytest.raises(HephaesError, match=expected) as refused:
        convert(task(log, tmp_path, script, computation), Context())
    assert refused.value.kind == "script_failed"
    assert refused.value.data["script"] == "sub/made.py"
    assert "sub/made.py" in refused.value.message
    assert len(refused.value.message) < 500
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_what_a_script_prints_goes_to_stderr(log: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script, computation = one(
        "import os\ndef compute(batch):\n    print('hello')\n    os.write(1, b'raw\\n')\n"
        "    return {'x': batch.column(0)}\n"
    )
    convert(task(log, tmp_path, script, computation), Context())
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "hello" in captured.err
    assert "raw" in captured.err


def test_a_cancelled_conversion_ends_its_script_at_once(log: Path, tmp_path: Path) -> None:
    script, computation = one(
        f"import os\ndef compute(batch):\n    open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "    while True: pass\n"
    )
    stop = threading.Event()

    class Stopping(Context):
        def check(self) -> None:
            if stop.is_set():
                raise CancelledByClient()

    def cancel() -> None:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.01)
        stop.set()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(CancelledByClient):
        convert(task(log, tmp_path, script, computation), Stopping())
    thread.join()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_no_script_runs_unless_it_is_enabled_as_it_is(log: Path, tmp_path: Path) -> None:
    script, computation = one("raise SystemExit\n")
    asked = task(log, tmp_path, script, computation)
    for scripts, why in ((None, "no folder of scripts"), (Scripts(str(tmp_path / "scripts"), {}), "not registered")):
        with pytest.raises(HephaesError, match=why) as refused:
            convert(ConvertTask(**{**_fields(asked), "spec": asked.spec, "scripts": scripts}), Context())
        assert refused.value.kind == "script_failed"


def test_only_files_of_the_folder_are_scripts(tmp_path: Path) -> None:
    folder = tmp_path / "scripts"
    folder.mkdir()
    (tmp_path / "outside.py").write_text("x = 1\n")
    (folder / "link.py").symlink_to(tmp_path / "outside.py")
    (folder / "folder.py").mkdir()
    os.mkfifo(folder / "pipe.py")
    (folder / "good.py").write_text("def f(batch, scale=2): ...\nasync def g(batch): ...\ndef h(a, b): ...\n")
    (folder / "bytes.py").write_bytes(b"x = '\xff'\n")
    for path in (
        "../outside.py",
        "link.py",
        "folder.py",
        "pipe.py",
        "nobody.py",
        "/etc/passwd",
        "good.txt",
        "./good.py",
    ):
        with pytest.raises(HephaesError) as refused:
            load_script(str(folder), path)
        assert refused.value.kind == "script_not_found"
    with pytest.raises(HephaesError, match="not UTF-8"):
        load_script(str(folder), "bytes.py")
    script = load_script(str(folder), "good.py")
    assert [(each.name, each.line, each.problem) for each in functions_of(script)] == [
        ("f", 1, None),
        ("g", 2, "is async"),
        ("h", 3, "takes more than one record batch"),
    ]
    assert read_script(Scripts(str(folder), {"good.py": script.sha256}), "good.py") == script
    (folder / "good.py").write_text("x = 2\n")
    with pytest.raises(HephaesError, match="has changed since") as changed:
        read_script(Scripts(str(folder), {"good.py": script.sha256}), "good.py")
    assert changed.value.kind == "script_not_enabled"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"file": "../x.py"}, "/computations/0/file"),
        ({"function": "a b"}, "/computations/0/function"),
        ({"inputs": []}, "/computations/0/inputs"),
        ({"inputs": ["ac"]}, "/computations/0/inputs/0"),
        ({"inputs": ["acc", "acc"]}, "/computations/0/inputs/1"),
        ({"outputs": {}}, "/computations/0/outputs"),
        ({"outputs": {"acc": {"dtype": "bool"}}}, "/computations/0/outputs/acc"),
        ({"outputs": {"x": {"dtype": "bool", "shape": [-2]}}}, "/computations/0/outputs/x/shape/0"),
        ({"time_limit_s": 0}, "/computations/0/time_limit_s"),
    ],
)
def test_what_contradicts_itself_is_refused_at_its_place(
    log: Path, tmp_path: Path, change: dict[str, Any], pointer: str
) -> None:
    computation = {"inputs": ["acc"], "outputs": {"twice": {"dtype": "float64"}}} | change
    with pytest.raises(SpecError) as refused:
        task(log, tmp_path, TWICE, computation)
    assert refused.value.data["errors"][0]["pointer"].removeprefix("/spec") == pointer
