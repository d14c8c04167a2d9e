"""Native walk of record bytes: MCAP data sections and chunks, ROS1 bag files and chunks.

Strategy: one cursor function per container steps from record to record and says what it found; everything else is
written once against it.  A walk passes twice over the same bytes, once to count and once to fill arrays of exactly that
size, so nothing grows and no hostile count is ever allocated for: an array is as long as records were really seen.
Every length is compared with the bytes left before it is used, in unsigned 64-bit arithmetic that cannot wrap.  The
record that stops a walk is not part of its result; ``stop`` is its first byte, ``status`` the reason.  Places of
payloads are compared with the data again before these are touched: a caller may have brought other data.

Formats: https://mcap.dev/spec, http://wiki.ros.org/Bags/Format/2.0.
"""

from cpython cimport array
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

import array as _array
import zlib as _zlib

cdef extern from "crc32.h" nogil:
    void hz_init()
    int hz_hardware
    uint32_t hz_update(uint32_t state, const uint8_t* data, size_t n)

hz_init()
CRC_IN_HARDWARE = bool(hz_hardware)

cdef enum:
    OK = 0
    TRUNCATED = 1
    INVALID_OPCODE = 2
    SHORT_RECORD = 3
    TIME_RANGE = 4
    FOREIGN = 5

STATUS_NAMES = (
    "ok",
    "a record is longer than the bytes left",
    "a record has an invalid opcode",
    "a record is shorter than its fixed fields",
    "a log time is beyond 2^63-1 ns",
    "a record has no place here",
)

# What a cursor found; a negative result is the negated status.
cdef enum:
    END = 0
    MESSAGE = 1
    DEFINITION = 2
    INDEX = 3
    OTHER = 4

cdef enum:
    MCAP_HEADER = 0x01
    MCAP_FOOTER = 0x02
    MCAP_SCHEMA = 0x03
    MCAP_CHANNEL = 0x04
    MCAP_MESSAGE = 0x05
    MCAP_CHUNK = 0x06
    MCAP_MESSAGE_INDEX = 0x07
    MCAP_DATA_END = 0x0F

cdef enum:
    BAG_MESSAGE = 0x02
    BAG_HEADER = 0x03
    BAG_INDEX = 0x04
    BAG_CHUNK = 0x05
    BAG_CHUNK_INFO = 0x06
    BAG_CONNECTION = 0x07

cdef enum:
    MCAP_RECORD_HEAD = 9
    MCAP_MESSAGE_HEAD = 22
    MCAP_INDEX_ENTRY = 16
    BAG_INDEX_ENTRY = 12

cdef uint64_t MAX_TIME = 0x7FFFFFFFFFFFFFFF

cdef struct Record:
    int64_t connection
    uint64_t log_time
    uint64_t publish_time
    Py_ssize_t start       # first byte of the record
    Py_ssize_t offset      # first byte of the payload, or of the index entries
    Py_ssize_t length      # bytes of the payload, or of the index entries
    bint malformed         # an index record whose content contradicts itself

ctypedef int (*Cursor)(const uint8_t* data, Py_ssize_t size, Py_ssize_t* at, Record* record) noexcept nogil

cdef array.array _INT64 = _array.array("q"), _INT32 = _array.array("i"), _UINT32 = _array.array("I")


cdef inline uint16_t load16(const uint8_t* p) noexcept nogil:
    cdef uint16_t value
    memcpy(&value, p, 2)
    return value


cdef inline uint32_t load32(const uint8_t* p) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, p, 4)
    return value


cdef inline uint64_t load64(const uint8_t* p) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, p, 8)
    return value


# MCAP ---------------------------------------------------------------------------------------------------------------

