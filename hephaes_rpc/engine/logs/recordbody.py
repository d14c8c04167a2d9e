"""The body of one MCAP record, for the library's parsers."""

from io import BytesIO

from mcap.data_stream import ReadDataStream
from mcap.exceptions import EndOfFile


class RecordBody(ReadDataStream):
    """The bytes of one record as the library's parsers read them; what is not there is EndOfFile."""

    def __init__(self, body: bytes | memoryview) -> None:
        super().__init__(BytesIO(body))

    def read(self, length: int) -> bytes:
        data = super().read(length)
        if len(data) != length:
            raise EndOfFile
        return data
