"""Which of many short texts hold a needle."""

from typing_extensions import Buffer

def find(text: Buffer, starts: Buffer, rows: Buffer, needle: Buffer, rarest: int, second: int, found: Buffer) -> None:
    """Set ``found[rows[i]]`` (uint8) where text i holds the needle.

    Args:
        text: uint8, the texts behind each other, apart by a byte that no needle holds.
        starts: int64[n], where each begins, ascending.
        rows: int32[n], what each is found as; out of range is nobody's.
        needle: uint8, not empty.
        rarest: Place of the needle's byte that occurs least.
        second: Place of the next one; the same where there is no other.
        found: uint8[rows].

    Raises:
        ValueError: ``starts`` and ``rows`` differ in length; ``rarest`` or ``second`` is outside the needle.
    """
