"""Messages that a library decodes one by one: rows of Python values, turned into an Arrow array at the end."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hephaes_rpc.engine.messages.picking import REASONS, MisfitError

ROW_BYTES = 64
"""What a row counts for beside its payload."""


class RowDecoder:
    """Collects rows."""

    replaced_strings = 0

    def __init__(self, arrow_type: pa.StructType, row: Callable[[bytes], Any], first_code: int) -> None:
        """``first_code``: the status of the first of REASONS."""
        self._type, self._row = arrow_type, row
        self._codes = {reason: first_code + k for k, reason in enumerate(REASONS)}
        self._rows: list[Any] = []
        self.nbytes = 0

    def feed(self, data: bytes | memoryview, offset: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.uint8]:
        """As ``StreamDecoder.feed``."""
        status = np.zeros(len(offset), np.uint8)
        view = memoryview(data)
        for k, (start, size) in enumerate(zip(offset.tolist(), length.tolist(), strict=True)):
            if start < 0 or size < 0 or start + size > len(view):
                raise ValueError(f"payload {k} lies outside the data")
            try:
                self._rows.append(self._row(bytes(view[start : start + size])))
                self.nbytes += size + ROW_BYTES
            except MisfitError as error:
                status[k] = self._codes[error.reason]
        return status

    def take(self) -> pa.StructArray:
        """As ``StreamDecoder.take``."""
        rows, self._rows, self.nbytes = self._rows, [], 0
        return pa.array(rows, self._type)
