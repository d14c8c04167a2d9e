"""A drive of a small robot without a flaw, as messages that a defect can be put into before they are written."""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from attrs import define

from hephaes_rpc.engine.logs import open_log
from hephaes_rpc.engine.quality.analysis import quality_by_messages
from hephaes_rpc.engine.quality.indexed import quality_by_index
from hephaes_rpc.model.quality import Quality
from tests import factories
from tests.factories import Sample, store, write_bag, write_mcap

Container = Literal["bag", "mcap"]
START_NS = 1_700_000_000_123_456_789
SECOND = 1_000_000_000
MS = 1_000_000
TYPES = {
    "/camera/image_raw": "sensor_msgs/msg/Image",
    "/imu/data": "sensor_msgs/msg/Imu",
    "/odom": "nav_msgs/msg/Odometry",
    "/scan": "sensor_msgs/msg/LaserScan",
    "/fix": "sensor_msgs/msg/NavSatFix",
    "/cmd_vel": "geometry_msgs/msg/Twist",
    "/robot_description": "std_msgs/msg/String",
    "/log": "std_msgs/msg/String",
}
PERIODS = {
    "/camera/image_raw": SECOND // 30,
    "/imu/data": SECOND // 50,
    "/odom": SECOND // 20,
    "/scan": SECOND // 10,
    "/fix": SECOND // 5,
}


@define(eq=False)
class Message:
    """One message; ``values`` are those of its type's fields that tests change."""

    topic: str
    time: int
    stamp: int
    seq: int
    values: dict[str, Any]
    payload: bytes | None = None


Drive = list[Message]


def of(drive: Drive, topic: str) -> Drive:
    """The messages of a topic."""
    return [message for message in drive if message.topic == topic]


def without(drive: Drive, *gone: Message) -> Drive:
    """The drive without some of its messages."""
    ids = set(map(id, gone))
    return [message for message in drive if id(message) not in ids]


