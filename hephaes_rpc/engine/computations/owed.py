"""What a function gave, held to the columns that it owes: names, lengths, shapes, types, and no null anywhere."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from hephaes_rpc.engine.features.columns import nest

LEAVES: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "bytes": pa.binary(),
}


def type_of(dtype: str, shape: Sequence[int]) -> pa.DataType:
    """The Arrow type of a computed column; -1 is a dimension of any length."""
    return nest(shape, LEAVES[dtype])


def owed(given: Any, n_rows: int, outputs: Mapping[str, Mapping[str, Any]]) -> pa.RecordBatch:
    """The columns as they are written.

    Args:
        given: A mapping or a record batch (or table) of columns, or the one column where one is owed.
        n_rows: Values that each column has.
        outputs: Name -> ``dtype`` and ``shape``.

    Raises:
        ValueError, TypeError, ArrowException: Something else was given; the message says what.
    """
    columns = _columns(given, list(outputs))
    missing = [name for name in outputs if name not in columns]
    more = [name for name in columns if name not in outputs]
    if missing or more:
        said = [f"it gave no {', '.join(map(repr, missing))}"] if missing else []
        said += [f"{', '.join(map(repr, more))} is no output of it"] if more else []
        raise ValueError(" and ".join(said))
    arrays = [_column(name, columns[name], n_rows, **wanted) for name, wanted in outputs.items()]
    return pa.RecordBatch.from_arrays(arrays, list(outputs))


def _columns(given: Any, names: Sequence[str]) -> Mapping[str, Any]:
    if isinstance(given, Mapping):
        return given
    if isinstance(given, pa.RecordBatch | pa.Table):
        return {name: given.column(k) for k, name in enumerate(given.schema.names)}
    if len(names) == 1 and isinstance(given, pa.Array | pa.ChunkedArray | np.ndarray | list):
        return {names[0]: given}
    raise TypeError(f"it gave {type(given).__name__}, not a mapping of columns")


def _column(name: str, given: Any, n_rows: int, *, dtype: str, shape: Sequence[int]) -> pa.Array:
    wanted = type_of(dtype, shape)
    if isinstance(given, pa.ChunkedArray):
        given = given.combine_chunks()
    try:
        length = len(given)
    except TypeError:
        raise TypeError(f"{name!r} is {type(given).__name__}, not a column") from None
    if length != n_rows:
        raise ValueError(f"{name!r} has {length} values for {n_rows} rows")
    if isinstance(given, np.ndarray) and given.dtype != object:
        found = _of_numpy(name, given, dtype, shape)
    elif isinstance(given, pa.Array):
        if _leaf(given.type) != LEAVES[dtype] and not _widens(_leaf(given.type), dtype):
            raise TypeError(f"{name!r} is {given.type}, not {wanted}")
        found = given.cast(wanted)
    else:
        try:
            found = pa.array(list(given), wanted)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise TypeError(f"{name!r} is not {wanted}: {error}") from None
    if _has_null(found):
        raise ValueError(f"{name!r} has a null; every row needs a value")
    return found


def _of_numpy(name: str, given: Any, dtype: str, shape: Sequence[int]) -> pa.Array:
    have = given.shape[1:]
    if len(have) != len(shape) or any(wanted not in (-1, size) for size, wanted in zip(have, shape, strict=True)):
        raise ValueError(f"{name!r} has values of shape {list(have)}, not {list(shape)}")
    if dtype == "bytes":
        if given.dtype.kind != "S":
            raise TypeError(f"{name!r} is {given.dtype}, not bytes")
    elif given.dtype.kind not in {"bool": "b", "int64": "iu"}.get(dtype, "iuf"):
        raise TypeError(f"{name!r} is {given.dtype}, not {dtype}")
    elif dtype == "int64" and given.dtype == np.uint64 and given.size and int(given.max()) >= 1 << 63:
        raise ValueError(f"{name!r} has an integer that int64 does not hold")
    flat = np.ascontiguousarray(given).reshape(-1)
    found = pa.array(flat.tolist() if dtype == "bytes" else flat.astype(dtype), LEAVES[dtype])
    for depth in range(len(shape) - 1, -1, -1):
        if shape[depth] > 0:
            found = pa.FixedSizeListArray.from_arrays(found, shape[depth])
        else:
            n = int(np.prod(given.shape[: depth + 1], dtype=np.int64))
            found = pa.ListArray.from_arrays(np.arange(n + 1, dtype=np.int32) * have[depth], found)
    return found


def _leaf(kind: pa.DataType) -> pa.DataType:
    while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return kind


def _widens(leaf: pa.DataType, dtype: str) -> bool:
    """Whether values of an Arrow type are of the dtype as they are, as far as that can be told from types."""
    if dtype == "int64":
        return bool(pa.types.is_integer(leaf))
    if dtype in ("float32", "float64"):
        return bool(pa.types.is_integer(leaf) or pa.types.is_floating(leaf))
    return dtype == "bytes" and bool(pa.types.is_large_binary(leaf) or pa.types.is_fixed_size_binary(leaf))


def _has_null(array: pa.Array) -> bool:
    while True:
        if array.null_count:
            return True
        if pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type):
            array = array.flatten()
        else:
            return False
