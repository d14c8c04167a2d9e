"""The command line, run as a person runs it."""

import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from mcap.writer import Writer as McapWriter

from hephaes_rpc import __version__
from hephaes_rpc.cli import commands, demo, terminal
from hephaes_rpc.errors import HephaesError
from tests.factories import samples, write_mcap

PROGRAM = [sys.executable, "-P", "-m", "hephaes_rpc"]


def cli(*arguments: str | Path, code: int = 0, **options) -> subprocess.CompletedProcess[str]:
    """Run the program and check its exit code; no traceback ever."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=options.pop("stdin", subprocess.DEVNULL) if "input" not in options else None,
        **options,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stderr
    return done


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr."""
    (line,) = done.stderr.splitlines()
    return line


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_version():
    assert cli("version").stdout == f"{__version__}\n"


def test_script_is_installed():
    script = Path(sys.executable).with_name("hephaes-rpc")
    assert subprocess.run([script, "version"], capture_output=True, text=True, check=True).stdout == f"{__version__}\n"


def test_help_names_the_commands_and_hides_the_worker(capsys):
    text = cli("--help").stdout
    assert all(name in text for name in commands.COMMANDS)
    assert "worker" not in text
    assert cli("serve", "--help").stdout.startswith("usage: hephaes-rpc serve")
    for name in commands.COMMANDS:
        with pytest.raises(SystemExit) as ended:
            commands.run([name, "--help"])
        assert ended.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: hephaes-rpc {name}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("inspct", "x"), "did you mean 'inspect'?"),
        (("inspect",), "the following arguments are required: LOG"),
        (("inspect", "a", "--jsn"), "unrecognized arguments: --jsn"),
        (("cat", "a", "--limit", "-1"), "'-1' is not a number of messages"),
        (("convert", "a.bag"), "the following arguments are required: -o/--output-dir"),
        (("convert", "a.bag", "-o", "x", "--format", "parquett"), "did you mean 'parquet'?"),
        (("serve", "--log-level", "loud"), "invalid choice: 'loud'"),
    ],
)
def test_bad_usage_is_one_sentence(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        commands.run(list(arguments))
    assert ended.value.code == 2
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert said in line
    assert told.out == ""


def test_bad_usage_ends_the_process_with_2():
    done = cli("inspct", "x", code=2)
    assert "did you mean 'inspect'?" in sentence(done)
    assert done.stdout == ""


def test_broken_pipe_is_quiet(data):
    process = subprocess.Popen(
        [*PROGRAM, "cat", data / "turtlesim-bz2.bag"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline().startswith(b'{"topic"')
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(30) == 141
    process.stderr.close()


# -- inspect -----------------------------------------------------------------------------------------------------------


def test_inspect_shows_a_table(data):
    lines = cli("inspect", data / "turtlesim-bz2.bag").stdout.splitlines()
    assert "messages     8,647 in 9 topics" in lines
    assert "compression  bz2: 1 chunks, 135.7 kB of 743.4 kB" in lines
    assert "time         2014-03-31T19:24:47.844783943Z to 2014-03-31T19:25:09.544870199Z (21.7 s)" in lines
    row = next(line for line in lines if line.startswith("/turtle1/pose"))
    assert re.split(r" {2,}", row.rstrip()) == [
        "/turtle1/pose",
        "turtlesim/msg/Pose",
        "1,344",
        "62.5 Hz",
        "16.6 ms",
        "ros1",
    ]


def test_inspect_json(data):
    found = json.loads(cli("inspect", data / "talker-zstd.mcap", "--json").stdout)
    assert (found["outcome"], found["error"], found["gaps"], found["warnings"]) == ("whole", None, [], [])
    assert found["messages_read"] == found["messages_distinct"] == found["message_count"] == 20
    assert found["start_ns"] == 1585866235112411371
    assert found["start_time"] == "2020-04-02T22:23:55.112411371Z"
    assert found["compression"][0]["compression"] == "zstd"
    counts = {topic["name"]: topic["message_count"] for topic in found["topics"]}
    assert counts == {"/parameter_events": 0, "/rosout": 10, "/topic": 10}


def test_inspect_json_of_a_log_cut_in_the_middle(data, tmp_path):
    whole = (data / "two-connections.bag").read_bytes()
    log = tmp_path / "cut.bag"
    log.write_bytes(whole[:4600])
    found = json.loads(cli("inspect", log, "--json").stdout)
    assert found["outcome"] == "part"
    assert found["gaps"]
    assert set(found["gaps"]) <= set(found["warnings"])
    assert found["messages_read"] == 1


def damaged_chunk(path: Path) -> Path:
    """An MCAP of three chunks whose second does not match its CRC; the index still lists its messages."""
    with path.open("wb") as file:
        writer = McapWriter(file, chunk_size=200, compression=0)
        writer.start("ros2")
        schema = writer.register_schema("std_msgs/msg/UInt64", "ros2msg", b"uint64 data")
        channel = writer.register_channel("/n", "cdr", schema)
        for n in range(12):
            payload = b"\0\1\0\0" + b"\0" * 8 + struct.pack("<Q", 0xABCDEF00 + n)
            writer.add_message(channel, n + 1, payload[:4] + payload[12:], n + 1)
        writer.finish()
    content = bytearray(path.read_bytes())
    content[content.index(struct.pack("<Q", 0xABCDEF06))] ^= 1
    path.write_bytes(content)
    return path


def test_inspect_reads_what_the_index_only_claims(tmp_path):
    log = damaged_chunk(tmp_path / "damaged.mcap")
    assert "outcome" not in cli("inspect", log).stdout
    by_index = json.loads(cli("inspect", log, "--json", "--no-check").stdout)
    assert (by_index["outcome"], by_index["checked"], by_index["messages_read"]) == ("whole", False, None)
    read = json.loads(cli("inspect", log, "--json").stdout)
    assert (read["outcome"], read["checked"]) == ("part", True)
    assert 0 < read["messages_read"] == read["messages_distinct"] == read["message_count"] < 12
    assert "CRC" in read["gaps"][0]
    assert "outcome      part of the log cannot be read" in cli("inspect", log, "--check").stdout


def test_inspect_counts_distinct_messages(tmp_path):
    log = tmp_path / "twice.mcap"
    with log.open("wb") as file:
        writer = McapWriter(file)
        writer.start("ros2")
        schema = writer.register_schema("std_msgs/msg/UInt8", "ros2msg", b"uint8 data")
        channel = writer.register_channel("/n", "cdr", schema)
        for n in (1, 2, 2, 2, 3):
            writer.add_message(channel, n, b"\0\1\0\0" + bytes([n]), n)
        writer.finish()
    found = json.loads(cli("inspect", log, "--json").stdout)
    assert (found["messages_read"], found["messages_distinct"]) == (5, 3)


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (None, "invalid_path", "refused.bag"),
        (b"", "bad_input", "is empty"),
        (b"once upon a time", "bad_input", "is no ROS bag, MCAP or rosbag2 SQLite file"),
        (b"SQLite format 3\0 and so on", "bad_input", "is no readable rosbag2 database"),
    ],
)
def test_inspect_of_a_refused_log(tmp_path, content, kind, said):
    log = tmp_path / "refused.bag"
    if content is not None:
        log.write_bytes(content)
    done = cli("inspect", log, "--json", code=2)
    found = json.loads(done.stdout)
    assert (found["outcome"], found["error"]["kind"], found["messages_read"]) == ("refused", kind, 0)
    assert said in found["error"]["message"]
    assert said in sentence(done)
    assert cli("inspect", log, code=2).stdout == ""


def test_nothing_in_a_log_steers_the_terminal(tmp_path):
    log = tmp_path / "hostile.mcap"
    with log.open("wb") as file:
        writer = McapWriter(file)
        writer.start("ros2")
        schema = writer.register_schema("std_msgs/msg/UInt8", "ros2msg", b"uint8 data")
        channel = writer.register_channel("/a\x1b]0;owned\x07[bold]b", "cdr", schema)
        writer.add_message(channel, 1, b"\0\1\0\0\1", 1)
        writer.finish()
    text = cli("inspect", log).stdout
    assert r"/a\x1b]0;owned\x07[bold]b" in text
    assert "\x1b" not in text
    assert "\x1b" not in cli("cat", log, "--topic", "/nothing", code=2).stderr


# -- cat ---------------------------------------------------------------------------------------------------------------


def test_cat_prints_every_message_in_order_of_log_time(data):
    lines = [json.loads(line) for line in cli("cat", data / "turtlesim-bz2.bag").stdout.splitlines()]
    assert len(lines) == 8647
    times = [line["log_time_ns"] for line in lines]
    assert times == sorted(times)
    assert {line["topic"] for line in lines if line["type"] == "turtlesim/msg/Pose"} == {
        "/turtle1/pose",
        "/turtle2/pose",
    }


def test_cat_equals_rosbags(data):
    from rosbags.highlevel import AnyReader

    path = data / "poses.bag"
    lines = [json.loads(line) for line in cli("cat", path).stdout.splitlines()]
    with AnyReader([path]) as reader:
        wanted = [(time, reader.deserialize(raw, c.msgtype)) for c, time, raw in reader.messages()]
    assert len(lines) == len(wanted) == 418
    for line, (time_ns, pose) in zip(lines, wanted, strict=True):
        position, orientation = pose.position, pose.orientation
        assert line == {
            "topic": "pose_data",
            "type": "geometry_msgs/msg/Pose",
            "log_time_ns": time_ns,
            "publish_time_ns": time_ns,
            "message": {
                "position": {"x": position.x, "y": position.y, "z": position.z},
                "orientation": {"x": orientation.x, "y": orientation.y, "z": orientation.z, "w": orientation.w},
            },
        }


def test_cat_keeps_integers_exact_and_tags_what_json_lacks(tmp_path):
    log = tmp_path / "values.mcap"
    with log.open("wb") as file:
        writer = McapWriter(file)
        writer.start("ros2")
        definition = b"uint64 u\nint64 i\nfloat64 f\nuint8[] b"
        schema = writer.register_schema("our_msgs/msg/Values", "ros2msg", definition)
        channel = writer.register_channel("/v", "cdr", schema)
        body = struct.pack("<QqdI3s", 2**64 - 1, -(2**63), float("nan"), 3, b"\0\1\xff")
        writer.add_message(channel, 7, b"\0\1\0\0" + body, 5)
        writer.add_message(channel, 8, b"\0\1\0\0" + body[:-1], 6)
        writer.finish()
    first, second = cli("cat", log).stdout.splitlines()
    assert first == (
        '{"topic":"/v","type":"our_msgs/msg/Values","log_time_ns":7,"publish_time_ns":5,'
        '"message":{"u":18446744073709551615,"i":-9223372036854775808,"f":{"__float__":"nan"},'
        '"b":{"__bytes__":true,"encoding":"base64","value":"AAH/"}}}'
    )
    assert "malformed: " in json.loads(second)["error"]


def test_cat_selects_topics_and_stops_at_the_limit(data):
    log = data / "turtlesim-bz2.bag"
    arguments = ("--topic", "/turtle1/cmd_vel", "--topic", "/tf_static", "--limit", "5")
    lines = [json.loads(line) for line in cli("cat", log, *arguments).stdout.splitlines()]
    assert len(lines) == 5
    assert {line["topic"] for line in lines} <= {"/turtle1/cmd_vel", "/tf_static"}
    assert cli("cat", log, "--limit", "0").stdout == ""
    assert "no topic /turtle1/pos (did you mean /turtle1/pose?)" in sentence(
        cli("cat", log, "--topic", "/turtle1/pos", code=2)
    )


def test_cat_goes_on_behind_a_damaged_chunk(tmp_path):
    log = damaged_chunk(tmp_path / "damaged.mcap")
    done = cli("cat", log)
    times = [json.loads(line)["log_time_ns"] for line in done.stdout.splitlines()]
    assert times[0] == 1
    assert times[-1] == 12
    assert times == sorted(set(times))
    assert 7 not in times
    assert "CRC" in done.stderr


def test_cat_of_what_cannot_be_decoded(data):
    done = cli("cat", data / "unchunked.mcap", code=2)
    assert done.stdout == ""
    assert "no message can be decoded" in done.stderr


# -- convert -----------------------------------------------------------------------------------------------------------


def test_convert_to_parquet(data, tmp_path):
    done = cli(
        "convert", data / "poses.bag", data / "talker-zstd.mcap", "-o", tmp_path / "out", "--compression", "zstd"
    )
    paths = [Path(line) for line in done.stdout.splitlines()]
    assert all(path.is_file() for path in paths)
    assert {path.name for path in paths if path.suffix == ".parquet"} == {"poses.parquet", "talker-zstd.parquet"}
    assert pq.read_table(tmp_path / "out" / "poses.parquet").num_rows == 418
    assert "418 rows of 418 messages" in done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in paths}


