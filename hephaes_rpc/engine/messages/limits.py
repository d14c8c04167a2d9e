"""What a definition may be at most, checked for definitions that are not made of text."""

from hephaes_rpc.engine.messages.msgdef import BASES, MAX_DEPTH, MAX_LEAVES, TIMES, Definition
from hephaes_rpc.errors import LogError


def check_limits(definition: Definition, shown: str) -> None:
    """Raise LogError where types contain themselves, nest too deep or expand to too many columns; linear time."""
    known: dict[str, tuple[int, int]] = {}
    path: list[str] = []

    def measure(name: str) -> tuple[int, int]:
        if name in path:
            raise LogError("unsupported", f"{shown}: {name[:200]} contains itself")
        if len(path) > MAX_DEPTH:
            raise LogError("bad_input", f"{shown}: messages are nested deeper than the limit of {MAX_DEPTH}")
        if name not in known:
            path.append(name)
            depth = leaves = 0
            for member in definition.types[name].fields:
                base = member.type.base
                below, count = (0, 2 if base in TIMES else 1) if base in BASES else measure(base)
                depth, leaves = max(depth, below + (base not in BASES)), leaves + count
                if leaves > MAX_LEAVES:
                    raise LogError("bad_input", f"{shown}: more than {MAX_LEAVES:,} leaf columns, the limit")
            path.pop()
            known[name] = depth, max(leaves, 1)
        if len(path) + known[name][0] > MAX_DEPTH:
            raise LogError("bad_input", f"{shown}: messages are nested deeper than the limit of {MAX_DEPTH}")
        return known[name]

    measure(definition.root)
