"""The last steps of a feature: the declared shape and dtype.

Nothing is converted that is not meant: a float is no integer, a bool no number and text no bytes unless a cast says so.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from attrs import evolve

from hephaes_rpc.engine.features import images
from hephaes_rpc.engine.features.columns import (
    BINARY,
    UINT8,
    Part,
    binary,
    dims,
    fits,
    items,
    nest,
    rebuild,
    reshape,
    select,
)
from hephaes_rpc.engine.features.encodings import ImageError
from hephaes_rpc.engine.features.images import Picture
from hephaes_rpc.engine.features.jsontext import json_cells
from hephaes_rpc.engine.features.narrowing import widened
from hephaes_rpc.engine.features.pictures import PictureStep, pixel_doubles, pixel_integers, pixel_lists
from hephaes_rpc.engine.features.steps import FLOAT32, FLOAT64, INT64, ArrayStep, CannotApplyError, Kind, Step, Tally
from hephaes_rpc.engine.features.transforms import as_lists, listed, nanoseconds, over_numbers
from hephaes_rpc.engine.specs.spec import DType

NUMBERS = ("int64", "float32", "float64")
_STRING = pa.string()


def shape_steps(kind: Kind, shape: Sequence[int] | None, dtype: DType) -> list[Step]:
    """Steps that hold values to a shape, bytes counted; CannotApplyError where they never have it."""
    if kind.type is None:
        return _picture_shape(kind, shape, dtype)
    if shape is None:
        return []
    have, leaf = dims(kind.type)
    counts_bytes = leaf == BINARY and (len(shape) == len(have) + 1 or dtype in NUMBERS)
    if counts_bytes:
        have = (*have, kind.size or -1)
    if len(have) != len(shape):
        raise CannotApplyError(f"shape {list(shape)} has {len(shape)} dimensions, {kind} has {len(have)}")
    for k, (length, wanted) in enumerate(zip(have, shape, strict=True)):
        if length >= 0 and wanted >= 0 and length != wanted:
            raise CannotApplyError(f"dimension {k} has always {length} elements, never {wanted}")
    if not shape:
        return []
    outer = shape[:-1] if counts_bytes else shape
    byte_count = kind.size

    def move(values: pa.Array, _: Tally) -> Part:
        kept = fits(as_lists(values, byte_count) if counts_bytes else values, shape)
        return reshape(select(values, kept), outer), kept

    size = shape[-1] if counts_bytes and shape[-1] > 0 else kind.size
    result = evolve(kind, type=nest(outer, leaf), size=size)
    return [ArrayStep(result, move, f"the shape is not {list(shape)}")]


def _picture_shape(kind: Kind, shape: Sequence[int] | None, dtype: DType) -> list[Step]:
    """Images have a height, a width and channels; two dimensions mean one channel."""
    if shape is None:
        return []
    if len(shape) not in (2, 3):
        raise CannotApplyError(f"an image has 3 dimensions, or 2 without channels, not {len(shape)}")
    wanted = (shape[0], shape[1], shape[2] if len(shape) == 3 else 1)
    for size, expected in zip(kind.shape, wanted, strict=True):
        if size >= 0 and expected >= 0 and size != expected:
            raise CannotApplyError(f"the image is always {list(kind.shape)}, never {list(shape)}")

    def check(picture: Picture) -> Picture:
        picture = images.load(picture)
        assert picture.pixels is not None
        if any(expected not in (-1, size) for size, expected in zip(picture.pixels.shape, wanted, strict=True)):
            raise ImageError(f"the shape is not {list(shape)}")
        return picture

    steps: list[Step] = [PictureStep(Kind(None, shape=wanted), check)]
    if len(shape) == 2 and dtype != "bytes":
        steps += _pixels(steps[-1].kind, dtype)
        steps.append(_without_channels(steps[-1].kind))
    return steps


def _pixels(kind: Kind, dtype: DType) -> list[Step]:
    """Images as nested lists of numbers."""
    if dtype == "int64":
        return [pixel_integers(kind)]
    if dtype in NUMBERS:
        return [pixel_doubles(kind) if dtype == "float64" else pixel_lists(kind)]
    raise CannotApplyError(f"an image is no {dtype}; take dtype bytes, int64 or float32, or add image_encode")


def _without_channels(kind: Kind) -> Step:
    shape, leaf = dims(kind.type)

    def move(values: pa.Array, _: Tally) -> Part:
        rows = items(values)
        return rebuild(values, rebuild(rows, items(items(rows)))), None

    return ArrayStep(Kind(nest(shape[:2], leaf)), move)


def dtype_steps(kind: Kind, dtype: DType) -> list[Step]:
    """Steps to a dtype; strict, CannotApplyError says which transform would help."""
    if kind.type is None:
        if dtype == "bytes":
            return [PictureStep(Kind(BINARY), _pixel_bytes)]
        steps = _pixels(kind, dtype)
        return steps + dtype_steps(steps[-1].kind, dtype)
    if dtype == "native":
        return []
    if dtype == "json":
        return [] if kind.is_json else [ArrayStep(Kind(_STRING), lambda values, _: (json_cells(values), None))]
    if dtype == "bytes":
        return _to_bytes(kind)
    steps = []
    if kind.is_time and dtype != "bool":
        steps.append(nanoseconds(kind))
        kind = steps[-1].kind
    leaf = dims(listed(kind).type)[1]
    if dtype == "bool":
        if not pa.types.is_boolean(leaf):
            raise CannotApplyError(f"{kind} is no bool; add the transform cast to bool")
        return steps
    number = pa.types.is_integer(leaf) or (pa.types.is_floating(leaf) and dtype != "int64")
    if not number:
        raise CannotApplyError(f"{kind} is no {dtype}; add the transform cast to {dtype}")
    return [*steps, _to_numbers(kind, dtype)]


def _pixel_bytes(picture: Picture) -> bytes:
    pixels = images.load(picture).pixels
    assert pixels is not None
    return pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()


def _to_bytes(kind: Kind) -> list[Step]:
    shape, leaf = dims(kind.type)
    if leaf == BINARY:
        return []
    if leaf != UINT8 or not shape:
        raise CannotApplyError(f"{kind} is no bytes; add the transform cast to bytes")
    return [ArrayStep(Kind(nest(shape[:-1], BINARY)), lambda values, _: (binary(values), None))]


def _to_numbers(kind: Kind, dtype: DType) -> Step:
    if dtype == "int64":
        return over_numbers(kind, INT64, _exact_int64, "an integer does not fit int64")
    target = FLOAT32 if dtype == "float32" else FLOAT64
    return over_numbers(
        kind, target, lambda leaf, tally: widened(leaf, target, tally), f"a number does not fit {dtype}"
    )


def _exact_int64(leaf: pa.Array, _: Tally) -> Part:
    values = leaf.to_numpy()
    if values.dtype == np.int64:
        return leaf, None
    good = values <= np.uint64(2**63 - 1) if values.dtype == np.uint64 else np.ones(len(values), np.bool_)
    return pa.array(values.astype(np.int64)), None if good.all() else good