def clean(seconds: float = 12, seed: int = 1) -> Drive:
    """Steady sensors with a little jitter and latency, commands in two bursts, one latched message, some notes."""
    random_ = random.Random(seed)
    end = START_NS + int(seconds * SECOND)
    drive = [Message("/robot_description", START_NS + 7, START_NS, 0, {})]
    for topic, period in PERIODS.items():
        phase = random_.randrange(period)
        for seq in range((end - START_NS - phase) // period):
            moment = START_NS + phase + seq * period
            time = moment + random_.randrange(int(0.03 * period))
            drive.append(Message(topic, time, moment - 5 * MS, seq, _values(topic, seq, random_)))
    for burst in (2, 6):
        for k in range(25):
            time = START_NS + burst * SECOND + k * 50 * MS + random_.randrange(MS)
            drive.append(Message("/cmd_vel", time, 0, k, {"speed": k / 25}))
    for k, after in enumerate((0.5, 0.6, 3.0, 9.0, 9.1)):
        drive.append(Message("/log", START_NS + int(after * SECOND), 0, k, {}))
    return sorted(drive, key=lambda message: message.time)


def _values(topic: str, k: int, random_: random.Random) -> dict[str, Any]:
    if topic == "/camera/image_raw":
        return {"pixels": random_.randbytes(8 * 6 * 3)}
    if topic == "/imu/data":
        return {name: random_.gauss(0, 1) for name in ("wx", "wy", "wz", "ax", "ay", "az")}
    if topic == "/odom":
        return {"x": 0.05 * k, "y": random_.gauss(0, 0.01)}
    if topic == "/scan":
        return {"ranges": [random_.gauss(2, 0.01) for _ in range(16)] + [float("inf")]}
    return {"latitude": 48 + random_.gauss(0, 1e-6), "longitude": 11 + random_.gauss(0, 1e-6)}


def payload_of(message: Message, ros: Literal[1, 2]) -> bytes:
    """The message as it is on the wire."""
    if message.payload is not None:
        return message.payload
    serialize = store(ros).serialize_ros1 if ros == 1 else store(ros).serialize_cdr
    return bytes(serialize(_object(message, ros), TYPES[message.topic]))


def _object(message: Message, ros: Literal[1, 2]) -> Any:
    types = store(ros).types
    vector, quaternion = types["geometry_msgs/msg/Vector3"], types["geometry_msgs/msg/Quaternion"]
    sec, nanosec = divmod(message.stamp, SECOND)
    header = types["std_msgs/msg/Header"](
        stamp=types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec),
        frame_id="base",
        **({"seq": message.seq} if ros == 1 else {}),
    )
    values, kind = message.values, types[TYPES[message.topic]]
    match message.topic:
        case "/camera/image_raw":
            pixels = np.frombuffer(values["pixels"], np.uint8)
            return kind(header=header, height=6, width=8, encoding="rgb8", is_bigendian=0, step=24, data=pixels)
        case "/imu/data":
            return kind(
                header=header,
                orientation=quaternion(x=0.0, y=0.0, z=0.0, w=1.0),
                orientation_covariance=np.zeros(9),
                angular_velocity=vector(x=values["wx"], y=values["wy"], z=values["wz"]),
                angular_velocity_covariance=np.zeros(9),
                linear_acceleration=vector(x=values["ax"], y=values["ay"], z=values["az"]),
                linear_acceleration_covariance=np.zeros(9),
            )
        case "/odom":
            pose = types["geometry_msgs/msg/Pose"](
                position=types["geometry_msgs/msg/Point"](x=values["x"], y=values["y"], z=0.1),
                orientation=quaternion(x=0.0, y=0.0, z=0.0, w=1.0),
            )
            twist = types["geometry_msgs/msg/Twist"](
                linear=vector(x=1.0, y=0.0, z=0.0), angular=vector(x=0.0, y=0.0, z=0.0)
            )
            return kind(
                header=header,
                child_frame_id="robot",
                pose=types["geometry_msgs/msg/PoseWithCovariance"](pose=pose, covariance=np.zeros(36)),
                twist=types["geometry_msgs/msg/TwistWithCovariance"](twist=twist, covariance=np.zeros(36)),
            )
        case "/scan":
            return kind(
                header=header,
                angle_min=-1.0,
                angle_max=1.0,
                angle_increment=0.125,
                time_increment=0.0,
                scan_time=0.1,
                range_min=0.1,
                range_max=10.0,
                ranges=np.array(values["ranges"], np.float32),
                intensities=np.array([], np.float32),
            )
        case "/fix":
            return kind(
                header=header,
                status=types["sensor_msgs/msg/NavSatStatus"](status=0, service=1),
                latitude=values["latitude"],
                longitude=values["longitude"],
                altitude=float("nan"),
                position_covariance=np.zeros(9),
                position_covariance_type=0,
            )
        case "/cmd_vel":
            return kind(linear=vector(x=values["speed"], y=0.0, z=0.0), angular=vector(x=0.0, y=0.0, z=0.0))
    return kind(data=f"note {message.seq}")


def written(path: Path, drive: Iterable[Message]) -> Path:
    """The drive as a log, in the order of the messages; its kind is that of the suffix."""
    ros: Literal[1, 2] = 1 if path.suffix == ".bag" else 2
    samples = [Sample(message.topic, message.time, payload_of(message, ros)) for message in drive]
    with pytest.MonkeyPatch.context() as patch:
        for topic, type_name in TYPES.items():
            patch.setitem(factories.TOPICS, topic, type_name)
        if ros == 1:
            return write_bag(path, samples, compression="lz4", chunk_size=20_000)
        return write_mcap(path, samples, compression="zstd", chunk_size=20_000)


def judged(path: Path, *, by_index: bool = False) -> Quality:
    """The quality of a log."""
    with open_log(str(path)) as log:
        return quality_by_index(log) if by_index else quality_by_messages(log, lambda done, total: None)
