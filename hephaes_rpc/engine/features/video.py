"""Access units of H.264 and H.265 video: bytes that are passed on as they are, and which of them are keyframes.

Strategy: an access unit in Annex B form is a run of NAL units behind start codes; what comes before its first slice is
small, so that the scan ends early however large the picture is.
Sources: ITU-T H.264 7.3.1, Annex B and table 7-1 (IDR slices are of type 5); ITU-T H.265 7.3.1.2 and table 7-1 (IRAP
slices are of types 16 to 23).
"""

import numpy as np
import pyarrow as pa
from attrs import field, frozen

from hephaes_rpc.engine.features.columns import Flags
from hephaes_rpc.engine.features.encodings import codec_of
from hephaes_rpc.engine.features.pictures import views
from hephaes_rpc.engine.features.readers import OfTopic, Rows, member_of
from hephaes_rpc.engine.features.steps import Column, Kind, Tally
from hephaes_rpc.engine.messages.msgdef import Definition

MAX_UNITS, MAX_SCAN = 256, 1 << 18
_START = b"\0\0\1"


class VideoError(Exception):
    """It cannot be told whether an access unit is a keyframe; the message is the cause."""


def video_members(definition: Definition) -> tuple[str, ...] | None:
    """The data of a message of encoded video and the member that tells its codec; None for other messages.

    These are ``foxglove_msgs/CompressedVideo``, ``sensor_msgs/CompressedImage``, what is laid out alike, and
    ``ffmpeg_image_transport_msgs/FFMPEGPacket``.
    """
    kinds = {member.name: member.type for member in definition.types[definition.root].fields}
    text = "encoding" if "pts" in kinds else "format"
    if text not in kinds or "data" not in kinds or kinds["data"].base != "uint8" or not kinds["data"].array:
        return None
    return ("data", text) if kinds[text].base == "string" and not kinds[text].array else None


def is_keyframe(data: memoryview, description: str) -> bool:
    """Whether decoding can begin with an access unit of a codec of CODECS; raises VideoError."""
    codec = codec_of(description)
    if codec is None:
        raise VideoError(f"video format {description[:40]!r} is not known; keyframes are told of h264 and h265")
    stream = bytes(data[:MAX_SCAN])
    at = stream.find(_START)
    if at < 0 or stream[:at].strip(b"\0"):
        raise VideoError("the video is no byte stream with start codes (Annex B)")
    for _ in range(MAX_UNITS):
        if at < 0 or at + 3 >= len(stream):
            break
        header = stream[at + 3]
        kind = header & 0x1F if codec == "h264" else header >> 1 & 0x3F
        if codec == "h264" and 1 <= kind <= 5:
            return kind == 5
        if codec == "h265" and kind < 32:
            return 16 <= kind <= 23
        at = stream.find(_START, at + 3)
    raise VideoError("the access unit has no slice of a picture")


@frozen(eq=False)
class Keyframes:
    """A reader of whether messages of video are keyframes."""

    messages: OfTopic
    members: tuple[str, ...]
    kind: Kind = field(factory=lambda: Kind(pa.bool_()))

    @property
    def topics(self) -> tuple[str, ...]:
        """See Reader."""
        return self.messages.topics

    def read(self, rows: Rows, tally: Tally) -> Column:
        """See Reader."""
        column = self.messages.read(rows, tally)
        data, text = (member_of(column.values, name) for name in self.members)
        kept: Flags = np.ones(len(column.rows), np.bool_)
        found = np.zeros(len(column.rows), np.bool_)
        for k, (view, description) in enumerate(zip(views(data), text.to_pylist(), strict=True)):
            try:
                found[k] = is_keyframe(view, description)
            except VideoError as error:
                kept[k] = False
                tally.fail(column.rows[k : k + 1], str(error))
        return Column(column.rows[kept], pa.array(found[kept]), column.filled[kept])