cdef int mcap_next(const uint8_t* data, Py_ssize_t size, Py_ssize_t* at, Record* record) noexcept nogil:
    """Step over one record of a data section or chunk; chunks, footers and ends are FOREIGN."""
    cdef Py_ssize_t start = at[0]
    cdef uint8_t opcode
    cdef uint64_t length
    if start == size:
        return END
    opcode = data[start]
    if opcode == 0:
        return -INVALID_OPCODE
    if opcode == MCAP_CHUNK or opcode == MCAP_FOOTER or opcode == MCAP_DATA_END or opcode == MCAP_HEADER:
        return -FOREIGN
    if size - start < MCAP_RECORD_HEAD:
        return -TRUNCATED
    length = load64(data + start + 1)
    if length > <uint64_t> (size - start - MCAP_RECORD_HEAD):
        return -TRUNCATED
    record.start = start
    at[0] = start + MCAP_RECORD_HEAD + <Py_ssize_t> length
    if opcode == MCAP_MESSAGE:
        return mcap_message(data + start + MCAP_RECORD_HEAD, length, record)
    if opcode == MCAP_SCHEMA or opcode == MCAP_CHANNEL:
        return DEFINITION
    if opcode == MCAP_MESSAGE_INDEX:
        return mcap_index_head(data + start + MCAP_RECORD_HEAD, length, record)
    return OTHER


cdef inline int mcap_message(const uint8_t* body, uint64_t length, Record* record) noexcept nogil:
    if length < MCAP_MESSAGE_HEAD:
        return -SHORT_RECORD
    record.connection = load16(body)
    record.log_time = load64(body + 6)
    record.publish_time = load64(body + 14)
    if record.log_time > MAX_TIME:
        return -TIME_RANGE
    if record.publish_time > MAX_TIME:
        record.publish_time = MAX_TIME
    record.offset = record.start + MCAP_RECORD_HEAD + MCAP_MESSAGE_HEAD
    record.length = <Py_ssize_t> (length - MCAP_MESSAGE_HEAD)
    return MESSAGE


cdef inline int mcap_index_head(const uint8_t* body, uint64_t length, Record* record) noexcept nogil:
    cdef uint32_t entry_bytes = 0
    record.malformed = length < 6
    if not record.malformed:
        record.connection = load16(body)
        entry_bytes = load32(body + 2)
        record.malformed = entry_bytes > length - 6 or entry_bytes % MCAP_INDEX_ENTRY != 0
    record.offset = record.start + MCAP_RECORD_HEAD + 6
    record.length = 0 if record.malformed else <Py_ssize_t> entry_bytes
    return INDEX


cdef int mcap_top_next(const uint8_t* data, Py_ssize_t size, Py_ssize_t* at, Record* record) noexcept nogil:
    """As ``mcap_next`` for what lies between chunks: a message is FOREIGN too."""
    if at[0] < size and data[at[0]] == MCAP_MESSAGE:
        return -FOREIGN
    return mcap_next(data, size, at, record)


# Bag ----------------------------------------------------------------------------------------------------------------

cdef struct BagHead:
    int opcode             # -1 where the field is missing
    int64_t connection
    int64_t count
    int64_t version
    int64_t seconds
    int64_t nanoseconds


cdef int bag_head(const uint8_t* data, Py_ssize_t size, BagHead* head) noexcept nogil:
    """Read the fields that matter of a record header; non-zero where a field runs over its end."""
    cdef Py_ssize_t at = 0
    cdef uint32_t length
    cdef const uint8_t* field
    head.opcode = -1
    head.connection = head.count = head.version = head.seconds = head.nanoseconds = -1
    while at < size:
        if size - at < 4:
            return TRUNCATED
        length = load32(data + at)
        at += 4
        if length > <uint64_t> (size - at):
            return TRUNCATED
        field = data + at
        at += length
        if length == 4 and memcmp(field, b"op=", 3) == 0:
            head.opcode = field[3]
        elif length == 9 and memcmp(field, b"conn=", 5) == 0:
            head.connection = load32(field + 5)
        elif length == 13 and memcmp(field, b"time=", 5) == 0:
            head.seconds = load32(field + 5)
            head.nanoseconds = load32(field + 9)
        elif length == 10 and memcmp(field, b"count=", 6) == 0:
            head.count = load32(field + 6)
        elif length == 8 and memcmp(field, b"ver=", 4) == 0:
            head.version = load32(field + 4)
    return OK


