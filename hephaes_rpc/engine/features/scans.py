"""Beams of laser scans (sensor_msgs/LaserScan) as columns, all beams of a batch at once.

Sources: sensor_msgs/LaserScan (angles, limits of ranges); REP 117 (-inf is too near, inf is nothing found, NaN is no
measurement).
"""

import numpy as np
import pyarrow as pa
from attrs import frozen
from numpy.typing import NDArray

from hephaes_rpc.engine.features.columns import items, lengths, lists, nest, numbers, select
from hephaes_rpc.engine.features.readers import OfTopic, Rows, member_of
from hephaes_rpc.engine.features.steps import FLOAT32, Column, Kind, Tally
from hephaes_rpc.engine.messages.msgdef import FLOATS, Definition
from hephaes_rpc.engine.specs.message_sources import ScanSource

_LIMITS, _ANGLES = ("range_min", "range_max"), ("angle_min", "angle_increment")


def is_scan(definition: Definition) -> bool:
    """Whether messages are laser scans."""
    kinds = {member.name: member.type for member in definition.types[definition.root].fields}
    names = (*_LIMITS, *_ANGLES, "ranges", "intensities")
    return all(
        name in kinds and kinds[name].base in FLOATS and bool(kinds[name].array) == (name in ("ranges", "intensities"))
        for name in names
    )


def scan_members(source: ScanSource) -> tuple[str, ...]:
    """The members of a scan that a source reads."""
    wanted = ["ranges"]
    if source.out_of_range != "keep":
        wanted += _LIMITS
    if {"angle", "x", "y"} & set(source.fields):
        wanted += _ANGLES
    return (*wanted, *(["intensities"] if "intensity" in source.fields else []))


@frozen(eq=False)
class Scans:
    """A reader of the beams of scans."""

    messages: OfTopic
    source: ScanSource

    @property
    def kind(self) -> Kind:
        """See Reader."""
        return Kind(nest((-1, len(self.source.fields)), FLOAT32))

    @property
    def topics(self) -> tuple[str, ...]:
        """See Reader."""
        return self.messages.topics

    def read(self, rows: Rows, tally: Tally) -> Column:
        """See Reader."""
        column = self.messages.read(rows, tally)
        kept = None
        if "intensity" in self.source.fields:
            same = lengths(member_of(column.values, "intensities")) == lengths(member_of(column.values, "ranges"))
            kept = None if same.all() else same
        values = self._beams(select(column.values, kept), tally)
        return column.keep(values, kept, tally, "the scan has not as many intensities as ranges")

    def _beams(self, scans: pa.StructArray, tally: Tally) -> pa.Array:
        ranges = member_of(scans, "ranges")
        count = lengths(ranges)
        row = np.repeat(np.arange(len(scans)), count)
        distance = numbers(items(ranges)).astype(np.float64)
        keep = np.ones(len(row), np.bool_)
        if self.source.out_of_range != "keep":
            low, high = (numbers(member_of(scans, name)).astype(np.float64)[row] for name in _LIMITS)
            good = (distance >= low) & (distance <= high)
            tally.change("out_of_range", int(np.count_nonzero(~good)))
            match self.source.out_of_range:
                case "nan":
                    distance = np.where(good, distance, np.nan)
                case "clamp":
                    distance = np.minimum(np.maximum(distance, low), high)
                case "skip":
                    keep = good
        found = self._values(scans, row, count, distance)[keep]
        points = pa.FixedSizeListArray.from_arrays(pa.array(found.ravel()), len(self.source.fields))
        return lists(points, np.bincount(row[keep], minlength=len(scans)))

    def _values(
        self, scans: pa.StructArray, row: NDArray[np.int64], count: NDArray[np.int64], distance: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        known: dict[str, NDArray[np.float64]] = {"range": distance}
        if "intensity" in self.source.fields:
            known["intensity"] = numbers(items(member_of(scans, "intensities")))
        if {"angle", "x", "y"} & set(self.source.fields):
            first, step = (numbers(member_of(scans, name)).astype(np.float64)[row] for name in _ANGLES)
            number = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
            with np.errstate(all="ignore"):
                angle = first + number * step
                known |= {"angle": angle, "x": distance * np.cos(angle), "y": distance * np.sin(angle)}
        with np.errstate(all="ignore"):
            return np.stack([known[name].astype(np.float32) for name in self.source.fields], axis=1)
