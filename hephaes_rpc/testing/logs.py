"""Log factories: small deterministic logs in any shape a container can have, written by the rosbags and mcap libraries.

write_mcap(folder / "drive.mcap", samples(300), compression="zstd")
write_bag(folder / "drive.bag", samples(300, ros=1), compression="lz4")
"""

import random
import struct
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mcap.writer import CompressionType, IndexType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as BagWriter
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

START_NS = 1_700_000_000_000_000_000
TOPICS = {
    "/chatter": "std_msgs/msg/String",
    "/imu": "sensor_msgs/msg/Imu",
    "/joints": "sensor_msgs/msg/JointState",
    "/blob": "std_msgs/msg/UInt8MultiArray",
}
BAG_COMPRESSIONS = ("none", "bz2", "lz4")
MCAP_COMPRESSIONS = ("none", "lz4", "zstd")


class Sample(NamedTuple):
    """One message to be written; ``connection`` tells apart several connections of one topic."""

    topic: str
    time: int
    payload: bytes
    connection: int = 0


@cache
def store(ros: Literal[1, 2]) -> Typestore:
    """The type store that encodes and decodes the samples of a ROS generation."""
    return get_typestore(Stores.ROS1_NOETIC if ros == 1 else Stores.ROS2_HUMBLE)


def message(ros: Literal[1, 2], topic: str, n: int, random_: random.Random) -> Any:
    """A message object of the topic's type; ``n`` is its number."""
    import numpy as np

    types = store(ros).types
    time = types["builtin_interfaces/msg/Time"](sec=1_700_000_000 + n, nanosec=n * 1000)
    seq = {"seq": n} if ros == 1 else {}
    header = types["std_msgs/msg/Header"](stamp=time, frame_id="base", **seq)
    if topic == "/chatter":
        return types["std_msgs/msg/String"](data=f"hello {n} " + "x" * random_.randrange(40))
    if topic == "/imu":
        vector, quaternion = types["geometry_msgs/msg/Vector3"], types["geometry_msgs/msg/Quaternion"]
        covariance = np.array([random_.random() for _ in range(9)])
        return types["sensor_msgs/msg/Imu"](
            header=header,
            orientation=quaternion(x=0.0, y=0.0, z=random_.random(), w=1.0),
            orientation_covariance=covariance,
            angular_velocity=vector(x=random_.random(), y=float("nan"), z=-0.0),
            angular_velocity_covariance=covariance,
            linear_acceleration=vector(x=1e300, y=float("inf"), z=9.81),
            linear_acceleration_covariance=covariance,
        )
    if topic == "/joints":
        k = random_.randrange(4)
        values = np.array([random_.gauss(0, 1) for _ in range(k)])
        names = [f"joint_{i}" for i in range(k)]
        effort = np.array([], np.float64)
        return types["sensor_msgs/msg/JointState"](
            header=header, name=names, position=values, velocity=values * 2, effort=effort
        )
    layout = types["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
    data = np.frombuffer(random_.randbytes(random_.randrange(200)), np.uint8)
    return types["std_msgs/msg/UInt8MultiArray"](layout=layout, data=data)


def samples(
    n: int = 200,
    *,
    ros: Literal[1, 2] = 2,
    seed: int = 1,
    topics: Sequence[str] = tuple(TOPICS),
    shuffled: bool = False,
    connections: int = 1,
) -> list[Sample]:
    """``n`` messages spread over ``topics``, in time order unless ``shuffled``, with some equal times."""
    random_ = random.Random(seed)  # noqa: S311  (content of a test log)
    serialize = store(ros).serialize_ros1 if ros == 1 else store(ros).serialize_cdr
    found = []
    time = START_NS
    for i in range(n):
        topic = random_.choice(topics)
        time += random_.choice((0, 1, 5_000_000, 10_000_000))
        payload = bytes(serialize(message(ros, topic, i, random_), TOPICS[topic]))
        found.append(Sample(topic, time, payload, random_.randrange(connections)))
    if shuffled:
        times = [s.time for s in found]
        random_.shuffle(times)
        found = [s._replace(time=t) for s, t in zip(found, times, strict=True)]
    return found


def write_mcap(
    path: Path,
    messages: Iterable[Sample],
    *,
    compression: str = "none",
    chunk_size: int = 2000,
    chunked: bool = True,
    message_index: bool = True,
    summary: bool = True,
    ros: Literal[1, 2] = 2,
    profile: str | None = None,
    encoding: str | None = None,
) -> Path:
    """An MCAP file of the messages; without ``summary`` nothing stands between its data section and its footer."""
    codec = {"none": CompressionType.NONE, "lz4": CompressionType.LZ4, "zstd": CompressionType.ZSTD}[compression]
    index = IndexType.ALL if summary else IndexType.NONE
    if not message_index:
        index &= ~IndexType.MESSAGE
    elif not summary:
        index = IndexType.MESSAGE
    with path.open("wb") as file:
        writer = McapWriter(
            file,
            chunk_size=chunk_size,
            compression=codec,
            index_types=index,
            repeat_channels=summary,
            repeat_schemas=summary,
            use_chunking=chunked,
            use_statistics=summary,
            use_summary_offsets=summary,
        )
        writer.start(f"ros{ros}" if profile is None else profile, "factory")
        channels: dict[tuple[str, int], int] = {}
        schemas: dict[str, int] = {}
        wire = "ros1" if ros == 1 else "cdr"
        for sequence, sample in enumerate(messages):
            key = (sample.topic, sample.connection)
            if key not in channels:
                type_name = TOPICS[sample.topic]
                text = store(ros).generate_msgdef(type_name, ros_version=ros)[0].encode()
                if type_name not in schemas:
                    schemas[type_name] = writer.register_schema(type_name, f"ros{ros}msg", text)
                metadata = {"connection": str(sample.connection)}
                channels[key] = writer.register_channel(
                    sample.topic, encoding or wire, schemas[type_name], metadata=metadata
                )
            writer.add_message(channels[key], sample.time, sample.payload, sample.time - 7, sequence)
        writer.finish()  # type: ignore[no-untyped-call]
    return path


def write_bag(
    path: Path,
    messages: Iterable[Sample],
    *,
    compression: str = "none",
    chunk_size: int = 2000,
    closed: bool = True,
) -> Path:
    """A ROS1 bag of the messages; one that is not ``closed`` lacks its index section, as after a crash."""
    path.unlink(missing_ok=True)
    writer = BagWriter(path)
    if compression != "none":
        writer.set_compression(getattr(writer.CompressionFormat, compression.upper()))
    writer.chunk_threshold = chunk_size
    with writer:
        connections: dict[tuple[str, int], Any] = {}
        for sample in messages:
            key = (sample.topic, sample.connection)
            if key not in connections:
                connections[key] = writer.add_connection(
                    sample.topic, TOPICS[sample.topic], typestore=store(1), callerid=f"/node{sample.connection}"
                )
            writer.write(connections[key], sample.time, sample.payload)
    if not closed:
        data = bytearray(path.read_bytes())
        at = data.index(b"index_pos=") + len(b"index_pos=")
        (index_position,) = struct.unpack_from("<Q", data, at)
        data[at : at + 8] = bytes(8)
        path.write_bytes(data[:index_position])
    return path
