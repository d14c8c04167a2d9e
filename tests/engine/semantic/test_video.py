"""Encoded video: bytes untouched, keyframes as the encoders (libx264, libx265) said of each packet."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.typesys import get_types_from_msg

from hephaes_rpc.engine.features.video import MAX_SCAN, MAX_UNITS, VideoError, is_keyframe
from tests.conftest import DATA
from tests.engine.semantic.converting import errors, header, made, run, spec_of, table, write_log
from tests.factories import START_NS, store
from tests.reference import tfrecord as twin
from tests.thorough import examples

VIDEO, COMPRESSED, PACKET = (
    "foxglove_msgs/msg/CompressedVideo",
    "sensor_msgs/msg/CompressedImage",
    "ffmpeg_image_transport_msgs/msg/FFMPEGPacket",
)
store(2).register(
    get_types_from_msg("builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format", VIDEO)
)
store(2).register(
    get_types_from_msg(
        "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\nuint8 flags\n"
        "bool is_bigendian\nuint8[] data",
        PACKET,
    )
)
PACKETS = json.loads((DATA / "video.json").read_text())


def units(codec: str) -> list[tuple[bytes, bool]]:
    return [(base64.b64decode(each["data"]), each["keyframe"]) for each in PACKETS[codec]]


def message(type_name: str, data: bytes, text: str) -> Any:
    array, head = np.frombuffer(data, np.uint8), header(2, START_NS)
    if type_name == VIDEO:
        return made(2, VIDEO, timestamp=head.stamp, frame_id="c", data=array, format=text)
    if type_name == COMPRESSED:
        return made(2, COMPRESSED, header=head, format=text, data=array)
    known = {"width": 64, "height": 48, "pts": 1, "flags": 0, "is_bigendian": False}
    return made(2, PACKET, header=head, encoding=text, data=array, **known)


FEATURES = {
    "data": {"source": {"topic": "/v", "field_path": "data"}, "dtype": "bytes"},
    "keyframe": {"source": {"kind": "keyframe", "topic": "/v"}, "dtype": "bool"},
}


@pytest.mark.parametrize("codec", ["h264", "h265"])
@pytest.mark.parametrize("type_name", [VIDEO, COMPRESSED, PACKET])
def test_access_units_pass_untouched_with_their_keyframes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str, type_name: str
) -> None:
    text = {"h264": "h264", "h265": "hevc;yuv420p;rgb8" if type_name == PACKET else "h265"}[codec]
    messages = [("/v", START_NS + k, type_name, message(type_name, d, text)) for k, (d, _) in enumerate(units(codec))]
    log = write_log(tmp_path / "a.mcap", monkeypatch, 2, messages)
    found = table(log, tmp_path / "out", spec_of("/v", FEATURES))
    assert list(zip(found["data"].to_pylist(), found["keyframe"].to_pylist(), strict=True)) == units(codec)
    assert found.schema.field("keyframe").type == pa.bool_()
    result = run(log, tmp_path / "records", spec_of("/v", FEATURES, output={"format": "tfrecord"}))
    records = twin.read(next(Path(o.path) for o in result.outputs if o.role == "dataset"))
    assert [(r["data"][1][0], bool(r["keyframe"][1][0])) for r in records] == units(codec)


@pytest.mark.parametrize(
    ("data", "text", "cause"),
    [
        (b"\0\0\0\1\x65abc", "vp9", "format 'vp9' is not known"),
        (b"\0\0\0\x08\x65abcdef", "h264", "no byte stream with start codes"),
        (b"", "h264", "no byte stream with start codes"),
        (b"\0\0\1", "h264", "no slice"),
        (b"\0\0\1\x67\0\0\1\x68", "h264", "no slice"),
        (b"\0\0\1\x67" * MAX_UNITS + b"\0\0\1\x65", "h264", "no slice"),
        (b"\0\0\1\x67" + b"x" * MAX_SCAN + b"\0\0\1\x65", "h264", "no slice"),
        (b"\0\0\1\x40\1\0\0\1\x42\1", "h265", "no slice"),
    ],
)
def test_what_is_no_access_unit_says_why(data: bytes, text: str, cause: str) -> None:
    with pytest.raises(VideoError, match=cause):
        is_keyframe(memoryview(data), text)


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=6))), st.sampled_from(["h264", "h265"]))
def test_the_first_slice_decides(found: list[tuple[int, bytes]], codec: str) -> None:
    """Against a walk over the units as they were put together."""
    stream = b"".join(b"\0\0\1" + struct.pack("B", head) + body.replace(b"\0", b"\2") for head, body in found)
    kinds = [head & 31 if codec == "h264" else (head >> 1) & 63 for head, _ in found]
    slices = [kind for kind in kinds if (kind in range(1, 6) if codec == "h264" else kind < 32)]
    if not slices:
        with pytest.raises(VideoError):
            is_keyframe(memoryview(stream), codec)
        return
    assert is_keyframe(memoryview(stream), codec) == (slices[0] in ({5} if codec == "h264" else set(range(16, 24))))


def test_video_is_no_image_and_other_messages_are_no_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    word = made(2, "std_msgs/msg/String", data="x")
    bad = message(VIDEO, b"\0\0\1\x09", "h264")
    log = write_log(
        tmp_path / "a.mcap",
        monkeypatch,
        2,
        [("/v", START_NS, VIDEO, bad), ("/w", START_NS, "std_msgs/msg/String", word)],
    )
    (found,) = errors(log, tmp_path / "o", spec_of("/v", {"x": FEATURES["data"] | {"transforms": ["image_encode"]}}))
    assert found[0] == "/features/x/source"
    assert "is video, which is passed on as it is and not decoded" in found[1]
    other = {"source": {"kind": "keyframe", "topic": "/w"}, "dtype": "bool"}
    (found,) = errors(log, tmp_path / "o", spec_of("/w", {"x": other}))
    assert found[0] == "/features/x/source/topic"
    assert "are no video, but std_msgs/msg/String" in found[1]
    assert table(log, tmp_path / "out", spec_of("/v", FEATURES))["keyframe"].to_pylist() == [None]
    inside = write_log(
        tmp_path / "b.mcap", monkeypatch, 2, [("/v", START_NS, COMPRESSED, message(COMPRESSED, b"\0\0\1\x65", "h264"))]
    )
    image = FEATURES["data"] | {"transforms": ["image_encode"]}
    warnings = run(inside, tmp_path / "image", spec_of("/v", {"x": image})).warnings
    assert any("h264 video is passed on as it is and not decoded (1)" in warning for warning in warnings)
