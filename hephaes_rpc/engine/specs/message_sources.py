"""Sources that know what messages of a kind mean: values that are computed from whole messages, not fields of them."""

import re
from typing import Literal, NamedTuple, TypeAlias

from attrs import field, frozen

from hephaes_rpc.engine.specs.checks import all_trimmed, topic_name

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