@pytest.mark.parametrize("format_", ["parquet", "tfrecord"])
def test_the_same_log_gives_the_same_bytes(data, tmp_path, format_):
    found = []
    for number, name in enumerate(("one", "another")):
        log = tmp_path / name / "talker.mcap"
        log.parent.mkdir()
        shutil.copy(data / "talker-zstd.mcap", log)
        os.utime(log, (number, number))
        cli(
            "convert",
            log,
            "-o",
            tmp_path / name / "out",
            "--format",
            format_,
            env={**os.environ, "PYTHONHASHSEED": str(number)},
        )
        found.append({path.name: path.read_bytes() for path in (tmp_path / name / "out").iterdir()})
    assert found[0] == found[1]


def test_convert_options_reach_the_spec(data, tmp_path):
    options = ("--resample-hz", "10", "--method", "interpolate", "--topic", "/turtle1/pose", "--row-group-rows", "50")
    cli("convert", data / "turtlesim-bz2.bag", "-o", tmp_path, *options, "--layout", "wide")
    with pq.ParquetFile(tmp_path / "turtlesim-bz2.parquet") as file:
        assert file.schema_arrow.names == ["timestamp_ns", "turtle1_pose"]
        assert file.metadata.row_group(0).num_rows == 50
        times = file.read(["timestamp_ns"]).column(0).to_pylist()
    assert {b - a for a, b in pairwise(times)} == {100_000_000}


