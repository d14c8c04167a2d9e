"""Poses of frames against 4x4 matrices and a search per row: chains, inverse edges, interpolation, refusals."""

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rosbags.highlevel import AnyReader
from rosbags.typesys import get_types_from_msg

from hephaes_rpc.engine.features import frames
from tests.engine.semantic.converting import Ros, errors, header, made, run, spec_of, table, write_log
from tests.factories import START_NS, store

MS = 1_000_000
MESSAGE, STAMPED = "tf2_msgs/msg/TFMessage", "geometry_msgs/msg/TransformStamped"
OF_ROS1 = "tf/msg/tfMessage"
store(1).register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", OF_ROS1))
Entry = tuple[int, str, str, list[float]]


# -- the twin ----------------------------------------------------------------------------------------------------------


def matrix(pose: Any) -> Any:
    """4x4 of x, y, z, qx, qy, qz, qw."""
    x, y, z, w = pose[3:] / np.linalg.norm(pose[3:])
    found = np.eye(4)
    found[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    found[:3, 3] = pose[:3]
    return found


def turned(r: Any, share: float) -> Any:
    """That share of a rotation, about its axis (Rodrigues)."""
    angle = math.acos(min(1.0, max(-1.0, (np.trace(r) - 1) / 2)))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]]) / (2 * math.sin(angle))
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(share * angle) * k + (1 - math.cos(share * angle)) * k @ k


def edge_at(entries: list[Entry], time: int, tolerance: float, hold: bool) -> Any:
    """One edge at a time, by looking at all of its entries."""
    before = [e for e in entries if e[0] <= time and time - e[0] <= tolerance]
    after = [e for e in entries if e[0] >= time and e[0] - time <= tolerance]
    if not before:
        return None
    lo = max(before, key=lambda e: e[0])
    lo = [e for e in entries if e[0] == lo[0]][-1]
    if hold or lo[0] == time:
        return matrix(np.array(lo[3]))
    if not after:
        return None
    hi = min(after, key=lambda e: e[0])
    hi = [e for e in entries if e[0] == hi[0]][-1]
    a, b, share = matrix(np.array(lo[3])), matrix(np.array(hi[3])), (time - lo[0]) / (hi[0] - lo[0])
    found = np.eye(4)
    found[:3, :3] = a[:3, :3] @ turned(a[:3, :3].T @ b[:3, :3], share)
    found[:3, 3] = (1 - share) * a[:3, 3] + share * b[:3, 3]
    return found


def slow_pose(
    moving: list[Entry], static: list[Entry], target: str, source: str, time: int, tolerance: float, hold: bool
) -> Any:
    """The matrix that takes points of source to target; None where there is none."""
    parents = {child: parent for _, parent, child, _ in [*static, *moving]}

    def to_root(frame: str) -> tuple[Any, str]:
        found = np.eye(4)
        while frame in parents:
            edge = parents[frame], frame
            mine = [e for e in moving if e[1:3] == edge]
            fixed = [e for e in static if e[1:3] == edge]
            step = edge_at(mine, time, tolerance, hold) if mine else matrix(np.array(fixed[-1][3]))
            if step is None:
                lacking.append(edge)
                step = np.eye(4)
            found, frame = step @ found, edge[0]
        return found, frame

    lacking: list[tuple[str, str]] = []
    (a, root), (b, other) = to_root(target), to_root(source)
    assert root == other
    above = [{frame}.union(*([p] for p in ancestors(parents, frame))) for frame in (target, source)]
    needed = above[0] ^ above[1]
    return None if any(child in needed for _, child in lacking) else np.linalg.inv(a) @ b


def ancestors(parents: dict[str, str], frame: str) -> list[str]:
    found = []
    while frame in parents:
        frame = parents[frame]
        found.append(frame)
    return found


# -- logs --------------------------------------------------------------------------------------------------------------


