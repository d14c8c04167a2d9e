"""How much the tests try: in every run what finds a mistake soon, with ``HEPHAES_SLOW=1`` all there is."""

import os

THOROUGH = bool(os.environ.get("HEPHAES_SLOW"))
FEW = 30


def examples(n: int) -> int:
    """How many examples hypothesis draws where ``n`` are wanted: a quarter, and ``FEW`` at least, unless thorough."""
    return n if THOROUGH else max(n // 4, min(n, FEW))
