"""Strategies for the Arrow types that decoding makes, with values of them; and array shapes a writer must cope with."""

import math
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
NUMBERS = [pa.type_for_alias(name) for name in (*INTEGERS, "float32", "float64", "bool")]
NAMES = st.sampled_from(["a", "b", "data", "format", "height", "width", "encoding", "present"])


def kinds(depth: int = 3) -> st.SearchStrategy[pa.DataType]:
    """A type at most ``depth`` levels deep."""
    flat = st.sampled_from([*NUMBERS, pa.string(), pa.binary()])
    if not depth:
        return flat
    inner = kinds(depth - 1)
    lists = inner.filter(lambda kind: kind != pa.uint8())
    return flat | structs(depth) | lists.map(pa.list_) | st.tuples(lists, st.integers(1, 3)).map(lambda p: pa.list_(*p))


def structs(depth: int = 3) -> st.SearchStrategy[pa.DataType]:
    """A struct of one to three members."""
    members = st.dictionaries(NAMES, kinds(depth - 1), min_size=1, max_size=3)
    return members.map(lambda chosen: pa.struct(list(chosen.items())))


def values(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Values of a type, none of them null."""
    if pa.types.is_struct(kind):
        return st.fixed_dictionaries({member.name: values(member.type) for member in kind})
    if pa.types.is_fixed_size_list(kind):
        return st.lists(values(kind.value_type), min_size=kind.list_size, max_size=kind.list_size)
    if pa.types.is_list(kind):
        return st.lists(values(kind.value_type), max_size=3)
    if pa.types.is_string(kind):
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
    if pa.types.is_binary(kind):
        return st.binary(max_size=4)
    if pa.types.is_boolean(kind):
        return st.booleans()
    if pa.types.is_floating(kind):
        return st.floats(width=kind.bit_width) | st.sampled_from([math.nan, math.inf, -0.0, 1e-40])
    bits = kind.bit_width
    signed = str(kind).startswith("int")
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


@st.composite
def arrays(draw: st.DrawFn, *, nulls: bool = True, depth: int = 3, max_size: int = 6) -> pa.StructArray:
    """A struct array, nulls only at its top, often a slice of a longer one."""
    kind = draw(structs(depth))
    rows = draw(st.lists((st.none() | values(kind)) if nulls else values(kind), max_size=max_size))
    first = draw(st.integers(0, len(rows)))
    last = draw(st.integers(first, len(rows)))
    return pa.array(rows, kind)[first:last]
