"""Points of clouds (sensor_msgs/PointCloud2) as columns.

Strategy: what a cloud says of its layout is checked against the bytes that it has before anything is allocated; then
fields that lie one behind the other are copied together, point by point, rows cut free of their padding.
Sources: sensor_msgs/PointCloud2 and PointField (layout, numbers of data types); a count of 0 is 1, as PCL has it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from attrs import field, frozen
from numpy.typing import NDArray

from hephaes_rpc.engine.features.columns import Int64s, lists, nest
from hephaes_rpc.engine.features.narrowing import widened
from hephaes_rpc.engine.features.pictures import views
from hephaes_rpc.engine.features.readers import OfTopic, Rows, member_of
from hephaes_rpc.engine.features.steps import Column, Kind, Tally
from hephaes_rpc.engine.messages.msgdef import INTEGERS, Definition
from hephaes_rpc.engine.specs.message_sources import PointField, PointsSource, parse_point_field
from hephaes_rpc.serde import closest

DATATYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
DATATYPE_NAMES = {1: "int8", 2: "uint8", 3: "int16", 4: "uint16", 5: "int32", 6: "uint32", 7: "float32", 8: "float64"}
_SCALARS = ("height", "width", "point_step", "row_step")
MEMBERS = ("height", "width", "fields", "is_bigendian", "point_step", "row_step", "data")


class CloudError(Exception):
    """The points of a cloud cannot be read as asked for; the message is the cause."""


def is_cloud(definition: Definition) -> bool:
    """Whether messages are clouds of points."""
    kinds = {member.name: member.type for member in definition.types[definition.root].fields}
    if not kinds.keys() >= set(MEMBERS):
        return False
    parts = definition.types.get(kinds["fields"].base)
    inner = {} if parts is None else {member.name: member.type for member in parts.fields}
    return (
        all(not kinds[name].array and kinds[name].base in INTEGERS for name in _SCALARS)
        and not kinds["is_bigendian"].array
        and kinds["is_bigendian"].base in INTEGERS | {"bool"}
        and (kinds["data"].base, bool(kinds["data"].array)) == ("uint8", True)
        and bool(kinds["fields"].array)
        and inner.keys() >= {"name", "offset", "datatype", "count"}
        and inner["name"].base == "string"
        and all(inner[name].base in INTEGERS for name in ("offset", "datatype", "count"))
        and not any(inner[name].array for name in ("name", "offset", "datatype", "count"))
    )


@frozen(eq=False)
class Cloud:
    """One cloud as its message tells it; ``fields`` are dicts of name, offset, datatype and count."""

    height: int
    width: int
    fields: Sequence[Mapping[str, Any]]
    bigendian: bool
    point_step: int
    row_step: int
    data: memoryview

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and points per row; an empty cloud has neither."""
        return (self.height, self.width) if self.height * self.width else (0, 0)

    def check(self) -> None:
        """Raise CloudError unless the bytes are there for all points."""
        height, width = self.shape
        if not height:
            return
        if self.point_step < 1:
            raise CloudError("the cloud has points of no bytes")
        if height > 1 and self.row_step < width * self.point_step:
            raise CloudError("the cloud has rows longer than its row_step")
        if len(self.data) < self.row_step * (height - 1) * (height > 1) + width * self.point_step:
            raise CloudError("the cloud has less data than its size needs")

    def place(self, wanted: PointField) -> "Place":
        """Where the elements of a field lie in a point; raises CloudError."""
        found = next((each for each in self.fields if each["name"] == wanted.name), None)
        if found is None:
            names = [each["name"] for each in self.fields]
            guess = closest(wanted.name, names)
            hint = f"; did you mean {guess!r}?" if guess else f"; it has {', '.join(names)[:200] or 'none'}"
            raise CloudError(f"the cloud has no field {wanted.name!r}{hint}")
        count = max(int(found["count"]), 1)
        if wanted.is_whole and count > 1:
            raise CloudError(f"the field {wanted.name!r} has {count} elements; say which, as in {wanted.name}[0]")
        if wanted.stop > count:
            raise CloudError(f"the field {wanted.name!r} has {count} elements, no element {wanted.stop - 1}")
        if found["datatype"] not in DATATYPES:
            raise CloudError(f"the field {wanted.name!r} has the unknown data type {found['datatype']}")
        kind = np.dtype(DATATYPES[found["datatype"]]).newbyteorder(">" if self.bigendian else "<")
        offset, size = int(found["offset"]) + wanted.first * kind.itemsize, wanted.stop - wanted.first
        if offset < 0 or offset + size * kind.itemsize > self.point_step:
            raise CloudError(f"the field {wanted.name!r} lies beyond the bytes of a point")
        return Place(wanted.name, kind, offset, size)

    def values(self, place: "Place") -> NDArray[Any]:
        """``[height, width, elements]``, copied point by point; ``check`` has passed."""
        height, width = self.shape
        strides = (self.row_step if height > 1 else 0, self.point_step)
        points = np.ndarray((height, width), f"V{place.stop - place.offset}", self.data, place.offset, strides)
        return points.copy().view(place.kind).reshape(height, width, place.size)