def test_convert_by_topics(data, tmp_path):
    cli("convert", data / "talker-zstd.mcap", "-o", tmp_path, "--layout", "topics", "--format", "tfrecord")
    assert {path.name for path in tmp_path.glob("*.tfrecord")} >= {
        "talker-zstd-rosout.tfrecord",
        "talker-zstd-topic.tfrecord",
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--method", "interpolate"), "--method needs --resample-hz"),
        (("--resample-hz", "0"), "--resample-hz: must be a number greater than 0"),
        (("--format", "tfrecord", "--compression", "zstd"), "--compression: "),
        (("--format", "tfrecord", "--row-group-rows", "5"), "--row-group-rows: "),
        (("--row-group-rows", "0"), "--row-group-rows: "),
        (("--layout", "topics", "--resample-hz", "10"), "cannot be resampled"),
        (("--topic", "/nothing"), "no topic '/nothing'"),
    ],
)
def test_convert_refuses_options(data, tmp_path, options, said):
    done = cli("convert", data / "poses.bag", "-o", tmp_path / "out", *options, code=2)
    assert said in sentence(done)
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


def test_convert_refuses_a_missing_log_and_files_that_are_there(data, tmp_path):
    assert "nothing.bag" in sentence(cli("convert", tmp_path / "nothing.bag", "-o", tmp_path / "out", code=2))
    cli("convert", data / "poses.bag", "-o", tmp_path / "out")
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "out").iterdir())
    done = cli("convert", data / "poses.bag", "-o", tmp_path / "out", code=2)
    assert "poses.parquet is already there" in sentence(done)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "out").iterdir()) == before
    cli("convert", data / "poses.bag", "-o", tmp_path / "out", "--overwrite")


