"""Sources that know what messages of a kind mean: values that are computed from whole messages, not fields of them."""

import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

from attrs import field, frozen
from attrs.validators import ge, optional

from hephaes_rpc.engine.specs.checks import all_trimmed, distinct, not_blank, topic_name

PointDType: TypeAlias = Literal["float32", "float64", "int64"]
MAX_POINT_VALUES = 1024

_POINT_FIELD = re.compile(r"(?P<name>.*?[^\s\]])\[(?P<first>\d{1,4})(?P<colon>:(?P<stop>\d{1,4}))?\]", re.DOTALL)


class PointField(NamedTuple):
    """Elements [first, stop) of a field of a point; ``is_whole`` where it was named alone, so that it must have one."""

    name: str
    first: int
    stop: int
    is_whole: bool = False


def parse_point_field(text: str) -> PointField:
    """``intensity``, ``normal[2]`` or ``normal[0:3]``; raises ValueError."""
    if not text:
        raise ValueError("a field of a point has no name")
    match = _POINT_FIELD.fullmatch(text)
    if match is None:
        return PointField(text, 0, 1, is_whole=True)
    first = int(match["first"])
    stop = first + 1 if match["stop"] is None else int(match["stop"])
    if stop <= first:
        raise ValueError(f"{text!r} has no elements")
    return PointField(match["name"], first, stop)


def _point_fields(_instance: object, _attribute: object, value: list[str]) -> None:
    if not value:
        raise ValueError("needs at least one field")
    if len(set(value)) < len(value):
        raise ValueError("names a field twice")
    if sum(part.stop - part.first for part in map(parse_point_field, value)) > MAX_POINT_VALUES:
        raise ValueError(f"takes more than {MAX_POINT_VALUES} values of a point")


def _xyz() -> list[str]:
    return ["x", "y", "z"]


@frozen(kw_only=True)
class PointsSource:
    """The points of a PointCloud2: a list of points, each a list of the values of ``fields``.

    Args:
        fields: Names of fields of a point; ``name[2]`` and ``name[0:3]`` are elements of a field that has several.
        dtype: Of all values; integers are only taken from fields of integers.
        organized: Lists of rows of points, as the cloud has them.
        skip_nans: Points with a NaN among ``fields`` are left out.
    """

    kind: Literal["points"] = "points"
    topic: str = topic_name()
    fields: list[str] = field(factory=_xyz, converter=all_trimmed, validator=_point_fields)
    dtype: PointDType = "float32"
    organized: bool = False
    skip_nans: bool = False


@frozen(kw_only=True)
class KeyframeSource:
    """Whether a message of H.264 or H.265 video is a keyframe, with which decoding can begin."""

    kind: Literal["keyframe"] = "keyframe"
    topic: str = topic_name()


ScanField: TypeAlias = Literal["range", "angle", "intensity", "x", "y"]
OutOfRange: TypeAlias = Literal["keep", "nan", "clamp", "skip"]


def _scan_fields(_instance: object, _attribute: object, value: list[str]) -> None:
    if not value:
        raise ValueError("needs at least one field")
    if len(set(value)) < len(value):
        raise ValueError("names a field twice")


@frozen(kw_only=True)
class ScanSource:
    """The beams of a LaserScan: a list of beams, each a list of the values of ``fields`` as float32.

    Args:
        fields: ``angle`` in radians, counterclockwise from the x axis; ``x`` and ``y`` of where the beam ends.
        out_of_range: Ranges outside the limits that the scan tells, infinite ones and NaN: kept as they are, made NaN,
            brought to the nearer limit (NaN stays), or left out with their beams.
    """

    kind: Literal["scan"] = "scan"
    topic: str = topic_name()
    fields: list[ScanField] = field(factory=lambda: ["range"], validator=_scan_fields)
    out_of_range: OutOfRange = "keep"


TF_TOPICS, TF_STATIC_TOPICS = ("/tf",), ("/tf_static",)


def _frame(value: Any) -> Any:
    """A frame name without the slash that tf before tf2 put in front."""
    return value.strip().removeprefix("/") if isinstance(value, str) else value


def _not_blank_items(instance: object, attribute: Any, value: list[str]) -> None:
    for item in value:
        not_blank(instance, attribute, item)


@frozen(kw_only=True)
class TfSource:
    """The pose of a frame in another one at the row time: ``[x, y, z, qx, qy, qz, qw]``.

    Transforms are those of the whole log by their header stamps; they are interpolated, never extrapolated.

    Args:
        target_frame: In which the pose is told; it maps points from ``source_frame`` to here.
        source_frame: Whose pose it is.
        topics: Of transforms that hold at their stamp.
        static_topics: Of transforms that always hold.
        tolerance_ns: Largest distance from the row time to a transform that is used; None is any.
        no_future: The last transforms at or before the row time, instead of between two.
    """

    kind: Literal["tf"] = "tf"
    target_frame: str = field(converter=_frame, validator=not_blank)
    source_frame: str = field(converter=_frame, validator=not_blank)
    topics: list[str] = field(factory=lambda: [*TF_TOPICS], converter=distinct, validator=_not_blank_items)
    static_topics: list[str] = field(
        factory=lambda: [*TF_STATIC_TOPICS], converter=distinct, validator=_not_blank_items
    )
    tolerance_ns: int | None = field(default=None, validator=optional(ge(0)))
    no_future: bool = False


def topics_named(source: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The topics that a source itself names, each with its place in the source."""
    if isinstance(source, TfSource):
        for key in ("topics", "static_topics"):
            for k, topic in enumerate(getattr(source, key)):
                yield (key, k), topic
    elif (topic := getattr(source, "topic", None)) is not None:
        yield ("topic",), topic