def tf_message(ros: Ros, entries: list[Entry], slash: str = "") -> Any:
    def one(entry: Entry) -> Any:
        stamp, parent, child, (x, y, z, qx, qy, qz, qw) = entry
        vector = made(ros, "geometry_msgs/msg/Vector3", x=x, y=y, z=z)
        quaternion = made(ros, "geometry_msgs/msg/Quaternion", x=qx, y=qy, z=qz, w=qw)
        pose = made(ros, "geometry_msgs/msg/Transform", translation=vector, rotation=quaternion)
        return made(
            ros, STAMPED, header=header(ros, stamp, slash + parent), child_frame_id=slash + child, transform=pose
        )

    return made(ros, type_of(ros), transforms=list(map(one, entries)))


def type_of(ros: Ros) -> str:
    return OF_ROS1 if ros == 1 else MESSAGE


def pose_of(random_: random.Random) -> list[float]:
    q = np.array([random_.gauss(0, 1) for _ in range(4)])
    return [random_.uniform(-5, 5) for _ in range(3)] + (q / np.linalg.norm(q)).tolist()


TREE = (("map", "odom", 100), ("odom", "base", 20), ("base", "arm", 35), ("map", "target", 50))
FIXED = (("base", "lidar"), ("arm", "tool"))


def drive(ros: Ros = 2, slash: str = "") -> tuple[list[Any], list[Entry], list[Entry]]:
    """Messages of a tree whose edges come at their own rates, out of order and late; all their entries."""
    random_ = random.Random(4)
    moving = [
        (START_NS + k * period * MS + random_.randrange(3 * MS), parent, child, pose_of(random_))
        for parent, child, period in TREE
        for k in range(1000 // period)
    ]
    moving.append((moving[3][0], "map", "odom", pose_of(random_)))
    static = [(START_NS - 10**9, parent, child, pose_of(random_)) for parent, child in FIXED]
    messages = [("/tf_static", START_NS - 10**9, type_of(ros), tf_message(ros, static, slash))]
    for k in range(0, len(moving), 3):
        part = moving[k : k + 3]
        time = max(e[0] for e in part) + random_.randrange(40 * MS)
        messages.append(("/tf", time, type_of(ros), tf_message(ros, part, slash)))
    order = sorted(range(len(messages)), key=lambda i: messages[i][1])
    entries = {id(messages[1 + k]): moving[3 * k : 3 * k + 3] for k in range(len(messages) - 1)}
    moving = [e for i in order if id(messages[i]) in entries for e in entries[id(messages[i])]]
    rows = [
        ("/tick", START_NS - 50 * MS + k * 7 * MS, "std_msgs/msg/Int32", made(ros, "std_msgs/msg/Int32", data=k))
        for k in range(160)
    ]
    rows[60] = ("/tick", moving[40][0], *rows[60][2:])
    return sorted([*messages, *rows], key=lambda m: m[1]), moving, static


def tf(target: str, source: str, **more: Any) -> dict[str, Any]:
    return {"source": {"kind": "tf", "target_frame": target, "source_frame": source, **more}, "dtype": "native"}


PAIRS = [("map", "base"), ("base", "map"), ("map", "tool"), ("lidar", "tool"), ("target", "lidar"), ("base", "lidar")]


@pytest.mark.parametrize(("ros", "name", "slash"), [(2, "a.mcap", ""), (1, "a.bag", "/"), (1, "a.mcap", "")])
@pytest.mark.parametrize("more", [{}, {"tolerance_ns": 30 * MS}, {"no_future": True}])
def test_poses_are_what_matrices_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ros: Ros, name: str, slash: str, more: dict[str, Any]
) -> None:
    messages, moving, static = drive(ros, slash)
    log = write_log(tmp_path / name, monkeypatch, ros, messages)
    spec = spec_of("/tick", {f"{a}_{b}": tf(a, b, **more) for a, b in PAIRS})
    found = table(log, tmp_path / "out", spec)
    assert found.schema.field("map_base").type == pa.list_(pa.float64(), 7)
    known = 0
    for row in found.to_pylist():
        for target, source in PAIRS:
            time, pose = row["timestamp_ns"], row[f"{target}_{source}"]
            tolerance = more.get("tolerance_ns", math.inf)
            expected = slow_pose(moving, static, target, source, time, tolerance, more.get("no_future", False))
            assert (pose is None) == (expected is None), (time, target, source)
            if pose is not None:
                known += 1
                assert abs(np.linalg.norm(pose[3:]) - 1) < 1e-12
                assert np.allclose(matrix(np.array(pose)), expected, atol=1e-9)
    assert known > 200
    assert all(row["base_lidar"] is not None for row in found.to_pylist())