def test_logs_of_one_name_get_files_of_their_own(data, tmp_path):
    twin = tmp_path / "other" / "poses.bag"
    twin.parent.mkdir()
    shutil.copy(data / "poses.bag", twin)
    cli("convert", data / "poses.bag", twin, "-o", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").glob("*.parquet")} == {"poses.parquet", "poses-2.parquet"}


def big_log(path: Path) -> Path:
    """A log that takes seconds to convert."""
    with path.open("wb") as file:
        writer = McapWriter(file, chunk_size=1 << 20)
        writer.start("ros2")
        schema = writer.register_schema("our_msgs/msg/Numbers", "ros2msg", b"float64[] data")
        channel = writer.register_channel("/numbers", "cdr", schema)
        payload = b"\0\1\0\0" + struct.pack("<I4x", 500) + os.urandom(4000)
        for n in range(60_000):
            writer.add_message(channel, n * 1000, payload, n * 1000)
        writer.finish()
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_stop_convert_cleanly(tmp_path, number, code):
    log = big_log(tmp_path / "big.mcap")
    out = tmp_path / "out"
    command = [*PROGRAM, "convert", log, "-o", out, "--compression", "gzip"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (out.is_dir() and any(out.iterdir())):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    printed, said = process.communicate(timeout=10)
    assert process.returncode == code
    assert (printed, said) == ("", f"{log}: stopped, nothing of it was written\n")
    assert not out.exists()


@pytest.mark.slow
def test_convert_shows_a_bar_with_rate_and_time_left_on_a_terminal(tmp_path):
    log = big_log(tmp_path / "big.mcap")
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "convert", log, "-o", tmp_path / "out"],
        stdout=subprocess.DEVNULL,
        stderr=child,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "160"},
    )
    os.close(child)
    seen = b""
    while process.poll() is None or select.select([parent], [], [], 0)[0]:
        if select.select([parent], [], [], 0.1)[0]:
            try:
                seen += os.read(parent, 65536)
            except OSError:
                break
    os.close(parent)
    assert process.wait() == 0
    text = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", seen).decode()
    assert re.search(r"big.mcap: \w+ .*%.*/s, [0-9.:]+ (m?s )?left", text)
    assert "60,000 rows of 60,000 messages" in text


