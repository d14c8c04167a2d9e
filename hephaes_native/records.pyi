"""Native walk of record bytes: MCAP data sections and chunks, ROS1 bag chunks."""

import numpy as np
from numpy.typing import NDArray

STATUS_NAMES: tuple[str, ...]

class Walk:
    """Messages of one chunk, grouped by slot, in file order inside a slot.

    ``log_time``, ``publish_time`` (ns), ``offset``, ``length`` (bytes, of the payload inside the walked data) are
    int64[n]; ``bounds`` is int64[n_slots + 1].  ``messages`` counts all messages seen, selected or not.  ``status`` is 0 or
    a code of STATUS_NAMES, ``stop`` the byte where the walk ended.
    """

    log_time: NDArray[np.int64]
    publish_time: NDArray[np.int64]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    bounds: NDArray[np.int64]
    messages: int
    status: int
    stop: int
