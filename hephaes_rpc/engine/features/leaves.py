"""The leaves of a message definition: every field that holds a value, with the path that a feature takes it by."""

from collections.abc import Iterator

from attrs import frozen

from hephaes_rpc.engine.features.sources import image_members
from hephaes_rpc.engine.messages.msgdef import STRINGS, TIMES, Definition, FieldType

HEADER = "std_msgs/msg/Header"
_IMAGE_WORDS = {"encoding", "format"}


@frozen
class Leaf:
    """One field.

    Args:
        path: As in a path source; ``[:]`` stands for the elements of an array of messages.
        type: Declared type; of a message type where the walk ended at its depth limit.
        owner: Message type that declares it.
        depth: Names in the path.
        spans: Arrays of messages above it.
        in_header: Whether it is part of a std_msgs/Header.
        is_image: Whether it is the data of an image message.
        is_cut: Whether the depth limit keeps what is below it from being listed.
    """

    path: str
    type: FieldType
    owner: str
    depth: int
    spans: int = 0
    in_header: bool = False
    is_image: bool = False
    is_cut: bool = False

    @property
    def name(self) -> str:
        """Last name of the path."""
        return self.path.rpartition(".")[2].removesuffix("[:]")

    @property
    def shape(self) -> list[int]:
        """Length per dimension as far as the definition says, -1 for any; byte arrays are values, not dimensions."""
        own = [] if not self.type.array or self.is_bytes else [self.type.size if self.type.array == "fixed" else -1]
        return [-1] * self.spans + own

    @property
    def is_bytes(self) -> bool:
        """Whether a value is a byte array."""
        return self.type.base == "uint8" and bool(self.type.array)

    @property
    def is_text(self) -> bool:
        """Whether its elements are text."""
        return self.type.base in STRINGS

    @property
    def is_time(self) -> bool:
        """Whether its elements are times or durations."""
        return self.type.base in TIMES


def leaves_of(definition: Definition, max_depth: int | None = None) -> Iterator[Leaf]:
    """The leaves in the order of the definition, messages without fields left out.

    Args:
        max_depth: Names that a path may have; a message whose fields lie deeper is a leaf itself.
    """
    if max_depth != 0:
        yield from _below(definition, definition.root, "", 0, 0, definition.root == HEADER, max_depth)


def _below(
    definition: Definition, base: str, prefix: str, depth: int, spans: int, in_header: bool, max_depth: int | None
) -> Iterator[Leaf]:
    message = definition.types[base]
    image = image_members(message)
    for member in message.fields:
        path = f"{prefix}.{member.name}" if prefix else member.name
        inner = definition.types.get(member.type.base)
        if inner is None:
            is_image = image is not None and member.name == "data" and not _IMAGE_WORDS.isdisjoint(image)
            yield Leaf(path, member.type, base, depth + 1, spans, in_header, is_image)
            continue
        below_header = in_header or inner.name == HEADER
        if max_depth is not None and depth + 1 >= max_depth:
            yield Leaf(path, member.type, base, depth + 1, spans, below_header, is_cut=True)
            continue
        array = 1 if member.type.array else 0
        mark = "[:]" if array else ""
        yield from _below(definition, inner.name, path + mark, depth + 1, spans + array, below_header, max_depth)