cdef int bag_record(
    const uint8_t* data, Py_ssize_t size, Py_ssize_t at, BagHead* head, Record* record
) noexcept nogil:
    """Frame the record at ``at``; a chunk's data need not be there."""
    cdef uint32_t head_length, length
    cdef int status
    if size - at < 4:
        return TRUNCATED
    head_length = load32(data + at)
    if head_length == 0:
        return INVALID_OPCODE
    if <uint64_t> head_length + 8 > <uint64_t> (size - at):
        return TRUNCATED
    status = bag_head(data + at + 4, head_length, head)
    if status != OK or head.opcode < 0:
        return INVALID_OPCODE
    if head.opcode == BAG_CHUNK:
        return FOREIGN
    length = load32(data + at + 4 + head_length)
    record.start = at
    record.offset = at + 8 + head_length
    if length > <uint64_t> (size - record.offset):
        return TRUNCATED
    record.length = length
    return OK


cdef int bag_next(const uint8_t* data, Py_ssize_t size, Py_ssize_t* at, Record* record) noexcept nogil:
    """Step over one record of a chunk: messages and connections only."""
    cdef BagHead head
    cdef int status
    if at[0] == size:
        return END
    status = bag_record(data, size, at[0], &head, record)
    if status != OK:
        return -status
    if head.opcode == BAG_MESSAGE:
        if head.connection < 0 or head.seconds < 0:
            return -SHORT_RECORD
        record.connection = head.connection
        record.log_time = <uint64_t> (head.seconds * 1000000000 + head.nanoseconds)
        record.publish_time = record.log_time
    elif head.opcode != BAG_CONNECTION:
        return -FOREIGN
    at[0] = record.offset + record.length
    return MESSAGE if head.opcode == BAG_MESSAGE else DEFINITION


cdef int bag_top_next(const uint8_t* data, Py_ssize_t size, Py_ssize_t* at, Record* record) noexcept nogil:
    """Step over one record between chunks; a message is FOREIGN."""
    cdef BagHead head
    cdef int status
    if at[0] == size:
        return END
    status = bag_record(data, size, at[0], &head, record)
    if status != OK:
        return -status
    if head.opcode == BAG_MESSAGE:
        return -FOREIGN
    at[0] = record.offset + record.length
    if head.opcode == BAG_INDEX:
        record.connection = head.connection
        record.malformed = (
            head.version != 1
            or head.connection < 0
            or head.count < 0
            or head.count > record.length // BAG_INDEX_ENTRY
        )
        record.length = 0 if record.malformed else <Py_ssize_t> head.count * BAG_INDEX_ENTRY
        return INDEX
    if head.opcode == BAG_CONNECTION or head.opcode == BAG_CHUNK_INFO:
        return DEFINITION
    return OTHER


# Walks --------------------------------------------------------------------------------------------------------------

cdef class Walk:
    """Messages of one chunk, grouped by slot, in file order inside a slot."""

    cdef readonly object log_time, publish_time, offset, length, bounds, definitions
    cdef readonly Py_ssize_t messages, stop
    cdef readonly int status


cdef class Entries:
    """Messages, or index entries, in the order of the bytes."""

    cdef readonly object connection, log_time, offset, definitions
    cdef readonly Py_ssize_t malformed, stop
    cdef readonly int status


cdef object zeros(Py_ssize_t n, array.array kind=_INT64):
    return array.clone(kind, n, zero=n > 0)  # an empty array has no bytes, not even for memset


