"""Labels: values of a feature, or of a source of their own, as class numbers.

Strategy: each distinct value of a batch is looked up once; a row costs an index.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from attrs import frozen
from numpy.typing import NDArray

from hephaes_rpc.engine.features.columns import BINARY, is_list, items, lengths, lists, sequence
from hephaes_rpc.engine.features.steps import CannotApplyError
from hephaes_rpc.engine.specs.spec import Labels
from hephaes_rpc.engine.timeline.plan import Int64s
from hephaes_rpc.errors import HephaesError

INT64 = pa.int64()
MAX_CLASSES = 1 << 20
MAX_SHOWN = 80


@frozen(eq=False)
class LabelColumn:
    """The label of each row from the value it is made of.

    Args:
        type: Of the labels: int64, or a list of them.
    """

    labels: Labels
    type: pa.DataType

    @classmethod
    def of(cls, labels: Labels, kind: pa.DataType) -> "LabelColumn":
        """Labels from values of type ``kind``; CannotApplyError where these cannot be labels."""
        source = f"feature {labels.primary!r}" if labels.primary is not None else "labels.source"
        scalar = pa.uint8() if kind == BINARY and labels.multi_label else kind
        if labels.multi_label:
            if not is_list(kind) and kind != BINARY:
                raise CannotApplyError(
                    f"labels.multi_label needs a list of classes; {source} has values of type {kind}"
                )
            scalar = kind.value_type if is_list(kind) else scalar
        if not (pa.types.is_integer(scalar) or pa.types.is_boolean(scalar) or pa.types.is_string(scalar)):
            raise CannotApplyError(f"labels must be integers, bools or text; {source} has values of type {kind}")
        if pa.types.is_string(scalar) and not labels.class_map:
            raise CannotApplyError(f"labels.class_map is missing: {source} has text, which is no class number")
        if not labels.multi_label:
            return cls(labels, INT64)
        if not labels.class_map:
            return cls(labels, pa.list_(INT64))
        depth = max(labels.class_map.values()) + 1
        if depth > MAX_CLASSES:
            raise CannotApplyError(
                f"labels.class_map has the class {depth - 1}; multi_label takes at most {MAX_CLASSES}"
            )
        return cls(labels, pa.list_(INT64, depth))

    def column(self, values: pa.Array, times: Int64s) -> pa.Array:
        """The labels of rows; null where there is no value.

        Args:
            times: int64 per row, ns, to name the row whose value has no class.
        """
        if not self.labels.multi_label:
            classes = _classes(self.labels.class_map, values, times)
            return classes if classes.type == INT64 else classes.cast(INT64)
        known = values.drop_null() if values.null_count else values
        known_times = times[_valid(values)] if values.null_count else times
        known = sequence(known)
        count = lengths(known)
        classes = _classes(self.labels.class_map, items(known), np.repeat(known_times, count))
        made = self._hot(classes, count) if self.labels.class_map else lists(classes, count)
        if not values.null_count:
            return made
        place = np.full(len(values), -1, np.int64)
        place[_valid(values)] = np.arange(len(known))
        return made.take(pa.array(place, mask=place < 0))

    def _hot(self, classes: pa.Array, count: Int64s) -> pa.Array:
        depth = self.type.list_size
        hot = np.zeros(len(count) * depth, np.int64)
        hot[np.repeat(np.arange(len(count)) * depth, count) + classes.to_numpy()] = 1
        return pa.FixedSizeListArray.from_arrays(pa.array(hot), depth)


def _valid(array: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False), np.bool_)


def _classes(class_map: Mapping[str, int], values: pa.Array, times: Int64s) -> pa.Array:
    """int64 per value; raises HephaesError for a value that is no class."""
    encoded = values.dictionary_encode()
    classes = [_class(class_map, value) for value in encoded.dictionary.to_pylist()]
    codes = encoded.indices
    for k, found in enumerate(classes):
        if found is None:
            value = encoded.dictionary[k].as_py()
            row = int(np.argmax(np.asarray(codes.fill_null(-1).to_numpy(zero_copy_only=False)) == k))
            shown = repr(value)[:MAX_SHOWN]
            what = f"labels.class_map has no class for {shown}" if class_map else f"the label {shown} exceeds 63 bits"
            raise HephaesError("bad_input", f"{what} (row at {int(times[row])} ns)", row_time_ns=int(times[row]))
    return pa.array(classes, INT64).take(codes)


def _class(class_map: Mapping[str, int], value: Any) -> int | None:
    if not class_map:
        return int(value) if int(value) < 2**63 else None
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, str) and value not in class_map and value.startswith('"'):  # JSON text of a string
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return None
    return class_map.get(str(value))
