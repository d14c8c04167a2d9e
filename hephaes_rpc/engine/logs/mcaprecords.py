"""The records of an MCAP file that say what its messages are, of which no length is believed.

Format: https://mcap.dev/spec.
"""

import struct
from typing import NamedTuple, Self

_UINT16 = struct.Struct("<H")
_UINT32 = struct.Struct("<I")
_UINT64 = struct.Struct("<Q")


class RecordCutError(Exception):
    """A record ends before its last field."""


class _Fields:
    """Reads the fields of a record one after the other."""

    def __init__(self, body: bytes) -> None:
        self._body, self.at = body, 0

    def number(self, kind: struct.Struct) -> int:
        return int(kind.unpack(self._take(kind.size))[0])

    def data(self) -> bytes:
        return self._take(self.number(_UINT32))

    def text(self) -> str:
        return self.data().decode()

    def texts(self) -> dict[str, str]:
        end = self.number(_UINT32) + self.at
        found = {}
        while self.at < end:
            key = self.text()
            found[key] = self.text()
        return found

    def skip(self, n_bytes: int) -> None:
        self._take(n_bytes)

    def _take(self, n_bytes: int) -> bytes:
        begin, end = self.at, self.at + n_bytes
        if end > len(self._body):
            raise RecordCutError
        self.at = end
        return self._body[begin:end]


class Header(NamedTuple):
    """Who wrote the file."""

    profile: str
    library: str

    @classmethod
    def read(cls, body: bytes) -> Self:
        """From a record's body; raises RecordCutError, UnicodeDecodeError."""
        fields = _Fields(body)
        return cls(fields.text(), fields.text())


class Schema(NamedTuple):
    """A definition of messages."""

    id: int
    name: str
    encoding: str
    data: bytes

    @classmethod
    def read(cls, body: bytes) -> Self:
        """From a record's body; raises RecordCutError, UnicodeDecodeError."""
        fields = _Fields(body)
        return cls(fields.number(_UINT16), fields.text(), fields.text(), fields.data())


class Channel(NamedTuple):
    """A stream of messages; ``schema_id`` 0 is none."""

    id: int
    schema_id: int
    topic: str
    message_encoding: str
    metadata: dict[str, str]

    @classmethod
    def read(cls, body: bytes) -> Self:
        """From a record's body; raises RecordCutError, UnicodeDecodeError."""
        fields = _Fields(body)
        return cls(fields.number(_UINT16), fields.number(_UINT16), fields.text(), fields.text(), fields.texts())


class Statistics(NamedTuple):
    """How many messages the writer counted, in all and by channel."""

    message_count: int
    channel_message_counts: dict[int, int]

    @classmethod
    def read(cls, body: bytes) -> Self:
        """From a record's body; raises RecordCutError."""
        fields = _Fields(body)
        message_count = fields.number(_UINT64)
        fields.skip(2 + 4 * 4 + 2 * 8)  # numbers of schemas, channels, attachments, metadata, chunks; the two times
        end = fields.number(_UINT32) + fields.at
        counts = {}
        while fields.at < end:
            channel_id = fields.number(_UINT16)
            counts[channel_id] = fields.number(_UINT64)
        return cls(message_count, counts)