@frozen
class Place:
    """``size`` elements of one type, ``offset`` bytes into a point."""

    name: str
    kind: np.dtype[Any]
    offset: int
    size: int

    @property
    def stop(self) -> int:
        """Where what lies behind begins."""
        return self.offset + self.size * self.kind.itemsize


def _runs(places: Sequence[Place]) -> list[Place]:
    """Places that lie one behind the other, in the order in which they are wanted, as one."""
    found: list[Place] = []
    for place in places:
        if found and found[-1].kind == place.kind and found[-1].stop == place.offset:
            last = found.pop()
            place = Place(f"{last.name}, {place.name}", place.kind, last.offset, last.size + place.size)
        found.append(place)
    return found


def points_of(cloud: Cloud, source: PointsSource, wanted: Sequence[PointField], tally: Tally) -> NDArray[Any]:
    """The values of the fields, ``[height, width, values]`` in the source's dtype; raises CloudError."""
    cloud.check()
    if not cloud.shape[0]:
        return np.empty((0, 0, sum(part.stop - part.first for part in wanted)), source.dtype)
    places = [cloud.place(part) for part in wanted]
    for place in places:
        if source.dtype == "int64" and place.kind.kind == "f":
            raise CloudError(f"the field {place.name!r} has floating values, which are no int64")
    found = _values(cloud, _runs(places), np.dtype(source.dtype), tally)
    if source.skip_nans and any(place.kind.kind == "f" for place in places):
        keep = ~np.isnan(found).any(axis=2)
        tally.change("skipped_points", int(np.count_nonzero(~keep)))
        found = found[keep][None]
    return found


def _values(cloud: Cloud, runs: Sequence[Place], dtype: np.dtype[Any], tally: Tally) -> NDArray[Any]:
    if len(runs) == 1 and runs[0].kind == dtype:
        return cloud.values(runs[0])
    found = np.empty((*cloud.shape, sum(run.size for run in runs)), dtype)
    at = 0
    for run in runs:
        part = found[:, :, at : at + run.size]
        at += run.size
        with np.errstate(invalid="ignore"):  # signalling NaN
            if np.can_cast(run.kind, dtype):
                part[:] = cloud.values(run)
            else:
                _narrow(cloud.values(run), part, run.name, tally)
    return found


def _narrow(values: NDArray[Any], place: NDArray[Any], name: str, tally: Tally) -> None:
    """Values as float32, those that change counted."""
    flat = np.ascontiguousarray(values, values.dtype.newbyteorder("=")).ravel()
    narrow, good = widened(pa.array(flat), pa.float32(), tally)
    if good is not None:
        raise CloudError(f"a value of the field {name!r} does not fit float32")
    place[:] = np.asarray(narrow.to_numpy()).reshape(place.shape)


@frozen(eq=False)
class Points:
    """A reader of the points of clouds."""

    messages: OfTopic
    source: PointsSource
    kind: Kind
    wanted: tuple[PointField, ...] = field()

    @classmethod
    def of(cls, messages: OfTopic, source: PointsSource) -> "Points":
        """The points of the clouds that ``messages`` gives."""
        wanted = tuple(map(parse_point_field, source.fields))
        size = sum(part.stop - part.first for part in wanted)
        shape = (-1, -1, size) if source.organized else (-1, size)
        return cls(messages, source, Kind(nest(shape, pa.from_numpy_dtype(np.dtype(source.dtype)))), wanted)

    @property
    def topics(self) -> tuple[str, ...]:
        """See Reader."""
        return self.messages.topics

    def read(self, rows: Rows, tally: Tally) -> Column:
        """See Reader."""
        column = self.messages.read(rows, tally)
        kept = np.ones(len(column.rows), np.bool_)
        found: list[NDArray[Any]] = []
        for k, cloud in enumerate(clouds(column.values)):
            try:
                found.append(points_of(cloud, self.source, self.wanted, tally))
            except CloudError as error:
                kept[k] = False
                tally.fail(column.rows[k : k + 1], str(error))
        return Column(column.rows[kept], self._column(found), column.filled[kept])

    def _column(self, found: Sequence[NDArray[Any]]) -> pa.Array:
        dtype = np.dtype(self.source.dtype)
        size = sum(part.stop - part.first for part in self.wanted)
        flat = np.concatenate([np.empty(0, dtype), *(each.ravel() for each in found)])
        points = pa.FixedSizeListArray.from_arrays(pa.array(flat), size)
        shapes: Int64s = np.array([each.shape[:2] for each in found], np.int64).reshape(-1, 2)
        height, width = shapes.T
        if not self.source.organized:
            return lists(points, height * width)
        return lists(lists(points, np.repeat(width, height)), height)


def clouds(messages: pa.StructArray) -> list[Cloud]:
    """The clouds of messages of which at least MEMBERS were decoded."""
    known = [member_of(messages, name).to_pylist() for name in MEMBERS if name != "data"]
    height, width, fields, bigendian, point_step, row_step = known
    data = views(member_of(messages, "data"))
    return [
        Cloud(*each)
        for each in zip(height, width, fields, map(bool, bigendian), point_step, row_step, data, strict=True)
    ]
