"""The language of quality gates: ``"camera >= 28 Hz, gap < 200 ms"``.

    gate       = topic condition {"," condition}
    condition  = [measure] comparison number [unit]
    comparison = ">=" | "<=" | ">" | "<" | "=="

A topic is its name, or the end of it from a slash on where that is the end of one topic only; one with spaces stands in
double quotes; ``*`` is the whole log.  A condition without a measure is one of the rate, and needs its unit.  Numbers
of messages have no unit; ``%`` asks for their share.
"""

import re
from collections.abc import Callable, Mapping
from operator import eq, ge, gt, le, lt
from typing import Literal, TypeAlias

from attrs import frozen

from hephaes_rpc.serde import closest

Comparison: TypeAlias = Literal[">=", "<=", ">", "<", "=="]
Quantity: TypeAlias = Literal["rate", "time", "count", "score"]
COMPARE: Mapping[str, Callable[[float, float], bool]] = {">=": ge, "<=": le, ">": gt, "<": lt, "==": eq}
LOG = "*"


@frozen
class Measure:
    """What can be demanded.

    Args:
        noun: As it is said of a topic.
        has_share: ``%`` of the topic's messages may be demanded.
        needs_messages: It is not known from the index.
        of_log: Of the whole log, not of a topic.
    """

    quantity: Quantity
    noun: str
    has_share: bool = False
    needs_messages: bool = False
    of_log: bool = False


MEASURES: Mapping[str, Measure] = {
    "rate": Measure("rate", "a mean rate"),
    "gap": Measure("time", "a longest gap"),
    "jitter": Measure("time", "a jitter"),
    "missing": Measure("count", "missing messages", has_share=True),
    "messages": Measure("count", "messages"),
    "out_of_order": Measure("count", "messages out of order", has_share=True),
    "duplicates": Measure("count", "messages with the time of another", has_share=True),
    "late_start": Measure("time", "a late start"),
    "early_end": Measure("time", "an early end"),
    "decode_failures": Measure("count", "malformed messages", has_share=True, needs_messages=True),
    "sequence_drops": Measure("count", "messages lost by their numbers", has_share=True, needs_messages=True),
    "clock_offset": Measure("time", "a clock offset", needs_messages=True),
    "clock_jump": Measure("time", "a largest clock jump", needs_messages=True),
    "nonfinite": Measure("count", "messages with NaN or infinity", has_share=True, needs_messages=True),
    "frozen": Measure("time", "a longest freeze", needs_messages=True),
    "repeated": Measure("count", "repeated frames", has_share=True, needs_messages=True),
    "duration": Measure("time", "a duration", of_log=True),
    "score": Measure("score", "a score", needs_messages=True, of_log=True),
}
_TIMES = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9, "min": 60e9, "h": 3600e9}
_RATES = {"hz": 1.0, "khz": 1e3}
_UNITS: dict[Quantity, dict[str, float]] = {"rate": _RATES, "time": _TIMES, "count": {"": 1.0}, "score": {"": 1.0}}
_UNIT_NAMES: dict[Quantity, str] = {"rate": "Hz or kHz", "time": ", ".join(_TIMES), "count": "none", "score": "none"}

_TOPIC = re.compile(r'\s*(?:"(?P<quoted>[^"]+)"|(?P<plain>[^\s",<>=]+))')
_CONDITION = re.compile(
    r"\s*(?P<measure>[A-Za-z_]*)\s*(?P<comparison>>=|<=|==|>|<)\s*(?P<number>[0-9]+(?:\.[0-9]+)?)"
    r"\s*(?P<unit>[A-Za-z]+|%)?\s*(?P<end>,|$)"
)


@frozen
class Condition:
    """One demand: ``measure comparison value``, in Hz, ns, messages or points; a share where ``is_share`` (0 to 1)."""

    measure: str
    comparison: Comparison
    value: float
    is_share: bool
    demanded: str


@frozen
class Gate:
    """What is demanded of a topic, or of the log (``*``)."""

    topic: str
    conditions: tuple[Condition, ...]


class GateError(ValueError):
    """A gate that does not follow the language; ``guess`` is the nearest right word."""

    def __init__(self, message: str, guess: str | None = None) -> None:
        super().__init__(message)
        self.guess = guess


def parse_gate(text: str) -> Gate:
    """The gate that a text stands for; raises GateError."""
    found = _TOPIC.match(text)
    if found is None:
        raise GateError(f"{text!r} does not begin with a topic")
    topic = found["quoted"] or found["plain"]
    conditions = []
    place = found.end()
    while True:
        condition = _CONDITION.match(text, place)
        if condition is None:
            rest = text[place:].strip()
            what = f"{rest!r} is no condition" if rest else "a condition is missing"
            raise GateError(f"{text!r}: {what}; one is like 'gap < 200 ms'")
        conditions.append(_condition(text, topic, condition))
        place = condition.end()
        if not condition["end"]:
            return Gate(topic, tuple(conditions))


def _condition(text: str, topic: str, found: re.Match[str]) -> Condition:
    unit = (found["unit"] or "").lower()
    name = found["measure"].lower() or ("rate" if unit in _RATES else "")
    if not name:
        raise GateError(f"{text!r}: say what is measured by '{found[0].strip(' ,')}': {', '.join(MEASURES)}")
    if name not in MEASURES:
        guess = closest(name, list(MEASURES))
        hint = f"; did you mean {guess!r}?" if guess else f": there are {', '.join(MEASURES)}"
        raise GateError(f"{text!r}: nothing is measured as {found['measure']!r}{hint}", guess)
    measure = MEASURES[name]
    if (topic == LOG) != measure.of_log:
        whose = "of the whole log: its topic is '*'" if measure.of_log else "of a topic, not of the whole log"
        raise GateError(f"{text!r}: {name} is {whose}")
    is_share = unit == "%" and measure.has_share
    units = {"%": 0.01} if is_share else _UNITS[measure.quantity]
    if unit not in units:
        more = " or %" if measure.has_share else ""
        raise GateError(
            f"{text!r}: {name} has no unit {found['unit']!r}; its units are {_UNIT_NAMES[measure.quantity]}{more}"
            if unit
            else f"{text!r}: {name} needs a unit: {_UNIT_NAMES[measure.quantity]}"
        )
    number = float(found["number"])
    shown = f"{found['comparison']} {found['number']}{' ' * bool(unit)}{found['unit'] or ''}"
    comparison: Comparison = found["comparison"]  # type: ignore[assignment]
    return Condition(name, comparison, number * units[unit], is_share, shown)