cdef Walk walk(const uint8_t[::1] data, const int32_t[::1] slots, Cursor cursor):
    cdef Walk result = Walk()
    cdef const uint8_t* bytes_ = &data[0] if data.shape[0] else NULL
    cdef Py_ssize_t size = data.shape[0], n_ids = slots.shape[0], i, total = 0
    cdef int32_t n_slots = 0
    for i in range(n_ids):
        n_slots = max(n_slots, slots[i] + 1)
    result.bounds = zeros(<Py_ssize_t> n_slots + 1)
    cdef int64_t[::1] bounds = result.bounds
    cdef int64_t[::1] fill = zeros(<Py_ssize_t> n_slots + 1)
    cdef Py_ssize_t n_definitions = 0
    with nogil:
        count(bytes_, size, slots, cursor, bounds, &n_definitions, result)
        for i in range(n_slots):
            bounds[i + 1] += bounds[i]
            fill[i] = bounds[i]
        total = bounds[n_slots]
    result.log_time, result.publish_time, result.offset, result.length = [zeros(total) for _ in range(4)]
    result.definitions = zeros(n_definitions)
    cdef int64_t[::1] log_time = result.log_time, publish_time = result.publish_time
    cdef int64_t[::1] offset = result.offset, length = result.length, definitions = result.definitions
    with nogil:
        fill_walk(
            bytes_, result.stop, slots, cursor, bounds, fill, log_time, publish_time, offset, length, definitions
        )
    return result


cdef inline int32_t slot_of(int64_t connection, const int32_t[::1] slots) noexcept nogil:
    return slots[connection] if connection < slots.shape[0] else -1


cdef void count(
    const uint8_t* data, Py_ssize_t size, const int32_t[::1] slots, Cursor cursor,
    int64_t[::1] bounds, Py_ssize_t* n_definitions, Walk result,
) noexcept nogil:
    """Count into ``bounds[slot + 1]``."""
    cdef Record record
    cdef Py_ssize_t at = 0
    cdef int found, slot
    result.messages = 0
    while True:
        result.stop = at
        found = cursor(data, size, &at, &record)
        if found <= 0:
            break
        if found == MESSAGE:
            result.messages += 1
            slot = slot_of(record.connection, slots)
            if slot >= 0:
                bounds[slot + 1] += 1
        elif found == DEFINITION:
            n_definitions[0] += 1
    result.status = -found


cdef void fill_walk(
    const uint8_t* data, Py_ssize_t size, const int32_t[::1] slots, Cursor cursor,
    const int64_t[::1] bounds, int64_t[::1] fill, int64_t[::1] log_time, int64_t[::1] publish_time,
    int64_t[::1] offset, int64_t[::1] length, int64_t[::1] definitions,
) noexcept nogil:
    """Fill what ``count`` made room for; bytes that change in between cannot make it write beyond."""
    cdef Record record
    cdef Py_ssize_t at = 0, n_definitions = 0, row
    cdef int found, slot
    while True:
        found = cursor(data, size, &at, &record)
        if found <= 0:
            return
        if found == MESSAGE:
            slot = slot_of(record.connection, slots)
            if slot < 0 or slot >= bounds.shape[0] - 1 or fill[slot] >= bounds[slot + 1]:
                continue
            row = fill[slot]
            fill[slot] += 1
            log_time[row] = <int64_t> record.log_time
            publish_time[row] = <int64_t> record.publish_time
            offset[row] = record.offset
            length[row] = record.length
        elif found == DEFINITION and n_definitions < definitions.shape[0]:
            definitions[n_definitions] = record.start
            n_definitions += 1


cdef inline int32_t narrow(int64_t offset) noexcept nogil:
    """The nearest int32: no chunk has more bytes."""
    return <int32_t> min(max(offset, <int64_t> INT32_MIN), <int64_t> INT32_MAX)