def test_thinning_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages, *_ = drive()
    log = write_log(tmp_path / "a.mcap", monkeypatch, 2, messages)
    spec = spec_of("/tick", {"p": tf("target", "tool"), "q": tf("map", "base", no_future=True)})
    whole = table(log, tmp_path / "whole", spec)
    monkeypatch.setattr(frames, "THIN_AT", 2)
    assert table(log, tmp_path / "thin", spec).equals(whole)


def test_the_time_of_a_shifted_pose_is_that_of_the_later_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages, *_ = drive()
    log = write_log(tmp_path / "a.mcap", monkeypatch, 2, messages)
    spec = spec_of("/tick", {"p": tf("map", "base"), "next": tf("map", "base") | {"shift": 2}})
    found = table(log, tmp_path / "out", spec)
    assert found["next"].to_pylist()[:-2] == found["p"].to_pylist()[2:]
    parts = {"strategy": "group", "group_by": "k", "train_fraction": 0.5, "val_fraction": 0.5, "test_fraction": 0}
    k = {"source": {"topic": "/tick", "field_path": "data"}, "dtype": "int64"}
    split = spec_of("/tick", {"k": k, "p": tf("map", "base") | {"missing": "drop"}}, split=parts)
    paths = [output.path for output in run(log, tmp_path / "split", split).outputs if output.role == "dataset"]
    rows = sorted(row for path in paths for row in pq.read_table(path)["timestamp_ns"].to_pylist())
    assert rows == [row["timestamp_ns"] for row in found.to_pylist() if row["p"] is not None]


