"""Image transforms as steps over columns, one picture after the other."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from attrs import evolve, field, frozen

from hephaes_rpc.engine.features import images
from hephaes_rpc.engine.features.columns import BINARY, Int64s, dims, lists, nest
from hephaes_rpc.engine.features.encodings import COLORS, MAX_PIXELS, ImageError
from hephaes_rpc.engine.features.images import Picture
from hephaes_rpc.engine.features.narrowing import widened
from hephaes_rpc.engine.features.steps import FLOAT32, FLOAT64, INT64, CannotApplyError, Column, Kind, Step, Tally
from hephaes_rpc.engine.specs.transform_params import (
    ImageColorConvert,
    ImageCrop,
    ImageDecode,
    ImageEncode,
    ImageResize,
)


@frozen(eq=False)
class PictureStep:
    """A step over pictures; ``change`` gives a picture or bytes, or raises ImageError.

    Rows that follow each other often take the same message: what its picture has become is not worked out again.
    """

    kind: Kind
    change: Callable[[Picture], Any]

    def apply(self, column: Column, tally: Tally) -> Column:
        """See Step."""
        done: list[Any] = []
        kept = np.ones(len(column.rows), np.bool_)
        last: Picture | None = None
        for k, picture in enumerate(column.values):
            try:
                done.append(done[-1] if last is not None and _same(picture, last) else self.change(picture))
                last = picture
            except ImageError as error:
                kept[k], last = False, None
                tally.fail(column.rows[k : k + 1], str(error))
        values = done if self.kind.type is None else pa.array(done, self.kind.type)
        return Column(column.rows[kept], values, column.filled[kept])


def _same(one: Picture, other: Picture) -> bool:
    """Whether two pictures are the same to the byte; ones whose pixels have been changed only where they are one."""
    if one is other or one.data is None or other.data is None or len(one.data) != len(other.data):
        return one is other
    told = [(p.encoding, p.height, p.width, p.step, p.bigendian, p.color, p.pixels is None) for p in (one, other)]
    if told[0] != told[1] or one.pixels is not None:
        return False
    return bool(np.array_equal(np.frombuffer(one.data, np.uint8), np.frombuffer(other.data, np.uint8)))


def bind_image(
    transform: ImageColorConvert | ImageResize | ImageCrop | ImageDecode | ImageEncode, kind: Kind
) -> list[Step]:
    steps: list[Step] = []
    if kind.type is not None:
        if kind.type != BINARY:
            raise CannotApplyError(f"{transform.kind} needs an image, not {kind}")
        steps.append(_PicturesOfBytes())
        kind = steps[-1].kind
    height, width, channels = kind.shape
    match transform:
        case ImageEncode(format=format_, quality=quality):
            steps.append(
                PictureStep(Kind(BINARY, encoded=True), lambda picture: images.encode(picture, format_, quality))
            )
        case ImageDecode():
            steps.append(PictureStep(Kind(None, shape=kind.shape), images.load))
        case ImageColorConvert(to=to):
            shape = (height, width, len(COLORS[to]))
            steps.append(PictureStep(Kind(None, shape=shape), _converter(transform)))
        case ImageResize(width=new_width, height=new_height, filter=method):
            if new_width * new_height > MAX_PIXELS:
                raise CannotApplyError(f"image_resize makes more than {MAX_PIXELS} pixels")
            shape = (new_height, new_width, channels)
            steps.append(
                PictureStep(
                    Kind(None, shape=shape), lambda picture: images.resize(picture, new_width, new_height, method)
                )
            )
        case ImageCrop(left=left, top=top, width=part_width, height=part_height):
            if 0 <= height <= top or 0 <= width <= left:
                raise CannotApplyError(f"image_crop lies outside an image of {width} x {height}")
            shape = (
                min(part_height, height - top) if height >= 0 else -1,
                min(part_width, width - left) if width >= 0 else -1,
                channels,
            )
            steps.append(
                PictureStep(
                    Kind(None, shape=shape), lambda picture: images.crop(picture, left, top, part_width, part_height)
                )
            )
    return steps


def _converter(convert: ImageColorConvert) -> Callable[[Picture], Picture]:
    source, channels, height, width = (
        convert.from_ or "",
        convert.channels or 0,
        convert.height or 0,
        convert.width or 0,
    )

    def change(picture: Picture) -> Picture:
        return images.convert_color(images.load(picture, source, channels, height, width), convert.to)

    return change


@frozen(eq=False)
class _PicturesOfBytes:
    """Bytes of which no message says anything, as pictures."""

    kind: Kind = field(factory=lambda: Kind(None))

    def apply(self, column: Column, tally: Tally) -> Column:  # noqa: ARG002  (nothing can fail here)
        """See Step."""
        return evolve(column, values=[Picture(data) for data in views(column.values)])


def views(values: pa.Array) -> list[memoryview]:
    """Views of binary values."""
    buffers = values.buffers()
    if not len(values):
        return []
    offsets = np.frombuffer(buffers[1], np.int32, count=len(values) + 1, offset=values.offset * 4).tolist()
    data = memoryview(buffers[2] or b"")
    return [data[start:stop] for start, stop in pairwise(offsets)]


def pixel_lists(kind: Kind) -> Step:
    """Pictures as nested lists of float32, which holds every pixel of 8 and 16 bits exactly; others are counted."""
    return _PixelLists(Kind(nest(kind.shape, FLOAT32)), FLOAT32)


def pixel_doubles(kind: Kind) -> Step:
    """Pictures as nested lists of float64, which holds every pixel exactly."""
    return _PixelLists(Kind(nest(kind.shape, FLOAT64)), FLOAT64)


def pixel_integers(kind: Kind) -> Step:
    """Pictures as nested lists of int64; those of floats fail."""
    return _PixelLists(Kind(nest(kind.shape, INT64)), INT64)


@frozen(eq=False)
class _PixelLists:
    kind: Kind
    leaf: pa.DataType

    def apply(self, column: Column, tally: Tally) -> Column:
        """See Step."""

        def pixels(picture: Picture) -> Any:
            found = images.load(picture).pixels
            assert found is not None
            if self.leaf == INT64 and found.dtype.kind == "f":
                raise ImageError("image has floating pixels")
            if np.can_cast(found.dtype, dtype):
                return found.astype(dtype)
            values, good = widened(pa.array(found.ravel()), self.leaf, tally)
            if good is not None:
                raise ImageError(f"a pixel does not fit {self.leaf}")
            return np.asarray(values.to_numpy()).reshape(found.shape)

        dtype = self.leaf.to_pandas_dtype()
        arrays = PictureStep(Kind(None), pixels).apply(column, tally)
        flat = [array.ravel() for array in arrays.values]
        leaf = pa.array(np.concatenate(flat) if flat else np.empty(0, dtype), self.leaf)
        shapes = np.array([array.shape for array in arrays.values], np.int64).reshape(-1, 3)
        assert self.kind.type is not None
        return evolve(arrays, values=_nested(leaf, shapes, dims(self.kind.type)[0]))


def _nested(leaf: pa.Array, shapes: Int64s, wanted: Sequence[int]) -> pa.Array:
    """Lists of lists of lists of these shapes (int64[m, 3]), fixed where ``wanted`` says a size."""
    height, width, channels = shapes.T
    rows = np.repeat(np.arange(len(shapes)), height)
    pixels = np.repeat(rows, width[rows])
    inner = leaf
    for length, size in ((channels[pixels], wanted[2]), (width[rows], wanted[1]), (height, wanted[0])):
        inner = pa.FixedSizeListArray.from_arrays(inner, size) if size > 0 else lists(inner, length)
    return inner
