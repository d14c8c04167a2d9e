"""What is imported before a command does its work: that, and not the work, is what a start takes.

A module more than these costs every start; where it is needed only sometimes, import it there.
"""

import json
import os
import subprocess
import sys

import pytest

from hephaes_rpc.client import Client, serve_command

COSTLY = frozenset(
    (
        *("PIL", "apsw", "asyncio", "blake3", "bokeh", "cattrs", "google.protobuf", "jinja2", "logging", "lsprotocol"),
        *("lz4", "mcap", "multiprocessing", "numpy", "numpy.ma", "numpy.random", "orjson", "platformdirs", "pyarrow"),
        *("pyarrow.compute", "pyarrow.dataset", "pyarrow.fs", "pyarrow.parquet", "pygls", "questionary", "rich"),
        *("rosbags", "tempfile", "yaml", "zstandard"),
    )
)
OURS = ("config", "engine.computations", "engine.features", "methods", "model.", "serde", "server", "store")
READERS = ("bag", "composite", "db3", "mcap", "unpacking")
PARSERS = ("bundled", "idl", "jsonmsg", "protomsg", "xcdr2")
AT_OPEN = """
import json, os, sys
log = sys.argv[-1]
def hear(event, arguments):
    if event == "open" and arguments[0] == log:
        sys.stdout.write(json.dumps(sorted(sys.modules)))
        sys.stdout.flush()
        os._exit(0)
"""
AT_END = "import json, sys; print(json.dumps(sorted(sys.modules)))"


def loaded(code, *arguments):
    """The modules that ``code`` prints as the last line, as a list in JSON."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def costly(modules):
    return COSTLY.intersection(modules)


def ours(modules, package, names):
    """Which of these modules of a package of ours are there."""
    return {name for name in names if any(each.startswith(f"hephaes_rpc.{package}{name}") for each in modules)}


@pytest.mark.parametrize(("log", "reader"), [("talker-zstd.mcap", "mcap"), ("poses.bag", "bag")])
def test_inspect_loads_numpy_and_one_reader(data, log, reader):
    run = "from hephaes_rpc.cli.commands import run; import sys; run(['inspect', '--no-check', sys.argv[-1]]);"
    found = loaded(run + AT_END, data / log)
    assert costly(found) <= ({"numpy", "mcap"} if reader == "mcap" else {"numpy"})
    assert ours(found, "engine.logs.", READERS) == {reader}
    assert not ours(found, "engine.messages.", PARSERS)
    assert ours(found, "", OURS) == {"model."}
    assert [name for name in found if name.startswith("hephaes_rpc.model.")] == ["hephaes_rpc.model.quality"]
    assert not [name for name in found if name.startswith("__editable__")], "an install that finds modules by a program"


def test_reading_every_message_loads_neither_arrow_nor_what_serves(data):
    run = "from hephaes_rpc.cli.commands import run; import sys; run(['inspect', '--json', sys.argv[-1]]);"
    assert not costly(loaded(run + AT_END, data / "poses.bag")) & {
        *("apsw", "asyncio", "cattrs", "pyarrow", "pygls", "rich", "rosbags"),
    }


def test_convert_opens_the_log_before_it_loads_what_writes(data, tmp_path):
    log = str(data / "poses.bag")
    code = f"{AT_OPEN}sys.addaudithook(hear)\nfrom hephaes_rpc.cli.commands import run\nrun(sys.argv[1:])"
    found = loaded(code, "convert", "-o", str(tmp_path / "out"), log)
    assert costly(found) <= {"blake3", "cattrs", "numpy", "orjson", "pyarrow"}
    assert not ours(found, "engine.messages.", set(PARSERS) - {"xcdr2"})
    assert ours(found, "", OURS) == {"serde"}


@pytest.mark.parametrize(
    "options",
    [
        ("--layout", "topics"),
        ("--resample-hz", "10", "--method", "downsample"),
        ("--resample-hz", "10", "--method", "interpolate"),
    ],
)
@pytest.mark.parametrize("output", ["parquet", "tfrecord"])
def test_a_conversion_without_features_loads_no_table_of_kernels_and_no_masks(data, tmp_path, output, options):
    out = str(tmp_path / "out")
    run = f"from hephaes_rpc.cli.commands import run; import sys; assert run(sys.argv[1:]) == 0; {AT_END}"
    found = loaded(run, "convert", "-o", out, "--format", output, *options, data / "imu-joint-state.mcap")
    assert "pyarrow" in found
    assert not costly(found) & {"numpy.ma", "pyarrow.compute", "pyarrow.dataset"}


def test_a_worker_waits_with_what_indexing_needs():
    found = loaded(f"from hephaes_rpc.jobs import worker; worker.warm_up(); {AT_END}")
    assert costly(found) <= {"mcap", "numpy"}
    assert "hephaes_rpc.engine.quality.indexed" in found
    assert ours(found, "", OURS) == {"model."}


def test_a_sidecar_is_in_good_health_before_it_has_a_store(tmp_path):
    serve, *options = serve_command("--data-dir", str(tmp_path / "data"))
    with (tmp_path / "stderr").open("w+b") as stderr:
        client = Client([serve, "-X", "importtime", *options], stderr=stderr, env={**os.environ, "HOME": str(tmp_path)})
        try:
            client.request("health")
        finally:
            client.stop()
        stderr.seek(0)
        lines = stderr.read().decode().splitlines()
    found = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    assert "pygls.server" in found
    assert costly(found) <= {"asyncio", "cattrs", "logging", "lsprotocol", "orjson", "platformdirs", "pygls"}
    assert ours(found, "", OURS) == {"config", "methods", "model.", "serde", "server"}
    assert {name for name in found if name.startswith("hephaes_rpc.model.")} == {"hephaes_rpc.model.jobs"}