def test_the_window_of_the_input_is_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Static transforms told before the window hold, and its first row has neighbours on both sides."""
    messages, *_ = drive()
    log = write_log(tmp_path / "a.mcap", monkeypatch, 2, messages)
    whole = table(log, tmp_path / "whole", spec_of("/tick", {"p": tf("map", "lidar")}))
    window = {"start_ns": START_NS + 300 * MS, "end_ns": START_NS + 500 * MS}
    part = table(log, tmp_path / "part", spec_of("/tick", {"p": tf("map", "lidar")}, input=window))
    inside = [row for row in whole.to_pylist() if window["start_ns"] <= row["timestamp_ns"] < window["end_ns"]]
    assert part.to_pylist() == inside
    assert all(row["p"] for row in inside)


def test_transforms_that_count_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    good: list[Entry] = [(START_NS, "a", "b", [1.0, *unit[1:]]), (START_NS + 100, "a", "b", [2.0, *unit[1:]])]
    bad: list[Entry] = [
        (START_NS + 10, "a", "b", [math.nan, *unit[1:]]),
        (START_NS + 20, "a", "b", [9.0, 0, 0, 0, 0, 0, 0]),
        (START_NS + 30, "a", "b", [9.0, 0, 0, 0, 0, 0, 1.1]),
        (START_NS + 40, "a", "a", unit),
        (START_NS + 50, "", "b", unit),
    ]
    rows = [("/t", START_NS + k * 25, "std_msgs/msg/Int32", made(2, "std_msgs/msg/Int32", data=k)) for k in range(6)]
    log = write_log(tmp_path / "a.mcap", monkeypatch, 2, [*rows, ("/tf", START_NS, MESSAGE, tf_message(2, good + bad))])
    spec = spec_of("/t", {"p": tf("a", "b")})
    assert [p and p[0] for p in table(log, tmp_path / "out", spec)["p"].to_pylist()] == [1, 1.25, 1.5, 1.75, 2, None]
    warnings = run(log, tmp_path / "again", spec).warnings
    for text in (
        "1 transforms are ignored: a value that is not finite",
        "2 transforms are ignored: a quaternion that is not of unit length",
        "1 transforms are ignored: a frame in itself",
        "1 transforms are ignored: a frame without a name",
        "'b' in 'a' is not known around the row time (1)",
    ):
        assert any(text in warning for warning in warnings), (text, warnings)


def test_what_has_no_answer_is_refused_before_a_row_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    edges = [("map", "base_link"), ("base_link", "lidar"), ("moon", "crater"), ("l1", "l2"), ("l2", "l1")]
    edges += [("map", "torn"), ("moon", "torn")]
    entries: list[Entry] = [(START_NS + k, parent, child, unit) for k, (parent, child) in enumerate(edges)]
    tick = ("/t", START_NS, "std_msgs/msg/Int32", made(2, "std_msgs/msg/Int32", data=1))
    log = write_log(tmp_path / "a.mcap", monkeypatch, 2, [tick, ("/tf", START_NS, MESSAGE, tf_message(2, entries))])
    for feature, key, message in (
        (tf("map", "base_lnk"), "source_frame", "there is no frame 'base_lnk'; did you mean 'base_link'?"),
        (tf("wrld", "lidar"), "target_frame", "there is no frame 'wrld'; there are 'base_link', 'crater'"),
        (
            tf("map", "crater"),
            "source_frame",
            "'crater' and 'map' are not connected: 'map' hangs on 'map', 'crater' on 'moon'",
        ),
        (tf("map", "l2"), "source_frame", "the frames go round in a circle: l2 in l1 in l2"),
        (tf("torn", "map"), "target_frame", "the frame 'torn' has several parents: 'map', 'moon'"),
        (tf("map", "lidar", topics=["/tff"]), "topics/0", "the log has no topic '/tff'; did you mean '/tf'?"),
        (tf("map", "lidar", topics=["/t"]), "topics/0", "messages of /t have no transforms"),
        (
            tf("map", "lidar", topics=[], static_topics=["/tf", "/gone"]),
            "static_topics/1",
            "the log has no topic '/gone'",
        ),
        (tf("map", "lidar", topics=["/x"], static_topics=[]), "topics/0", "the log has no topic '/x'"),
    ):
        (found,) = errors(log, tmp_path / "out", spec_of("/t", {"p": feature}))
        assert found[0] == f"/features/p/source/{key}"
        assert message in found[1]
    found = errors(log, tmp_path / "out", spec_of("/t", {"p": tf("map", "x")}, input={"include_topics": ["/t"]}))
    assert {pointer.removeprefix("/spec/features/p/source/") for pointer, _ in found} == {"topics/0", "static_topics/0"}
    always = tf("map", "lidar", topics=[], static_topics=["/tf"])
    assert table(log, tmp_path / "fixed", spec_of("/t", {"p": always}))["p"].to_pylist() == [unit]


def test_frames_of_a_real_robot(tmp_path: Path, shared: Path) -> None:
    """Every row of a turtle's log against its own transforms, as rosbags reads them."""
    log = shared / "corpus" / "cruise-automation__rosbag.js" / "fixtures" / "example-lz4.bag"
    entries: list[Entry] = []
    with AnyReader([log]) as reader:
        links = [c for c in reader.connections if c.topic == "/tf"]
        for connection, _, data in reader.messages(links):
            for t in reader.deserialize(data, connection.msgtype).transforms:
                stamp, p, q = t.header.stamp, t.transform.translation, t.transform.rotation
                ns = stamp.sec * 10**9 + stamp.nanosec
                names = t.header.frame_id.strip("/"), t.child_frame_id.strip("/")
                entries.append((ns, *names, [p.x, p.y, p.z, q.x, q.y, q.z, q.w]))
    children = sorted({e[2] for e in entries})
    target, source = children[0], children[1]
    spec = spec_of("/turtle1/pose", {"p": tf(target, source)})
    (path,) = [output.path for output in run(log, tmp_path, spec).outputs if output.role == "dataset"]
    rows = pq.read_table(path).to_pylist()
    known = [row for row in rows if row["p"] is not None]
    assert len(known) > 100
    for row in known[:: len(known) // 50]:
        expected = slow_pose(entries, [], target, source, row["timestamp_ns"], math.inf, False)
        assert np.allclose(matrix(np.array(row["p"])), expected, atol=1e-9)