# -- call and openrpc --------------------------------------------------------------------------------------------------


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment whose sidecars keep their data in the test's folder."""
    return {**os.environ, "HEPHAES_BACKEND_DATA_DIR": str(tmp_path / "data")}


@pytest.mark.e2e
def test_call_prints_the_result(environ, tmp_path):
    done = cli("call", "health", env=environ)
    assert json.loads(done.stdout)["status"] == "ok"
    assert done.stderr == ""
    params = json.dumps({"root_path": str(tmp_path / "w"), "name": "w", "activate": True})
    created = json.loads(cli("call", "workspaces/create", "-", env=environ, input=params).stdout)
    listed = json.loads(cli("call", "workspaces/list", env=environ).stdout)
    assert [item["id"] for item in listed["items"]] == [created["id"]]
    other = cli("call", "workspaces/list", "--data-dir", tmp_path / "other", env=environ)
    assert json.loads(other.stdout)["items"] == []


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("assets/lisst",), "-32601"),
        (("assets/get", '{"asset_id": 3}'), "-32602"),
        (("health", "[]"), "-32602"),
    ],
)
def test_call_prints_an_error_of_the_sidecar(environ, arguments, said):
    done = cli("call", *arguments, env=environ, code=1)
    assert done.stdout == ""
    first, data = done.stderr.splitlines()
    assert said in first
    assert json.loads(data)["kind"] in ("method_not_found", "invalid_params")


@pytest.mark.parametrize("text", ["{", "", "{'a': 1}", "NaN"])
def test_call_refuses_what_is_not_json(environ, text):
    assert "the params are not JSON" in sentence(cli("call", "health", text, env=environ, code=2))


@pytest.mark.e2e
def test_call_says_why_its_sidecar_did_not_start(environ):
    done = cli("call", "health", env={**environ, "HEPHAES_MAX_WORKERS": "many"}, code=1)
    assert "the sidecar ended with exit code 2 and did not answer" in done.stderr.splitlines()[-1]
    assert "HEPHAES_MAX_WORKERS" in done.stderr


@pytest.mark.e2e
def test_openrpc_is_what_the_sidecar_answers(environ):
    printed = json.loads(cli("openrpc", env=environ).stdout)
    assert printed == json.loads(cli("call", "rpc.discover", env=environ).stdout)
    assert "conversions/create" in {entry["name"] for entry in printed["methods"]}


# -- demo --------------------------------------------------------------------------------------------------------------


@pytest.mark.e2e
@pytest.mark.slow
def test_demo_shows_rows_that_came_from_the_logs(tmp_path):
    folder = tmp_path / "demo"
    done = cli("demo", "-o", folder)
    text = done.stdout
    assert "'x': 0.44034425196177873" in text
    assert "Hello, world! 0" in text
    assert f"The files are in {folder}" in text
    assert "poses.bag to parquet: " in done.stderr
    found = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert found >= {".parquet", ".tfrecord"}
    cli("demo", "-o", folder)


def test_demo_leaves_other_folders_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    assert "is not empty" in sentence(cli("demo", "-o", tmp_path, code=2))
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_demo_reads_back_what_the_writer_wrote(data, tmp_path):
    cli("convert", data / "talker-zstd.mcap", "-o", tmp_path, "--format", "tfrecord")
    rows = list(demo._tfrecord_rows(tmp_path / "talker-zstd.tfrecord"))
    assert len(rows) == demo.ROWS
    assert rows[0]["timestamp_ns"] == [1585866235112411371]
    assert rows[1]["topic__data"] == ["Hello, world! 0"]
    assert "topic__data" not in rows[0]


