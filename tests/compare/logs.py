"""Logs made for the comparison: one robot as ROS1 bag and as ROS2 mcap, with ties, gaps, NaN, all kinds of field."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as BagWriter
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

START_NS = 1_700_000_000_000_000_000
MS = 1_000_000
SECONDS = 3
STATUS = """\
std_msgs/Header header
bool estop
uint64 ticks
int64 offset
int8 gear
string label
float32 charge
float64 range
float32[] currents
float64[4] pose
uint16[] codes
uint8[] raw
bool[3] switches
string[] notes
builtin_interfaces/Time expires
builtin_interfaces/Duration uptime
compare_msgs/Cell[] cells
"""
CELL = "string name\nfloat32 volts\nfloat32[] history\n"


class Sample(NamedTuple):
    """One message."""

    time_ns: int
    topic: str
    type_name: str
    message: Any


def store(ros: int) -> Typestore:
    """The types of a ROS generation and ours."""
    types = get_typestore(Stores.ROS1_NOETIC if ros == 1 else Stores.ROS2_HUMBLE)
    types.register(get_types_from_msg(CELL, "compare_msgs/msg/Cell"))
    types.register(get_types_from_msg(STATUS, "compare_msgs/msg/Status"))
    return types


class Robot:
    """Builds messages of one generation."""

    def __init__(self, ros: int) -> None:
        self.ros = ros
        self.store = store(ros)
        self.rng = np.random.default_rng(5)

    def make(self, name: str, /, **members: Any) -> Any:
        package, _, kind = name.partition("/")
        return self.store.types[f"{package}/msg/{kind}"](**members)

    def stamp(self, ns: int) -> Any:
        return self.make("builtin_interfaces/Time", sec=ns // 10**9, nanosec=ns % 10**9)

    def header(self, ns: int, frame: str) -> Any:
        seq = {"seq": ns // MS % 1000} if self.ros == 1 else {}
        return self.make("std_msgs/Header", stamp=self.stamp(ns), frame_id=frame, **seq)

    def vector(self, values: Any) -> Any:
        x, y, z = (float(value) for value in values)
        return self.make("geometry_msgs/Vector3", x=x, y=y, z=z)

    def turn(self, angle: float) -> Any:
        w, z = float(np.cos(angle / 2)), float(np.sin(angle / 2))
        return self.make("geometry_msgs/Quaternion", x=0.0, y=0.0, z=z, w=w)

    def imu(self, i: int, ns: int) -> Any:
        noise = self.rng.standard_normal(6)
        return self.make(
            "sensor_msgs/Imu",
            header=self.header(ns - 3 * MS, "imu"),
            orientation=self.turn(0.2 * i),
            orientation_covariance=np.arange(9.0),
            angular_velocity=self.vector(noise[:3]),
            angular_velocity_covariance=np.full(9, -1.0),
            linear_acceleration=self.vector(noise[3:]),
            linear_acceleration_covariance=np.zeros(9),
        )

    def joints(self, i: int, ns: int) -> Any:
        count = 3 if i % 10 else 2  # lists of another length are not blended
        values = self.rng.standard_normal((3, count))
        names = ["hip", "knee", "ankle"][:count]
        return self.make(
            "sensor_msgs/JointState",
            header=self.header(ns, "body"),
            name=names,
            position=values[0],
            velocity=values[1],
            effort=values[2],
        )

    def status(self, i: int, ns: int) -> Any:
        cells = [
            self.make("compare_msgs/Cell", name=f"c{k}", volts=3.5 + k, history=np.arange(k, dtype=np.float32))
            for k in range(1 + i % 3)
        ]
        return self.make(
            "compare_msgs/Status",
            header=self.header(ns, "body"),
            estop=bool(i % 4 == 3),
            ticks=2**63 + 17 * i,
            offset=-(2**62) + 3 * i,
            gear=i % 5 - 2,
            label="idle" if i % 2 else "Gang \u2192 Tür",
            charge=np.float32(0.1) * np.float32(i),
            range=float("nan") if i % 6 == 5 else 0.1 * i,
            currents=self.rng.standard_normal(i % 4).astype(np.float32),
            pose=self.rng.standard_normal(4),
            codes=np.arange(i % 3, dtype=np.uint16) + np.uint16(i),
            raw=np.arange(i % 5, dtype=np.uint8) + np.uint8(i),
            switches=np.array([i & 1, i & 2, i & 4], dtype=bool),
            notes=[f"note {k}" for k in range(i % 3)],
            expires=self.stamp(ns + 10**9),
            uptime=self.make("builtin_interfaces/Duration", sec=i, nanosec=ns % 10**9),
            cells=cells,
        )

    def image(self, i: int, ns: int) -> Any:
        pixels = self.rng.integers(0, 256, 6 * 4 * 3, dtype=np.uint8)
        return self.make(
            "sensor_msgs/Image",
            header=self.header(ns, "camera"),
            height=4,
            width=6,
            encoding="rgb8",
            is_bigendian=0,
            step=18,
            data=pixels,
        )

    def command(self, i: int, ns: int) -> Any:
        linear, angular = self.vector([0.1 * i, 0, 0]), self.vector([0, 0, -0.1 * i])
        return self.make("geometry_msgs/Twist", linear=linear, angular=angular)

    def samples(self) -> list[Sample]:
        """All messages in recorded order."""
        return sorted(self._topics(), key=lambda sample: sample.time_ns)

    def _topics(self) -> Iterator[Sample]:
        plans = (
            ("/imu", "sensor_msgs/Imu", self.imu, 40, 0),
            ("/joint_states", "sensor_msgs/JointState", self.joints, 25, 7),
            ("/status", "compare_msgs/Status", self.status, 10, 30),
            ("/camera", "sensor_msgs/Image", self.image, 5, 55),
            ("/cmd_vel", "geometry_msgs/Twist", self.command, 8, 0),
        )
        for topic, type_name, build, rate, offset in plans:
            jitter = self.rng.integers(0, 6, SECONDS * rate)
            for i in range(SECONDS * rate):
                ns = START_NS + (offset + i * 1000 // rate + int(jitter[i])) * MS
                if topic == "/cmd_vel" and 5 <= i < 14:  # a gap
                    continue
                yield Sample(ns, topic, type_name, build(i, ns))
                if topic == "/joint_states" and i % 9 == 4:  # recorded twice in one instant
                    yield Sample(ns, topic, type_name, build(i + 1, ns))


def write_bag(path: Path) -> Path:
    """The robot as a ROS1 bag."""
    robot = Robot(1)
    with BagWriter(path) as writer:
        connections: dict[str, Any] = {}
        for sample in robot.samples():
            package, _, kind = sample.type_name.partition("/")
            name = f"{package}/msg/{kind}"
            if sample.topic not in connections:
                connections[sample.topic] = writer.add_connection(sample.topic, name, typestore=robot.store)
            data = robot.store.serialize_ros1(sample.message, name)
            writer.write(connections[sample.topic], sample.time_ns, data)
    return path


def write_mcap(path: Path) -> Path:
    """The robot as a ROS2 mcap."""
    robot = Robot(2)
    writer = McapWriter(str(path), compression=CompressionType.ZSTD)
    writer.start(profile="ros2", library="compare")
    channels: dict[str, int] = {}
    for sample in robot.samples():
        package, _, kind = sample.type_name.partition("/")
        name = f"{package}/msg/{kind}"
        if sample.topic not in channels:
            text, _ = robot.store.generate_msgdef(name, ros_version=2)
            schema = writer.register_schema(name, "ros2msg", text.encode())
            channels[sample.topic] = writer.register_channel(sample.topic, "cdr", schema)
        data = bytes(robot.store.serialize_cdr(sample.message, name))
        writer.add_message(channels[sample.topic], sample.time_ns, data, publish_time=sample.time_ns)
    writer.finish()
    return path
