"""How findings and gates say numbers."""

from hephaes_rpc.engine.quality.thresholds import NS_PER_MS, NS_PER_S


def duration(ns: float) -> str:
    """``83.3 ms``, ``2.5 s``, ``3 h``: three digits, with a unit that suits."""
    size = abs(ns)
    for unit, factor in (("ns", 1), ("us", 1e3), ("ms", NS_PER_MS)):
        if size < 1000 * factor:
            return f"{ns / factor:.3g} {unit}"
    for unit, length in (("days", 86_400), ("h", 3600)):
        if size >= 2 * length * NS_PER_S:
            return f"{ns / NS_PER_S / length:,.1f} {unit}"
    return f"{ns / NS_PER_S:.3g} s" if size < 1000 * NS_PER_S else f"{ns / NS_PER_S:,.0f} s"


def rate(hz: float) -> str:
    """``29.9 Hz``."""
    return f"{hz:.3g} Hz"


def share(part: float) -> str:
    """``0.12 %``."""
    return f"{100 * part:.0f} %" if part >= 0.1 else f"{100 * part:.2g} %"


def counted(n: int, noun: str) -> str:
    """``1 message``, ``2,000 messages``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
