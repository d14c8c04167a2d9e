"""Paths into messages, compiled against a message definition.

Strategy: the steps that ``spec.parse_path`` reads are resolved once, over the definition, never over a value: names are
fields of the type at hand, indices and spans need an array.  What a path means over a column of messages is then a
walk over Arrow arrays.  A span opens a dimension and later steps apply to each of its elements.  Selections for
decoding are widened to whole stamps and quaternions, which interpolation cannot blend in parts.
"""

from collections.abc import Sequence

import pyarrow as pa
from attrs import frozen

from hephaes_rpc.engine.features.columns import Part, both, element, items, of_items, span, span_size
from hephaes_rpc.engine.messages.msgdef import TIMES, Definition, FieldType
from hephaes_rpc.engine.specs.spec import Span, Step, parse_path
from hephaes_rpc.engine.timeline.blend import QUATERNION
from hephaes_rpc.serde import closest


@frozen
class FieldPath:
    """A path that exists.

    Args:
        text: In its plain form; empty for the whole message.
        end: Declared type of what it leads to; of the elements where a span opened a dimension.
        selection: Dotted names that must be decoded; None is the whole message.
        in_spans: Whether a span opened a dimension.
    """

    text: str
    steps: tuple[Step, ...]
    end: FieldType
    selection: str | None
    in_spans: bool

    def extract(self, messages: pa.StructArray) -> Part:
        """The values under messages (no nulls), and which messages have one (None: all)."""
        return _walk(messages, self.steps)


def compile_path(text: str | None, definition: Definition) -> FieldPath:
    """The path in messages of this definition; raises ValueError with the nearest name for what does not exist."""
    return compile_steps(parse_path(text) if text else (), definition)


def compile_steps(steps: tuple[Step, ...], definition: Definition) -> FieldPath:
    """As ``compile_path`` for steps that are parsed."""
    end = FieldType(definition.root)
    names: list[str] = []
    in_spans = entered = False
    whole = False
    for k, step in enumerate(steps):
        if in_spans and not entered:
            end, entered = FieldType(end.base, end.string_bound), True
        so_far = _shown(steps[:k])
        if isinstance(step, str):
            whole = whole or end.base in TIMES or end.base == QUATERNION
            end = _member(end, step, definition, so_far)
            if not whole:
                names.append(step)
        elif not end.array:
            raise ValueError(f"{so_far or 'the message'} is no array ({end.base}), {_shown((step,))} cannot apply")
        elif isinstance(step, Span):
            end, in_spans, entered = _spanned(end, step, so_far), True, False
        else:
            _check_index(end, step, so_far)
            end = FieldType(end.base, end.string_bound)
    return FieldPath(_shown(steps), steps, end, ".".join(names) or None, in_spans)


def _member(end: FieldType, name: str, definition: Definition, so_far: str) -> FieldType:
    place = so_far or definition.root
    if end.array:
        raise ValueError(f"{place} is an array: add an index or [:] before .{name}")
    if end.base in TIMES:
        kinds = {"sec": FieldType("int32"), "nanosec": FieldType("uint32")}
    elif end.base in definition.types:
        kinds = {member.name: member.type for member in definition.types[end.base].fields}
    else:
        raise ValueError(f"{place} is a value of type {end.base} and has no field {name!r}")
    if name not in kinds:
        guess = closest(name, list(kinds))
        hint = f"; did you mean {guess!r}?" if guess else f"; it has {', '.join(kinds)}" if kinds else ""
        raise ValueError(f"{end.base} has no field {name!r}{hint}")
    return kinds[name]


def _spanned(end: FieldType, step: Span, so_far: str) -> FieldType:
    if end.array == "fixed":
        size = span_size(end.size, step.start, step.stop)
        if not size:
            raise ValueError(f"{so_far}{_shown((step,))} is always empty: the array has {end.size} elements")
        return FieldType(end.base, end.string_bound, "fixed", size)
    if (
        step.start is not None
        and step.stop is not None
        and (step.start < 0) == (step.stop < 0)
        and (step.stop <= step.start)
    ):
        raise ValueError(f"{so_far}{_shown((step,))} is always empty")
    return FieldType(end.base, end.string_bound, "unbounded")


def _check_index(end: FieldType, index: int, so_far: str) -> None:
    if end.array in ("fixed", "bounded") and not -end.size <= index < end.size:
        most = "at most " if end.array == "bounded" else ""
        raise ValueError(f"{so_far}[{index}] does not exist: the array has {most}{end.size} elements")


def _shown(steps: Sequence[Step]) -> str:
    """Steps as they are written."""
    text = ""
    for step in steps:
        if isinstance(step, str):
            text += f".{step}" if text else step
        elif isinstance(step, Span):
            ends = ["" if end is None else str(end) for end in step]
            text += f"[{ends[0]}:{ends[1]}]"
        else:
            text += f"[{step}]"
    return text


def _walk(array: pa.Array, steps: Sequence[Step]) -> Part:
    kept = None
    for k, step in enumerate(steps):
        if isinstance(step, str):
            array = array.field(array.type.get_field_index(step))
        elif isinstance(step, Span):
            array = span(array, step.start, step.stop)
            if rest := steps[k + 1 :]:
                array, more = of_items(array, _walk(items(array), rest))
                return array, both(kept, more)
        else:
            array, more = element(array, step)
            kept = both(kept, more)
    return array, kept
