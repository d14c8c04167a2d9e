"""Every message of a log, read and counted: what the index alone cannot vouch for.

Strategy: each chunk that the index names is decompressed, its checksum compared, its messages walked.  The first chunk
that is damaged, or holds other messages than the index lists, makes the log rebuild its index from the content; then
counting starts again.  A message is known by 64 bits of hash, so memory is 8 bytes per message.
"""

import numpy as np
from attrs import frozen

from hephaes_rpc.engine.logs.base import LogReader, Progress
from hephaes_rpc.errors import LogError


@frozen
class Counted:
    """Messages read, and how many of them differ in stream, times or payload."""

    messages: int
    distinct: int


def count_messages(log: LogReader, progress: Progress) -> Counted:
    """Read the whole log; ``log.summary`` tells afterwards what was lost.

    Args:
        progress: Called with chunks done and chunks in all; what it raises ends the work.
    """
    try:
        return _count(log, progress)
    except LogError:
        log.rescan()
        return _count(log, progress)


def _count(log: LogReader, progress: Progress) -> Counted:
    slots = log.slots(log.summary.streams)
    chunks = np.unique(log.index(slots).chunk).tolist()
    hashes = np.empty(log.summary.message_count, np.uint64)
    n = 0
    for done, i in enumerate(chunks):
        progress(done, len(chunks))
        data, walk = log.messages(i, slots)
        slot = np.repeat(np.arange(len(walk.bounds) - 1), np.diff(walk.bounds))
        columns = (slot, walk.log_time, walk.publish_time, walk.offset, walk.length)
        for k, log_time, publish_time, start, length in zip(*(column.tolist() for column in columns), strict=True):
            payload = bytes(data[start : start + length])
            hashes[n] = hash((k, log_time, publish_time, payload)) & 0xFFFF_FFFF_FFFF_FFFF
            n += 1
    return Counted(n, len(np.unique(hashes[:n])))
