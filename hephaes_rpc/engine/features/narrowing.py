"""Numbers as floats, with those that change counted."""

from typing import Any

import numpy as np
import pyarrow as pa

from hephaes_rpc.engine.features.columns import Flags, Part, numbers
from hephaes_rpc.engine.features.steps import Tally


def widened(leaf: pa.Array, kind: pa.DataType, tally: Tally) -> Part:
    """Numbers as float32 or float64; values that change are counted, finite ones that become infinite fail."""
    values = numbers(leaf)
    dtype = np.dtype(kind.to_pandas_dtype())
    if values.dtype == dtype:
        return leaf, None
    with np.errstate(over="ignore"):
        result = values.astype(dtype)
    if values.dtype.kind == "f":
        if values.dtype.itemsize < dtype.itemsize:
            return pa.array(result), None
        good = np.isfinite(result) | ~np.isfinite(values)
        changed = (result.astype(values.dtype) != values) & (values == values) & good
    else:
        good = np.ones(len(values), np.bool_)
        changed = _integers_changed(values, result)
    tally.change("narrowed", int(np.count_nonzero(changed)))
    return pa.array(result), None if good.all() else good


def _integers_changed(values: Any, result: Any) -> Flags:
    """Which integers a float cannot hold exactly."""
    exact = 2 ** (np.finfo(result.dtype).nmant + 1)
    if values.dtype == np.bool_ or np.iinfo(values.dtype).max <= exact:
        return np.zeros(len(values), np.bool_)
    size = np.abs(values.astype(np.int64)).view(np.uint64) if values.dtype.kind == "i" else values.astype(np.uint64)
    lowest_bit = np.maximum(size & (~size + np.uint64(1)), np.uint64(1))
    return np.asarray(size // lowest_bit >= exact, np.bool_)
