"""Inspection: candidates from definitions, facts from samples, as few chunks as give them."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter

from hephaes_rpc.engine.authoring.authored import InspectRequest
from hephaes_rpc.engine.authoring.inspection import Look, inspect
from hephaes_rpc.engine.authoring.sampling import take_samples
from hephaes_rpc.engine.logs import LogReader, open_log
from hephaes_rpc.errors import HephaesError, SpecError
from hephaes_rpc.serde import encode, unstructure
from tests.factories import START_NS, samples, store, write_bag, write_mcap

IMAGE = """\
std_msgs/Header header
uint32 height
uint32 width
string encoding
uint8 is_bigendian
uint32 step
uint8[] data
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
"""


def look(path: Path, **request: Any) -> Look:
    with open_log(str(path)) as log:
        return inspect(log, InspectRequest(**request), lambda: None)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_mcap(tmp_path / "log.mcap", samples(400), compression="zstd")


def test_every_leaf_is_a_candidate(log: Path) -> None:
    imu = look(log).result.topics["/imu"]
    vector = ["x", "y", "z"]
    assert list(imu.field_candidates) == sorted(
        [
            *(f"angular_velocity.{name}" for name in vector),
            *(f"linear_acceleration.{name}" for name in vector),
            *(f"orientation.{name}" for name in (*vector, "w")),
            *(f"{name}_covariance" for name in ("orientation", "angular_velocity", "linear_acceleration")),
            "header.stamp",
            "header.frame_id",
        ]
    )
    assert "__msgtype__" not in str(unstructure(imu))
    assert imu.field_candidates["angular_velocity.x"].candidate_dtypes == ["float64", "float32"]
    assert imu.field_candidates["orientation_covariance"].shape_hint == [9]
    assert imu.field_candidates["header.stamp"].is_header


def test_a_topic_without_messages_has_candidates(data: Path) -> None:
    silent = look(data / "talker-zstd.mcap").result.topics["/parameter_events"]
    assert silent.message_count == silent.sampled_message_count == 0
    candidate = silent.field_candidates["new_parameters[:].name"]
    assert (candidate.kind, candidate.shape_hint, candidate.confidence) == ("sequence", [-1], 0.5)
    assert candidate.statistics is None


def test_statistics_are_of_all_values_measured(log: Path) -> None:
    topics = look(log).result.topics
    y = topics["/imu"].field_candidates["angular_velocity.y"].statistics
    x = topics["/imu"].field_candidates["linear_acceleration.y"].statistics
    z = topics["/imu"].field_candidates["linear_acceleration.z"].statistics
    assert y is not None
    assert y.nan_count == y.count == topics["/imu"].measured_message_count
    assert x is not None
    assert x.infinite_count == x.count
    assert x.max is None
    assert z is not None
    assert (z.min, z.max, z.mean, z.distinct) == (9.81, 9.81, pytest.approx(9.81), 1)
    position = topics["/joints"].field_candidates["position"]
    assert position.variable_length
    assert position.confidence == 0.85
    assert position.statistics is not None
    assert (position.statistics.length_min, position.statistics.length_max) == (0, 3)


def test_examples_and_payloads_are_short_and_travel(log: Path) -> None:
    result = look(log, max_sequence_items=2).result
    blob = result.topics["/blob"]
    assert blob.sampled_message_count == len(blob.sample_payloads) == 8
    assert blob.sample_timestamps_str == [str(time) for time in blob.sample_timestamps]
    covariance = result.topics["/imu"].field_candidates["orientation_covariance"].examples[0]
    assert covariance["length"] == 9
    assert len(covariance["items"]) == 2
    encode(unstructure(result))


def test_rates_gaps_and_the_offset_of_the_header(tmp_path: Path) -> None:
    made = [sample._replace(time=START_NS + k * 10**8) for k, sample in enumerate(samples(50, topics=["/imu"]))]
    late = [sample._replace(time=sample.time + 5 * 10**9 * (k >= 30)) for k, sample in enumerate(made)]
    imu = look(write_mcap(tmp_path / "gap.mcap", late)).result.topics["/imu"]
    assert imu.rate_hz == pytest.approx(49 / (4.9 + 5))
    assert (imu.interval_s, imu.max_gap_s, imu.out_of_order) == (0.1, 5.1, 0)
    (gap,) = imu.gaps
    assert (gap.start_ns, gap.duration_s) == (START_NS + 29 * 10**8, 5.1)
    assert imu.frame_ids == ["base"]
    assert imu.header_offset is not None
    assert imu.header_offset.max_s == 0.0  # the first message; the stamps run ten times as fast as the log
    assert sum(imu.activity) == 50
    assert len(imu.activity) == 48


def test_depth_is_limited_and_told(log: Path) -> None:
    imu = look(log, max_depth=1).result.topics["/imu"]
    orientation = imu.field_candidates["orientation"]
    assert (orientation.kind, orientation.candidate_dtypes) == ("struct", ["json", "native"])
    assert "what lies deeper than max_depth is one candidate" in imu.warnings
    assert not look(log, max_depth=0).result.topics["/imu"].field_candidates


def test_only_the_topics_asked_for_and_unknown_ones_with_a_warning(log: Path) -> None:
    result = look(log, topics=["/imu", "/nothing", "/imu"]).result
    assert list(result.topics) == ["/imu", "/nothing"]
    assert result.topics["/nothing"].message_type is None
    assert result.warnings == ["topic '/nothing' has no field candidates: the log has no such topic"]


def test_a_hint_that_fits_no_type_is_refused(log: Path) -> None:
    with pytest.raises(SpecError, match="has no type 'sensor_msgs/Imuu'; did you mean 'sensor_msgs/msg/Imu'"):
        look(log, topic_type_hints={"/imu": "sensor_msgs/Imuu"})


def test_messages_that_cannot_be_decoded_are_counted_or_the_end(tmp_path: Path) -> None:
    made = [s._replace(payload=s.payload[:9]) if k % 4 == 0 else s for k, s in enumerate(samples(40, topics=["/imu"]))]
    path = write_mcap(tmp_path / "cut.mcap", made, chunk_size=1 << 20)
    imu = look(path).result.topics["/imu"]
    assert sum(imu.decode_failures.values()) == 10
    assert imu.measured_message_count == 30
    assert imu.field_candidates["orientation.x"].nullable
    assert "10 sampled messages cannot be decoded" in imu.warnings[0]
    assert not look(path, on_failure="skip").result.topics["/imu"].warnings
    with pytest.raises(HephaesError, match="10 sampled messages cannot be decoded"):
        look(path, on_failure="fail")


def test_a_log_without_an_index_and_a_bag(tmp_path: Path) -> None:
    for path in (
        write_mcap(tmp_path / "bare.mcap", samples(100), summary=False, message_index=False),
        write_bag(tmp_path / "open.bag", samples(100, ros=1), closed=False),
    ):
        assert look(path).result.topics["/imu"].measured_message_count > 0


def test_few_chunks_are_read_of_a_long_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_mcap(tmp_path / "long.mcap", samples(6000), chunk_size=4000)
    read: list[int] = []
    with open_log(str(path)) as log:
        assert len(log.chunks) > 100
        plain = type(log).messages

        def counted(self: LogReader, i: int, slots: Any) -> Any:
            read.append(i)
            return plain(self, i, slots)

        monkeypatch.setattr(type(log), "messages", counted)
        found = take_samples(log, log.summary.streams, 8, lambda: None)
    assert len(read) == len(set(read)) < 20
    assert max(read) - min(read) > 80, "spread over the log"
    assert all(len(one.log_time) >= 8 for one in found)


def test_no_message_at_all(data: Path) -> None:
    result = look(data / "no-messages.bag").result
    assert (result.topics, result.start_ns, result.message_count) == ({}, None, 0)


# -- images ------------------------------------------------------------------------------------------------------------


def image_log(path: Path, encoding: str, pixels: np.ndarray[Any, Any]) -> Path:
    """Five images of one encoding on /camera."""
    types = store(2).types
    with path.open("wb") as file:
        writer = McapWriter(file, compression=CompressionType.NONE)
        writer.start("ros2", "test")
        schema = writer.register_schema("sensor_msgs/msg/Image", "ros2msg", IMAGE.encode())
        channel = writer.register_channel("/camera", "cdr", schema)
        for k in range(5):
            stamp = types["builtin_interfaces/msg/Time"](sec=k, nanosec=0)
            message = types["sensor_msgs/msg/Image"](
                header=types["std_msgs/msg/Header"](stamp=stamp, frame_id="lens"),
                height=pixels.shape[0],
                width=pixels.shape[1],
                encoding=encoding,
                is_bigendian=0,
                step=pixels.strides[0],
                data=np.frombuffer(pixels.tobytes(), np.uint8),
            )
            payload = bytes(store(2).serialize_cdr(message, "sensor_msgs/msg/Image"))
            writer.add_message(channel, START_NS + k * 10**8, payload, START_NS + k * 10**8)
        writer.finish()  # type: ignore[no-untyped-call]
    return path


@pytest.mark.parametrize(
    ("encoding", "dtype", "channels", "can_encode"),
    [
        ("rgb8", np.uint8, 3, True),
        ("mono16", np.uint16, 1, True),
        ("32FC1", np.float32, 1, False),
        ("nv21", np.uint8, 1, False),
    ],
)
def test_what_is_known_of_images(tmp_path: Path, encoding: str, dtype: Any, channels: int, can_encode: bool) -> None:
    pixels = (np.arange(20 * 30 * channels) % 251).astype(dtype).reshape(20, 30, channels)
    camera = look(image_log(tmp_path / "i.mcap", encoding, pixels), thumbnails=True).result
    candidate = camera.topics["/camera"].field_candidates["data"]
    assert candidate.kind == "image"
    assert candidate.candidate_dtypes[0] == "bytes"
    facts = candidate.image
    assert facts is not None
    assert (facts.width, facts.height, facts.encoding, facts.varies) == (30, 20, encoding, False)
    assert facts.can_encode is can_encode
    if encoding != "nv21":
        assert facts.thumbnail_png[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", facts.thumbnail_png[16:24]) == (30, 20)
