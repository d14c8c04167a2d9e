"""The transforms of a feature, with their parameters."""

import math
from typing import Literal, TypeAlias

from attrs import field, frozen
from attrs.validators import ge, le, optional

CastType: TypeAlias = Literal["bytes", "bool", "int64", "float32", "float64", "json"]
Color: TypeAlias = Literal["gray", "rgb", "bgr", "rgba", "bgra"]
Filter: TypeAlias = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]


def _finite(_instance: object, _attribute: object, value: float | None) -> None:
    if value is not None and not math.isfinite(value):
        raise ValueError(f"must be a finite number: {value}")


def _divisor(_instance: object, _attribute: object, value: float) -> None:
    if not math.isfinite(value) or value == 0:
        raise ValueError(f"must be a finite number other than 0: {value}")


@frozen(kw_only=True)
class Cast:
    """Every element as another type: towards zero to integers, text parsed, text to bytes as UTF-8."""

    kind: Literal["cast"] = "cast"
    dtype: CastType


@frozen(kw_only=True)
class Length:
    """The length of a sequence checked (``exact``, ``min``, ``max``) or made (``pad_to``, ``truncate_to``).

    Args:
        pad_to: Padded with ``pad_value`` or cut to this length.
        truncate_to: Cut to this length, shorter ones kept.
    """

    kind: Literal["length"] = "length"
    exact: int | None = field(default=None, validator=optional(ge(0)))
    pad_to: int | None = field(default=None, validator=optional(ge(0)))
    truncate_to: int | None = field(default=None, validator=optional(ge(0)))
    pad_value: int | float = field(default=0, validator=_finite)
    min: int | None = field(default=None, validator=optional(ge(0)))
    max: int | None = field(default=None, validator=optional(ge(0)))


@frozen(kw_only=True)
class Clamp:
    """Numbers held between ``min`` and ``max``; NaN stays."""

    kind: Literal["clamp"] = "clamp"
    min: int | float | None = field(default=None, validator=_finite)
    max: int | float | None = field(default=None, validator=_finite)


@frozen(kw_only=True)
class Scale:
    """``(x - offset) * scale``."""

    kind: Literal["scale"] = "scale"
    scale: float = field(default=1.0, validator=_finite)
    offset: float = field(default=0.0, validator=_finite)


@frozen(kw_only=True)
class Normalize:
    """``(x - min) / (max - min)``, or ``(x - mean) / std / scale``."""

    kind: Literal["normalize"] = "normalize"
    min: int | float | None = field(default=None, validator=_finite)
    max: int | float | None = field(default=None, validator=_finite)
    mean: float | None = field(default=None, validator=_finite)
    std: float | None = field(default=None, validator=optional(_divisor))
    scale: float | None = field(default=None, validator=optional(_divisor))


@frozen(kw_only=True)
class OneHot:
    """A class number as ``depth`` zeros and a one."""

    kind: Literal["one_hot"] = "one_hot"
    depth: int = field(validator=ge(1))


@frozen(kw_only=True)
class MultiHot:
    """Class numbers as ``depth`` zeros and ones."""

    kind: Literal["multi_hot"] = "multi_hot"
    depth: int = field(validator=ge(1))


@frozen(kw_only=True)
class ImageColorConvert:
    """Channels of an image in another order or number.

    Args:
        from_: Colour of what comes in, ``from`` in a document; None is what the message says.
        channels: Of what comes in, where the message does not tell; ``height`` and ``width`` likewise.
    """

    kind: Literal["image_color_convert"] = "image_color_convert"
    from_: Color | None = field(default=None, metadata={"wire": "from"})
    to: Color
    channels: int | None = field(default=None, validator=optional(ge(1)))
    height: int | None = field(default=None, validator=optional(ge(1)))
    width: int | None = field(default=None, validator=optional(ge(1)))


@frozen(kw_only=True)
class ImageResize:
    """An image in another size, pixels."""

    kind: Literal["image_resize"] = "image_resize"
    width: int = field(validator=ge(1))
    height: int = field(validator=ge(1))
    filter: Filter = "bicubic"


@frozen(kw_only=True)
class ImageCrop:
    """A rectangle of an image, pixels from the left and the top."""

    kind: Literal["image_crop"] = "image_crop"
    left: int = field(default=0, validator=ge(0))
    top: int = field(default=0, validator=ge(0))
    width: int = field(validator=ge(1))
    height: int = field(validator=ge(1))


@frozen(kw_only=True)
class ImageDecode:
    """The pixels of an image or of an image file, ``[height, width, channels]``; depth images have one channel."""

    kind: Literal["image_decode"] = "image_decode"


@frozen(kw_only=True)
class ImageEncode:
    """An image as the bytes of a PNG or JPEG file; ``quality`` is JPEG's, 1 to 100, None is 75."""

    kind: Literal["image_encode"] = "image_encode"
    format: Literal["png", "jpeg"] = "png"
    quality: int | None = field(default=None, validator=optional([ge(1), le(100)]))


Transform: TypeAlias = (
    Cast
    | Length
    | Clamp
    | Scale
    | Normalize
    | OneHot
    | MultiHot
    | ImageColorConvert
    | ImageResize
    | ImageCrop
    | ImageDecode
    | ImageEncode
)
