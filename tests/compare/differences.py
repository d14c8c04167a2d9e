"""What may differ from the reference, and why: the closed list behind docs/reference-differences.md."""

from collections.abc import Iterable, Mapping

from attrs import frozen


@frozen
class Difference:
    """A reason why values or whole runs differ.

    Args:
        traps: Ids of the weaknesses of the reference that it comes from; empty for a decision of ours.
        reference: What the reference does.
        ours: What is done here.
        error: What the reference says where it makes no dataset.
    """

    traps: str
    reference: str
    ours: str
    error: str = ""


# Explained value by value: ``comparison`` computes what each reason says.
VALUES: Mapping[str, Difference] = {
    "type name": Difference(
        "P-16",
        "every message of a JSON payload, nested ones too, has a member `__msgtype__`",
        "the type stands in the file's metadata, never in rows",
    ),
    "constants": Difference(
        "",
        "the constants of a message definition become members of every payload",
        "constants belong to the definition",
    ),
    "not a number": Difference(
        "P-07",
        "NaN and infinities are `null` in Parquet, as if absent",
        "they are values; null is absence",
    ),
    "byte list": Difference(
        "S-05, P-08",
        "`uint8[]` is a list of numbers: JSON in Parquet, int64 with a length key in TFRecord",
        "one binary value of the same bytes",
    ),
    "byte sign": Difference(
        "",
        "`byte` of ROS 2 is signed",
        "unsigned, as an IDL `octet` is",
    ),
    "empty message": Difference(
        "",
        "a message without members is an empty object, or shows the filler byte that CDR puts there",
        "a struct with one member `present`, as Parquet needs one",
    ),
    "integer held": Difference(
        "P-03, P-04",
        "interpolation blends integers and bools into floats",
        "they keep the earlier value",
    ),
    "bytes held": Difference(
        "P-05",
        "interpolation blends byte arrays, and with them images, into lists of floats",
        "they keep the earlier value",
    ),
    "stamp": Difference(
        "P-03",
        "interpolation blends `sec` and `nanosec` apart, into times that never were",
        "a stamp is blended as one integer of nanoseconds",
    ),
    "rotation": Difference(
        "",
        "interpolation blends quaternions member by member, off the unit sphere",
        "slerp, the short way round",
    ),
    "declared width": Difference(
        "P-10",
        "a blended float32, and a float64 that a feature declares float32, keep the digits of a float64",
        "rounded once, to the declared width",
    ),
    "list of lists": Difference(
        "",
        "TFRecord holds lists of lists as JSON text, with the digits of a float64",
        "numbers of an Example like all others: float32, or exact bytes where the spec says `float64: bytes`",
    ),
    "digits": Difference(
        "",
        "a float32 of an array inside JSON has the fewest digits that name it among float32",
        "the digits of its exact value",
    ),
    "one instant": Difference(
        "A-04",
        "of several messages recorded in one instant, interpolation towards it takes the first, from it the last",
        "always the last recorded",
    ),
}

# The reference makes no dataset; we do.
RUNS: Mapping[str, Difference] = {
    "image sequence": Difference(
        "P-05",
        "interpolated images cannot be written to TFRecord: the run ends",
        "images are held, and written",
        error="image data sequence must only contain integer uint8 values",
    ),
    "unreadable definition": Difference(
        "O-07",
        "one definition that cannot be parsed (a service's, say) makes the whole log unreadable",
        "its topic is left out, with a warning; the others are converted",
        error="Could not parse",
    ),
    "other profile": Difference(
        "",
        "a log of JSON or Protobuf messages, or of a recorder that is not ROS, cannot be read",
        "it is converted like any other",
        error="Profile is not ros2",
    ),
}


def run_reason(error: str) -> str | None:
    """The reason for an error of the reference."""
    return next((name for name, difference in RUNS.items() if difference.error in error), None)


def table(differences: Iterable[tuple[str, Difference]]) -> list[str]:
    """Markdown."""
    lines = ["| what | hephaes 0.3.0 | here | traps |", "| --- | --- | --- | --- |"]
    for name, difference in differences:
        lines.append(f"| {name} | {difference.reference} | {difference.ours} | {difference.traps} |")
    return lines
