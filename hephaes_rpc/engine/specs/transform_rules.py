"""The rules of transforms that need no log."""

from collections.abc import Iterator

from hephaes_rpc.engine.specs.issues import no_effect
from hephaes_rpc.engine.specs.transform_params import (
    Clamp,
    ImageColorConvert,
    ImageEncode,
    Length,
    Normalize,
    Scale,
    Transform,
)
from hephaes_rpc.serde import Issue, Path, shown

_CHANNELS = {"gray": 1, "rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4}


def transform_issues(path: Path, what: str, transform: Transform) -> Iterator[Issue]:
    """What is wrong with a transform, whatever it is given."""
    match transform:
        case Length():
            yield from _length(path, what, transform)
        case Clamp(min=None, max=None):
            yield Issue(path, f"{what}: neither min nor max is given", "min or max", "object")
        case Clamp(min=low, max=high) if low is not None and high is not None and low > high:
            yield Issue((*path, "max"), f"{what}: max {high} is less than min {low}", f"at least {low}", str(high))
        case Scale(scale=1, offset=0):
            yield Issue(path, f"{what}: it changes nothing", "scale or offset", "object")
        case Normalize():
            yield from _normalize(path, what, transform)
        case ImageColorConvert():
            if transform.from_ == transform.to:
                yield no_effect((*path, "to"), transform.to, f"{what}: from and to are the same", "another colour")
            if (transform.height is None) is not (transform.width is None):
                lacking = "height" if transform.height is None else "width"
                yield Issue((*path, lacking), f"{what}: height and width go together", "integer", "null")
            channels = _CHANNELS[transform.from_] if transform.from_ is not None else None
            if channels is not None and transform.channels not in (None, channels):
                message = f"{what}: {transform.from_} has {channels} channels, not {transform.channels}"
                yield Issue((*path, "channels"), message, str(channels), str(transform.channels))
        case ImageEncode(format="png", quality=quality) if quality is not None:
            yield no_effect((*path, "quality"), quality, f"{what}: quality has no effect with png")


def _length(path: Path, what: str, length: Length) -> Iterator[Issue]:
    given = [n for n in ("exact", "pad_to", "truncate_to", "min", "max") if getattr(length, n) is not None]
    if not given:
        yield Issue(path, f"{what}: no length is given", "exact, pad_to, truncate_to, min or max", "object")
    for fixing in ("exact", "pad_to"):
        if fixing in given:
            for name in given:
                if name != fixing:
                    message = f"{what}: {name} has no effect beside {fixing}"
                    yield no_effect((*path, name), getattr(length, name), message)
            break
    else:
        if length.min is not None and length.max is not None and length.min > length.max:
            message = f"{what}: max {length.max} is less than min {length.min}"
            yield Issue((*path, "max"), message, f"at least {length.min}", str(length.max))
        if length.truncate_to is not None and length.min is not None and length.min > length.truncate_to:
            message = f"{what}: min {length.min} is more than truncate_to {length.truncate_to} leaves"
            yield Issue((*path, "min"), message, f"at most {length.truncate_to}", str(length.min))
        if length.truncate_to is not None and length.max is not None and length.max >= length.truncate_to:
            yield no_effect((*path, "max"), length.max, f"{what}: max has no effect beside truncate_to")
    if length.pad_value and (length.pad_to is None or length.exact is not None):
        yield no_effect((*path, "pad_value"), length.pad_value, f"{what}: pad_value has no effect without pad_to")


def _normalize(path: Path, what: str, normalize: Normalize) -> Iterator[Issue]:
    bounds = [name for name in ("min", "max") if getattr(normalize, name) is not None]
    moments = [name for name in ("mean", "std", "scale") if getattr(normalize, name) is not None]
    if not bounds and not moments:
        yield Issue(path, f"{what}: nothing is given", "min and max, or mean, std or scale", "object")
    if len(bounds) == 1:
        lacking = "max" if bounds == ["min"] else "min"
        yield Issue((*path, lacking), f"{what}: min and max go together", "number", "null")
    if len(bounds) == 2 and normalize.min == normalize.max:
        yield Issue((*path, "max"), f"{what}: min and max are equal", "another number", shown(normalize.max))
    for name in moments if bounds else ():
        yield no_effect((*path, name), getattr(normalize, name), f"{what}: {name} has no effect beside min and max")