cdef Entries scan(const uint8_t[::1] data, Cursor cursor, Py_ssize_t entry_bytes):
    """Messages (``entry_bytes`` 0) or index entries of the given size."""
    cdef Entries result = Entries()
    cdef const uint8_t* bytes_ = &data[0] if data.shape[0] else NULL
    cdef Py_ssize_t size = data.shape[0], n_entries = 0, n_definitions = 0
    with nogil:
        count_entries(bytes_, size, cursor, entry_bytes, &n_entries, &n_definitions, result)
    result.connection, result.offset = zeros(n_entries, _UINT32), zeros(n_entries, _INT32)
    result.log_time, result.definitions = zeros(n_entries), zeros(n_definitions)
    cdef uint32_t[::1] connection = result.connection
    cdef int32_t[::1] offset = result.offset
    cdef int64_t[::1] log_time = result.log_time, definitions = result.definitions
    with nogil:
        fill_entries(bytes_, result.stop, cursor, entry_bytes, connection, log_time, offset, definitions)
    return result


cdef void count_entries(
    const uint8_t* data, Py_ssize_t size, Cursor cursor, Py_ssize_t entry_bytes,
    Py_ssize_t* n_entries, Py_ssize_t* n_definitions, Entries result,
) noexcept nogil:
    cdef Record record
    cdef Py_ssize_t at = 0
    cdef int found
    result.malformed = 0
    while True:
        result.stop = at
        record.malformed = False
        found = cursor(data, size, &at, &record)
        if found <= 0:
            break
        if found == DEFINITION:
            n_definitions[0] += 1
        elif found == MESSAGE:
            n_entries[0] += 1
        elif found == INDEX and entry_bytes:
            n_entries[0] += record.length // entry_bytes
            result.malformed += record.malformed
    result.status = -found