# -- words -------------------------------------------------------------------------------------------------------------


def test_amounts():
    assert [terminal.amount(n, "bytes") for n in (0, 999, 1000, 999_400, 1e6, 1.5e18)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "999.4 kB",
        "1.0 MB",
        "1500.0 PB",
    ]
    assert terminal.amount(1234567, "rows") == "1,234,567 rows"
    assert [terminal.seconds(s) for s in (0.0016, 4.2, 59.9, 75, 3661)] == [
        "1.6 ms",
        "4.2 s",
        "59.9 s",
        "1:15",
        "1:01:01",
    ]


def test_kinds_of_our_own_failures_end_with_1(monkeypatch):
    def fail(argv):
        raise HephaesError(argv[0], "it failed")

    monkeypatch.setattr(commands, "_run", fail)
    assert [commands.run([kind]) for kind in ("disk_full", "bad_input", "cancelled")] == [1, 2, 2]


def test_ctrl_c_ends_with_130(data):
    read_fd, write_fd = os.pipe()
    command = [*PROGRAM, "cat", data / "turtlesim-bz2.bag"]
    with subprocess.Popen(command, stdout=write_fd, stderr=subprocess.PIPE) as process:
        os.close(write_fd)
        assert os.read(read_fd, 1) == b"{"  # the rest does not fit the pipe: it blocks in the middle
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        drained = threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(read_fd, 65536), b"")])
        drained.start()
        assert process.stderr.read() == b""
        assert process.wait(10) == 130
        drained.join()
    os.close(read_fd)


# -- scripts -----------------------------------------------------------------------------------------------------------


def test_the_example_of_the_scripts_page_runs(tmp_path):
    page = (Path(__file__).parents[1] / "docs/scripts.md").read_text()
    (script,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (spec,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/speed.py").write_text(script)
    (tmp_path / "speed.yaml").write_text(spec)
    write_mcap(tmp_path / "drive.mcap", samples(200))
    command = re.search(r"^hephaes-rpc (convert .*)$", page, re.MULTILINE)
    done = cli(*command[1].split(), cwd=tmp_path)
    table = pq.read_table(tmp_path / "out/drive.parquet")
    assert done.stdout.splitlines()[0].endswith("out/drive.parquet")
    rows = table.to_pylist()
    assert rows
    for row in rows:
        norm = sum(row[name] ** 2 for name in "xyz") ** 0.5
        assert (row["speed"], row["is_fast"]) == (pytest.approx(norm, nan_ok=True), norm > 0.5)
        assert row["turn"] == pytest.approx([row[name] for name in "xyz"], rel=1e-6, nan_ok=True)


def test_no_script_runs_unless_its_folder_is_named(tmp_path):
    (tmp_path / "a.py").write_text("raise ValueError('it ran')\ndef compute(batch):\n    pass\n")
    spec = {
        "row_strategy": {"kind": "per-message", "topic": "/imu"},
        "features": {"x": {"source": {"topic": "/imu", "field_path": "angular_velocity.x"}, "dtype": "float64"}},
        "computations": [{"file": "a.py", "inputs": ["x"], "outputs": {"c": {"dtype": "float64"}}}],
    }
    (tmp_path / "spec.json").write_text(json.dumps({"spec_version": 2, "spec": spec}))
    write_mcap(tmp_path / "drive.mcap", samples(20))
    asked = ("convert", "drive.mcap", "--spec", "spec.json", "-o", "out")
    assert "--scripts" in sentence(cli(*asked, code=2, cwd=tmp_path))
    failed = cli(*asked, "--scripts", ".", code=2, cwd=tmp_path)
    assert "a.py, line 1: ValueError: it ran" in failed.stderr
    assert not (tmp_path / "out").exists()
    del spec["computations"]
    (tmp_path / "spec.json").write_text(json.dumps({"spec_version": 2, "spec": spec}))
    assert "has no effect" in sentence(cli(*asked, "--scripts", ".", code=2, cwd=tmp_path))
    assert "--spec" in sentence(cli("convert", "drive.mcap", "--scripts", ".", "-o", "out", code=2, cwd=tmp_path))