cdef void fill_entries(
    const uint8_t* data, Py_ssize_t size, Cursor cursor, Py_ssize_t entry_bytes,
    uint32_t[::1] connection, int64_t[::1] log_time, int32_t[::1] offset, int64_t[::1] definitions,
) noexcept nogil:
    """Times beyond 2^63-1 come out negative."""
    cdef Record record
    cdef Py_ssize_t at = 0, row = 0, n_definitions = 0, i
    cdef const uint8_t* entry
    cdef int found
    while True:
        found = cursor(data, size, &at, &record)
        if found <= 0:
            return
        if found == DEFINITION and n_definitions < definitions.shape[0]:
            definitions[n_definitions] = record.start
            n_definitions += 1
        elif found == MESSAGE and row < connection.shape[0]:
            connection[row] = <uint32_t> record.connection
            log_time[row] = <int64_t> record.log_time
            offset[row] = narrow(record.start)
            row += 1
        elif found == INDEX and entry_bytes:
            for i in range(min(record.length // entry_bytes, connection.shape[0] - row)):
                entry = data + record.offset + i * entry_bytes
                connection[row] = <uint32_t> record.connection
                if entry_bytes == MCAP_INDEX_ENTRY:
                    log_time[row] = <int64_t> load64(entry)
                    offset[row] = narrow(<int64_t> load64(entry + 8))
                else:
                    log_time[row] = <int64_t> load32(entry) * 1000000000 + load32(entry + 4)
                    offset[row] = narrow(load32(entry + 8))
                row += 1


def walk_mcap(const uint8_t[::1] data not None, const int32_t[::1] slots not None):
    """The messages of an MCAP chunk or of a run of loose records whose channel has a slot."""
    return walk(data, slots, mcap_next)


def walk_bag(const uint8_t[::1] data not None, const int32_t[::1] slots not None):
    """The messages of a bag chunk whose connection has a slot."""
    return walk(data, slots, bag_next)


def scan_mcap(const uint8_t[::1] data not None):
    """All messages of an MCAP chunk or of a run of loose records, in file order."""
    return scan(data, mcap_next, 0)


def scan_bag(const uint8_t[::1] data not None):
    """All messages of a bag chunk, in file order."""
    return scan(data, bag_next, 0)


def index_mcap(const uint8_t[::1] data not None):
    """Message index entries of the records between MCAP chunks; stops at the next chunk, message or end."""
    return scan(data, mcap_top_next, MCAP_INDEX_ENTRY)


def index_bag(const uint8_t[::1] data not None):
    """Index entries of the records between bag chunks; stops at the next chunk."""
    return scan(data, bag_top_next, BAG_INDEX_ENTRY)


# Runs ---------------------------------------------------------------------------------------------------------------

cdef class Runs:
    """Entries that follow each other with the same connection, as one."""

    cdef readonly object connection, length
    cdef readonly bint ascending
    cdef readonly int64_t least_time, greatest_time
    cdef readonly int32_t least_offset, greatest_offset


def runs_of(
    const uint32_t[::1] connection not None, const int64_t[::1] log_time not None, const int32_t[::1] offset not None
):
    """The runs of entries."""
    cdef Runs result = Runs()
    cdef Py_ssize_t n = connection.shape[0], n_runs = n > 0, i, run = 0, begin = 0
    if log_time.shape[0] != n or offset.shape[0] != n:
        raise ValueError("connections, times and offsets differ in number")
    with nogil:
        for i in range(1, n):
            n_runs += connection[i] != connection[i - 1]
    result.connection, result.length = zeros(n_runs, _UINT32), zeros(n_runs)
    cdef uint32_t[::1] connections = result.connection
    cdef int64_t[::1] lengths = result.length
    cdef int64_t least_time = INT64_MAX, greatest_time = INT64_MIN
    cdef int32_t least_offset = INT32_MAX, greatest_offset = INT32_MIN
    cdef bint ascending = True
    with nogil:
        for i in range(n):
            least_time, greatest_time = min(least_time, log_time[i]), max(greatest_time, log_time[i])
            least_offset, greatest_offset = min(least_offset, offset[i]), max(greatest_offset, offset[i])
            if i + 1 < n and connection[i + 1] == connection[i]:
                ascending &= offset[i + 1] > offset[i]
            elif run < n_runs:
                connections[run], lengths[run] = connection[i], i + 1 - begin
                run, begin = run + 1, i + 1
    result.ascending = ascending
    result.least_time, result.greatest_time = least_time, greatest_time
    result.least_offset, result.greatest_offset = least_offset, greatest_offset
    return result


def spread(
    const int64_t[::1] log_time not None, const int32_t[::1] offset not None,
    const int64_t[::1] length not None, const int64_t[::1] place not None,
    int64_t[::1] times not None, int32_t[::1] offsets not None,
):
    """Copy runs that follow each other, ``length`` entries each, to where each has its place."""
    cdef Py_ssize_t n_runs = length.shape[0], n = min(log_time.shape[0], offset.shape[0]), i, at = 0
    cdef Py_ssize_t room = min(times.shape[0], offsets.shape[0])
    if place.shape[0] != n_runs:
        raise ValueError(f"{n_runs} runs but {place.shape[0]} places")
    for i in range(n_runs):
        if not lies_inside(at, length[i], n) or not lies_inside(place[i], length[i], room):
            raise ValueError(f"run {i} lies outside the entries, or its place outside the room")
        if length[i]:
            memcpy(&times[place[i]], &log_time[at], length[i] * sizeof(int64_t))
            memcpy(&offsets[place[i]], &offset[at], length[i] * sizeof(int32_t))
        at += length[i]


def lists(
    const int64_t[::1] runs not None, const int64_t[::1] run_start not None, const uint32_t[::1] connection not None,
    const int64_t[::1] times not None, const int32_t[::1] slots not None,
    const int64_t[::1] bounds not None, const int64_t[::1] time not None,
):
    """Whether a slot's messages are those of the one run that has it."""
    cdef Py_ssize_t n = runs.shape[0], n_runs = min(run_start.shape[0] - 1, connection.shape[0])
    cdef Py_ssize_t n_slots = bounds.shape[0] - 1, i, run, slot
    cdef int64_t begin, length, listed = 0
    cdef uint8_t[::1] seen
    if n_slots < 0 or bounds[0] != 0 or bounds[n_slots] != time.shape[0]:
        return False
    seen = bytearray(n_slots)
    for i in range(n):
        run = runs[i]
        if not 0 <= run < n_runs:
            raise ValueError(f"there is no run {run}")
        slot = slot_of(connection[run], slots)
        if slot < 0:
            continue
        begin, length = run_start[run], run_start[run + 1] - run_start[run]
        if not lies_inside(begin, length, times.shape[0]):
            raise ValueError(f"run {run} lies outside the times")
        if slot >= n_slots or seen[slot] or bounds[slot + 1] - bounds[slot] != length:
            return False
        if not lies_inside(bounds[slot], length, time.shape[0]):
            return False
        if length and memcmp(&times[begin], &time[bounds[slot]], length * sizeof(int64_t)):
            return False
        seen[slot] = 1
        listed += length
    return listed == time.shape[0]


cdef inline bint lies_inside(int64_t offset, int64_t length, Py_ssize_t size) noexcept nogil:
    return 0 <= offset <= size and 0 <= length <= size - offset


# Payloads -----------------------------------------------------------------------------------------------------------

def heads_and_payloads(
    const uint8_t[::1] data not None,
    const int64_t[::1] time not None,
    const int64_t[::1] offset not None,
    const int64_t[::1] length not None,
    Py_ssize_t first,
    Py_ssize_t last,
    int64_t most_bytes,
):
    """Time and length of payloads, int64 each, and the payloads one after the other; None where these are long."""
    cdef Py_ssize_t n = min(time.shape[0], offset.shape[0], length.shape[0]), size = data.shape[0], total = 0, i
    cdef uint8_t* at
    cdef bytes heads, payloads
    if not 0 <= first <= last <= n:
        raise ValueError(f"there are no payloads {first} to {last}, only {n}")
    heads = PyBytes_FromStringAndSize(NULL, 16 * (last - first))
    at = <uint8_t*> PyBytes_AS_STRING(heads)
    for i in range(first, last):
        if not lies_inside(offset[i], length[i], size) or length[i] > INT64_MAX - total:
            raise ValueError(f"payload {i} lies outside the data")
        total += length[i]
        memcpy(at, &time[i], 8)
        memcpy(at + 8, &length[i], 8)
        at += 16
    if first < last and total // (last - first) >= most_bytes:
        return heads, None
    payloads = PyBytes_FromStringAndSize(NULL, total)
    at = <uint8_t*> PyBytes_AS_STRING(payloads)
    with nogil:
        for i in range(first, last):
            if length[i]:
                memcpy(at, &data[offset[i]], length[i])
                at += length[i]
    return heads, payloads


def any_begins(
    const uint8_t[::1] data not None,
    const int64_t[::1] offset not None,
    const int64_t[::1] length not None,
    const uint8_t[::1] least not None,
    const uint8_t[::1] most not None,
):
    """Whether the first bytes of a payload all lie between those of ``least`` and ``most``, each included."""
    cdef Py_ssize_t n = min(offset.shape[0], length.shape[0]), size = data.shape[0], i, k
    cdef Py_ssize_t width = min(least.shape[0], most.shape[0])
    cdef bint found = False
    for i in range(n):
        if length[i] < width or not lies_inside(offset[i], length[i], size):
            continue
        k = 0
        while k < width and least[k] <= data[offset[i] + k] <= most[k]:
            k += 1
        found = k == width
        if found:
            break
    return found


def crc32(data, uint32_t value=0):
    """``zlib.crc32``, by the processor's own means where it has any."""
    cdef const uint8_t[::1] view
    cdef uint32_t state = ~value
    if not hz_hardware:
        return _zlib.crc32(data, value)
    view = data
    if view.shape[0]:
        with nogil:
            state = hz_update(state, &view[0], view.shape[0])
    return <uint32_t> ~state
