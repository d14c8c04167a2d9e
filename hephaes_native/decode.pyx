"""Payloads to columns: an interpreter of flat decode plans for ROS1 and CDR (XCDR1), both byte orders.

Strategy: a message type is a list of items (``Fixed``, ``Text``, ``Sequence``, ``Loop``). Neighbouring fixed items
make one run: its size and the place of each of its values follow from the position modulo 8, so they are tabled once
and a run costs one comparison.  A batch is passed twice.  The first pass validates every payload and counts what each
column will get; the columns then grow at most once; the second pass copies, without checks, the values of valid
payloads only, so a malformed one leaves no trace but its status.  What is allocated is bounded by the bytes that were
found there.
No Python object and no GIL inside a pass.

Formats: OMG CDR (formal/02-06-51), http://wiki.ros.org/ROS/Technical%20Overview.  Wide strings as ROS 2 middlewares
write them under XCDR1: a count of code units, four bytes each.
"""

from cpython cimport array
from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

from hephaes_native.cursor cimport (
    ENCAPSULATION,
    OK,
    OVER_BOUND,
    Cursor,
    align,
    close,
    count32,
    elements,
    open_cdr,
    open_ros1,
    skip,
    swap32,
    swap_values,
    text,
    wide_text,
)

import array as _array
import sys
from typing import NamedTuple

STATUS_NAMES = (
    "ok",
    "the payload ends in the middle of a value",
    "the encapsulation header is not plain CDR",
    "a string has no terminator",
    "a string is too short to hold its terminator",
    "a string or sequence is longer than its bound",
    "bytes are left behind the last value",
    "a sequence claims too many elements without bytes",
)

if sys.byteorder != "little":
    raise ImportError("hephaes_native.decode needs a little-endian machine")

cdef int64_t MOST_BYTES = 1 << 60
cdef enum:
    SHORT_TEXT = 32
cdef uint64_t NOT_ASCII = 0x8080808080808080ULL
cdef array.array _UINT8 = _array.array("B")
cdef uint8_t _NO_DATA = 0


class Fixed(NamedTuple):
    """``n`` values of ``width`` bytes: a single value or a fixed array.

    Args:
        column: Where the values go, -1 to skip them.
        form: ``value``, ``bool`` (non-zero bytes become 1), or ``one``: a 1 goes to the column, ``width`` bytes (0 or
            1) of the wire are passed over.
    """

    column: int
    width: int
    n: int = 1
    form: str = "value"


class Text(NamedTuple):
    """A string of at most ``bound`` bytes or code units (-1: any): UTF-8 to ``column``, its end to ``offsets``."""

    column: int
    offsets: int
    wide: bool = False
    bound: int = -1


class Sequence(NamedTuple):
    """At most ``bound`` (-1: any) values of ``width`` bytes behind a count; the running count goes to ``offsets``."""

    column: int
    offsets: int
    width: int
    bound: int = -1
    form: str = "value"


class Loop(NamedTuple):
    """``n`` times the items of ``body``, or as often as a count on the wire says (-1), at most ``bound`` times."""

    offsets: int
    body: tuple
    n: int = -1
    bound: int = -1


Item = Fixed | Text | Sequence | Loop


cdef enum Kind:
    RUN
    TEXT
    WIDE_TEXT
    SEQUENCE
    LOOP

cdef enum Form:
    ONE_BYTE
    TWO_BYTES
    FOUR_BYTES
    EIGHT_BYTES
    BLOCK
    BOOLS
    ONES

cdef struct Op:
    Form form
    int32_t column
    int width
    int64_t count
    int64_t[8] offset      # by position modulo 8 of the run

cdef struct Segment:
    Kind kind
    int32_t first_op, n_ops
    int32_t column, offsets
    int32_t end            # LOOP: the segment behind the body
    int width
    bint is_bool
    int64_t count          # LOOP: -1 for a count on the wire
    int64_t bound
    int64_t least          # LOOP: bytes that an element has at least
    int64_t[8] size        # RUN: bytes with padding, by position modulo 8
    int64_t runs           # this batch: how often it was met
    int64_t amount         # this batch: bytes of TEXT and SEQUENCE values, elements of LOOP

cdef struct Column:
    uint8_t* data
    uint8_t* end
    int64_t capacity
    int64_t need           # bytes this batch adds at most
    int64_t total          # offsets columns: the running count
    int64_t invalid        # text columns: strings that are not UTF-8
    int64_t taken          # bytes that the last buffer had
    bint is_offsets

cdef struct Plan:
    Segment* segments
    Op* ops
    Column* columns
    int32_t n_segments, n_ops, n_columns


# First pass: validate and count ---------------------------------------------------------------------------------------

cdef inline bint is_of_texts(const Plan* plan, int32_t s, int32_t end) noexcept nogil:
    """Whether a loop over segments ``s`` to ``end`` is one over strings, which needs no walk of its own."""
    return end == s + 1 and plan.segments[s].kind == TEXT


cdef inline int measure_text(Segment* g, Cursor* c) noexcept nogil:
    cdef int64_t length
    cdef const uint8_t* start
    cdef int status = text(c, &start, &length) if g.kind == TEXT else wide_text(c, &start, &length)
    if status != OK:
        return status
    if g.bound >= 0 and length > g.bound:
        return OVER_BOUND
    g.runs += 1
    g.amount += length if g.kind == TEXT else 4 * length
    return OK


cdef inline int measure_texts(Segment* g, Cursor* c, int64_t n) noexcept nogil:
    cdef int64_t _i
    cdef int status
    for _i in range(n):
        status = measure_text(g, c)
        if status != OK:
            return status
    return OK


cdef int measure(const Plan* plan, int32_t s, int32_t end, Cursor* c) noexcept nogil:
    """Walk segments ``s`` to ``end`` once."""
    cdef Segment* g
    cdef uint32_t n
    cdef int64_t length, _i
    cdef int status
    while s < end:
        g = &plan.segments[s]
        s += 1
        if g.kind == RUN:
            status = skip(c, g.size[c.at & c.mask])
            if status != OK:
                return status
            g.runs += 1
            continue
        if g.kind == TEXT or g.kind == WIDE_TEXT:
            status = measure_text(g, c)
            if status != OK:
                return status
            continue
        length = g.count
        if length < 0:
            status = count32(c, &n)
            if status != OK:
                return status
            length = n
            if g.bound >= 0 and length > g.bound:
                return OVER_BOUND
        if g.kind == SEQUENCE:
            if length:
                align(c, g.width)
                status = skip(c, length * g.width)
                if status != OK:
                    return status
            g.runs += 1
            g.amount += length * g.width
            continue
        status = elements(c, length, g.least)
        if status != OK:
            return status
        g.runs += 1
        g.amount += length
        if is_of_texts(plan, s, g.end):
            status = measure_texts(&plan.segments[s], c, length)
            if status != OK:
                return status
        else:
            for _i in range(length):
                status = measure(plan, s, g.end, c)
                if status != OK:
                    return status
        s = g.end
    return OK


cdef int open_payload(Cursor* c, bint cdr, const uint8_t* payload, int64_t size) noexcept nogil:
    return open_cdr(c, payload, size) if cdr else open_ros1(c, payload, size)


cdef int measure_payload(const Plan* plan, bint cdr, const uint8_t* payload, int64_t size) noexcept nogil:
    cdef Cursor c
    cdef int status = open_payload(&c, cdr, payload, size)
    if status == OK:
        status = measure(plan, 0, plan.n_segments, &c)
    return close(&c) if status == OK else status


# Second pass: copy ----------------------------------------------------------------------------------------------------

cdef inline void put_offset(Column* column, int64_t n) noexcept nogil:
    cdef int32_t total
    column.total += n
    total = <int32_t> column.total
    memcpy(column.end, &total, 4)
    column.end += 4


cdef inline void put_bools(Column* column, const uint8_t* source, int64_t n) noexcept nogil:
    cdef int64_t i
    for i in range(n):
        column.end[i] = source[i] != 0
    column.end += n


cdef inline void put_values(Column* column, const uint8_t* source, int64_t n, int width, bint swap) noexcept nogil:
    memcpy(column.end, source, n * width)
    if swap:
        swap_values(column.end, n, width)
    column.end += n * width


cdef inline void put_run(const Plan* plan, const Segment* g, const Cursor* c) noexcept nogil:
    cdef int64_t phase = c.at & c.mask
    cdef const uint8_t* base = c.data + c.at
    cdef const uint8_t* source
    cdef const Op* op
    cdef Column* column
    cdef int32_t k
    for k in range(g.first_op, g.first_op + g.n_ops):
        op = &plan.ops[k]
        column = &plan.columns[op.column]
        source = base + op.offset[phase]
        if op.form == ONES:
            column.end[0] = 1
            column.end += 1
        elif op.form == BOOLS:
            put_bools(column, source, op.count)
        elif c.swap or op.form == BLOCK:
            put_values(column, source, op.count, op.width, c.swap)
        elif op.form == EIGHT_BYTES:
            memcpy(column.end, source, 8)
            column.end += 8
        elif op.form == FOUR_BYTES:
            memcpy(column.end, source, 4)
            column.end += 4
        elif op.form == ONE_BYTE:
            column.end[0] = source[0]
            column.end += 1
        else:
            memcpy(column.end, source, 2)
            column.end += 2


cdef int64_t ascii_prefix(const uint8_t* p, int64_t n) noexcept nogil:
    """How many bytes at least are ASCII, in steps of eight."""
    cdef int64_t i = 0
    cdef uint64_t word
    while n - i >= 8:
        memcpy(&word, p + i, 8)
        if word & NOT_ASCII:
            return i
        i += 8
    while i < n and p[i] < 0x80:
        i += 1
    return i


cdef bint is_utf8(const uint8_t* p, int64_t n) noexcept nogil:
    """Whether the bytes are UTF-8 (Unicode 15, table 3-7)."""
    cdef int64_t i = ascii_prefix(p, n)
    cdef uint8_t lead, low, high
    cdef int64_t more, k
    while i < n:
        lead = p[i]
        i += 1
        if lead < 0x80:
            continue
        low, high = 0x80, 0xBF
        if 0xC2 <= lead <= 0xDF:
            more = 1
        elif 0xE0 <= lead <= 0xEF:
            more = 2
            if lead == 0xE0:
                low = 0xA0
            elif lead == 0xED:
                high = 0x9F
        elif 0xF0 <= lead <= 0xF4:
            more = 3
            if lead == 0xF0:
                low = 0x90
            elif lead == 0xF4:
                high = 0x8F
        else:
            return False
        if n - i < more or p[i] < low or p[i] > high:
            return False
        for k in range(1, more):
            if p[i + k] & 0xC0 != 0x80:
                return False
        i += more
    return True


cdef inline uint64_t put8(uint8_t* p, const uint8_t* source) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, source, 8)
    memcpy(p, &word, 8)
    return word


cdef inline uint64_t put4(uint8_t* p, const uint8_t* source) noexcept nogil:
    cdef uint32_t word
    memcpy(&word, source, 4)
    memcpy(p, &word, 4)
    return word


cdef inline bint put_short(uint8_t* p, const uint8_t* source, int64_t n) noexcept nogil:
    """Copy up to SHORT_TEXT bytes in words that may overlap; whether they are ASCII."""
    cdef uint64_t seen = 0
    cdef int64_t i
    if n >= 8:
        seen = put8(p, source) | put8(p + n - 8, source + n - 8)
        if n > 16:
            seen |= put8(p + 8, source + 8) | put8(p + n - 16, source + n - 16)
    elif n >= 4:
        seen = put4(p, source) | put4(p + n - 4, source + n - 4)
    else:
        for i in range(n):
            p[i] = source[i]
            seen |= source[i]
    return (seen & NOT_ASCII) == 0


cdef void put_texts(const Plan* plan, const Segment* g, Cursor* c, int64_t n) noexcept nogil:
    """Copy ``n`` strings; places are kept in locals, since any byte written might be part of what lies behind ``c``."""
    cdef Cursor here = c[0]
    cdef Column* column
    cdef Column* offsets
    cdef uint8_t* p
    cdef uint8_t* end
    cdef int64_t total, length = 0, _i
    cdef int32_t total32
    cdef const uint8_t* start = here.data
    if g.column < 0:
        for _i in range(n):
            text(&here, &start, &length)
        c.at = here.at
        return
    column, offsets = &plan.columns[g.column], &plan.columns[g.offsets]
    p, end, total = column.end, offsets.end, offsets.total
    for _i in range(n):
        text(&here, &start, &length)
        if length > SHORT_TEXT:
            memcpy(p, start, length)
            column.invalid += not is_utf8(start, length)
        elif not put_short(p, start, length):
            column.invalid += not is_utf8(start, length)
        p += length
        total += length
        total32 = <int32_t> total
        memcpy(end, &total32, 4)
        end += 4
    column.end, offsets.end, offsets.total = p, end, total
    c.at = here.at


cdef inline uint32_t unit_at(const uint8_t* p, int64_t i, bint swap) noexcept nogil:
    cdef uint32_t unit
    memcpy(&unit, p + 4 * i, 4)
    return swap32(unit) if swap else unit


cdef inline uint8_t* put_code_point(uint8_t* p, uint32_t point) noexcept nogil:
    if point < 0x80:
        p[0] = <uint8_t> point
        return p + 1
    if point < 0x800:
        p[0] = <uint8_t> (0xC0 | point >> 6)
        p[1] = <uint8_t> (0x80 | point & 0x3F)
        return p + 2
    if point < 0x10000:
        p[0] = <uint8_t> (0xE0 | point >> 12)
        p[1] = <uint8_t> (0x80 | point >> 6 & 0x3F)
        p[2] = <uint8_t> (0x80 | point & 0x3F)
        return p + 3
    p[0] = <uint8_t> (0xF0 | point >> 18)
    p[1] = <uint8_t> (0x80 | point >> 12 & 0x3F)
    p[2] = <uint8_t> (0x80 | point >> 6 & 0x3F)
    p[3] = <uint8_t> (0x80 | point & 0x3F)
    return p + 4


cdef void put_wide(Column* column, Column* offsets, const uint8_t* source, int64_t n, bint swap) noexcept nogil:
    """UTF-16 code units or code points as UTF-8; what is neither becomes U+FFFD.  At most four bytes a unit."""
    cdef uint8_t* start = column.end
    cdef int64_t i = 0
    cdef uint32_t unit, next_unit
    cdef bint bad = False
    while i < n:
        unit = unit_at(source, i, swap)
        i += 1
        if 0xD800 <= unit < 0xDC00 and i < n:
            next_unit = unit_at(source, i, swap)
            if 0xDC00 <= next_unit < 0xE000:
                column.end = put_code_point(column.end, 0x10000 + ((unit - 0xD800) << 10) + (next_unit - 0xDC00))
                i += 1
                continue
        if unit > 0x10FFFF or 0xD800 <= unit < 0xE000:
            unit = 0xFFFD
            bad = True
        column.end = put_code_point(column.end, unit)
    offsets.invalid += bad
    put_offset(offsets, column.end - start)


cdef void fill(const Plan* plan, int32_t s, int32_t end, Cursor* c) noexcept nogil:
    """Walk segments ``s`` to ``end`` of a payload that ``measure`` found valid."""
    cdef Segment* g
    cdef uint32_t n = 0
    cdef int64_t length = 0, _i
    cdef const uint8_t* start = c.data
    while s < end:
        g = &plan.segments[s]
        s += 1
        if g.kind == RUN:
            put_run(plan, g, c)
            c.at += g.size[c.at & c.mask]
            continue
        if g.kind == TEXT:
            put_texts(plan, g, c, 1)
            continue
        if g.kind == WIDE_TEXT:
            wide_text(c, &start, &length)
            if g.column >= 0:
                put_wide(&plan.columns[g.column], &plan.columns[g.offsets], start, length, c.swap)
            continue
        length = g.count
        if length < 0:
            count32(c, &n)
            length = n
        if g.offsets >= 0:
            put_offset(&plan.columns[g.offsets], length)
        if g.kind == SEQUENCE:
            if length:
                align(c, g.width)
                if g.column >= 0:
                    if g.is_bool:
                        put_bools(&plan.columns[g.column], c.data + c.at, length)
                    else:
                        put_values(&plan.columns[g.column], c.data + c.at, length, g.width, c.swap)
                c.at += length * g.width
            continue
        if is_of_texts(plan, s, g.end):
            put_texts(plan, &plan.segments[s], c, length)
        else:
            for _i in range(length):
                fill(plan, s, g.end, c)
        s = g.end


# Payloads of one or several streams ---------------------------------------------------------------------------------

cdef struct Payloads:        # n payloads; their bytes lie inside of what the pointers point to
    const uint8_t* data
    const int64_t* offset
    const int64_t* length
    uint8_t* status
    Py_ssize_t n


cdef struct Task:
    Plan* plan               # NULL for a stream that somebody else decodes
    int64_t* rows
    bint cdr
    bint left


cdef array.array look_at(
    Payloads* payloads, const uint8_t[::1] data, const int64_t[::1] offset, const int64_t[::1] length
):
    """Fill in the payloads, checked, and the statuses that go with them, all OK."""
    cdef Py_ssize_t n = offset.shape[0], i
    cdef array.array statuses = array.clone(_UINT8, n, zero=n > 0)
    if length.shape[0] != n:
        raise ValueError(f"{n} offsets but {length.shape[0]} lengths")
    for i in range(n):
        if offset[i] < 0 or length[i] < 0 or offset[i] > data.shape[0] or length[i] > data.shape[0] - offset[i]:
            raise ValueError(f"payload {i} lies outside the data")
    payloads.data = &data[0] if data.shape[0] else &_NO_DATA
    payloads.offset = &offset[0] if n else NULL
    payloads.length = &length[0] if n else NULL
    payloads.status = statuses.data.as_uchars
    payloads.n = n
    return statuses


cdef bint measure_all(Plan* plan, bint cdr, const Payloads* p) noexcept nogil:
    """Set the status of payloads and count what those that are sound need; whether all are of the encoding."""
    cdef Py_ssize_t i
    cdef bint known = True
    for i in range(plan.n_segments):
        plan.segments[i].runs = plan.segments[i].amount = 0
    for i in range(p.n):
        p.status[i] = measure_payload(plan, cdr, p.data + p.offset[i], p.length[i])
        known = known and p.status[i] != ENCAPSULATION
    return known


cdef int64_t fill_all(Plan* plan, bint cdr, const Payloads* p) except -1 nogil:
    """Append the values of the payloads that were found sound; how many these are."""
    cdef Py_ssize_t i
    cdef int64_t rows = 0
    cdef Cursor c
    grow(plan)
    for i in range(p.n):
        if p.status[i] == OK:
            open_payload(&c, cdr, p.data + p.offset[i], p.length[i])
            fill(plan, 0, plan.n_segments, &c)
            rows += 1
    return rows


cdef int grow(Plan* plan) except -1 nogil:
    """Make room for what was measured."""
    cdef int32_t i, k
    cdef Segment* g
    cdef Column* column
    for i in range(plan.n_columns):
        plan.columns[i].need = 0
    for i in range(plan.n_segments):
        g = &plan.segments[i]
        for k in range(g.first_op, g.first_op + g.n_ops):
            plan.columns[plan.ops[k].column].need += g.runs * plan.ops[k].count * max(plan.ops[k].width, 1)
        if g.column >= 0:
            plan.columns[g.column].need += g.amount
        if g.offsets >= 0:
            column = &plan.columns[g.offsets]
            column.need += 4 * g.runs
            if column.total + g.amount // max(g.width, 1) > INT32_MAX:
                with gil:
                    raise OverflowError("a column would hold more than 2^31-1 values or bytes")
    for i in range(plan.n_columns):
        reserve(&plan.columns[i])
    return 0


cdef int reserve(Column* column) except -1 nogil:
    cdef int64_t used = column.end - column.data
    cdef int64_t first = 4 if column.is_offsets and column.data == NULL else 0
    cdef int64_t wanted = used + first + column.need
    cdef uint8_t* data
    if wanted > column.capacity or column.data == NULL:
        wanted = max(wanted, min(2 * column.capacity, column.capacity + (64 << 20)), column.taken, 64)
        data = <uint8_t*> realloc(column.data, wanted)
        if data == NULL:
            with gil:
                raise MemoryError
        column.data = data
        column.end = data + used
        column.capacity = wanted
    if first:
        memcpy(column.end, &column.total, 4)
        column.end += 4
    return 0


cdef int64_t held(const Plan* plan) noexcept nogil:
    """Bytes held in the columns."""
    cdef int64_t total = 0
    cdef int32_t i
    for i in range(plan.n_columns):
        total += plan.columns[i].end - plan.columns[i].data
    return total


cdef class Buffer:
    """Bytes of one column; whoever holds it (pyarrow, numpy) reads them in place."""

    cdef uint8_t* data
    cdef Py_ssize_t size

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.size, 1, flags)

    def __dealloc__(self):
        free(self.data)

    def __len__(self):
        return self.size


cdef class Decoder:
    """Collects the values of payloads of one message type into columns; not for use from two threads at once."""

    cdef Plan plan
    cdef bint cdr
    cdef readonly int64_t rows

    def __cinit__(self, items, offsets_columns, *, bint cdr):
        offsets_columns = list(offsets_columns)
        self.cdr = cdr
        self.plan.n_columns = len(offsets_columns)
        n_segments, n_ops = _sizes(items)
        self.plan.segments = <Segment*> calloc(n_segments + 1, sizeof(Segment))
        self.plan.ops = <Op*> calloc(n_ops + 1, sizeof(Op))
        self.plan.columns = <Column*> calloc(self.plan.n_columns + 1, sizeof(Column))
        if self.plan.segments == NULL or self.plan.ops == NULL or self.plan.columns == NULL:
            raise MemoryError
        for i, is_offsets in enumerate(offsets_columns):
            self.plan.columns[i].is_offsets = is_offsets
        self.flatten(items)

    def __dealloc__(self):
        cdef int32_t i
        if self.plan.columns != NULL:
            for i in range(self.plan.n_columns):
                free(self.plan.columns[i].data)
        free(self.plan.columns)
        free(self.plan.segments)
        free(self.plan.ops)

    # Making the plan

    cdef int64_t flatten(self, object items) except -1:
        """Append the segments of ``items``; the bytes they have at least."""
        cdef int64_t least = 0
        cdef list run = []
        for item in items:
            if isinstance(item, Fixed):
                run.append(item)
                continue
            if run:
                least += self.add_run(run)
                run = []
            if isinstance(item, Text):
                least += self.add_text(item)
            elif isinstance(item, Sequence):
                least += self.add_sequence(item)
            elif isinstance(item, Loop):
                least += self.add_loop(item)
            else:
                raise TypeError(f"{item!r} is not an item of a decode plan")
            if least > MOST_BYTES:
                raise OverflowError("the fixed arrays together are larger than any payload")
        if run:
            least += self.add_run(run)
        return least

    cdef Segment* add(self, Kind kind, object column, object offsets) except NULL:
        cdef Segment* g = &self.plan.segments[self.plan.n_segments]
        if not (-1 <= column < self.plan.n_columns and -1 <= offsets < self.plan.n_columns):
            raise ValueError("a column of the plan does not exist")
        if offsets >= 0 and not self.plan.columns[<int32_t> offsets].is_offsets:
            raise ValueError("a column of the plan is not one of offsets")
        self.plan.n_segments += 1
        g.kind = kind
        g.column, g.offsets = column, offsets
        return g

    cdef int64_t add_run(self, list items) except -1:
        cdef Segment* g = self.add(RUN, -1, -1)
        cdef Op* op
        cdef int64_t[8] size
        cdef int64_t least = 0, phase, mask, place
        g.first_op = self.plan.n_ops
        for phase in range(8):
            size[phase] = 0
        for item in items:
            if item.width not in (0, 1, 2, 4, 8) or item.n < 1 or not -1 <= item.column < self.plan.n_columns:
                raise ValueError(f"{item!r} cannot be decoded")
            op = &self.plan.ops[self.plan.n_ops]
            op.column, op.width, op.count = item.column, item.width, item.n
            op.form = _form(item)
            mask = item.width - 1 if self.cdr and item.width else 0
            for phase in range(8):
                place = ((phase + size[phase] + mask) & ~mask) - phase
                op.offset[phase] = place
                size[phase] = place + op.count * op.width
            least += op.count * op.width
            self.plan.n_ops += item.column >= 0
        g.n_ops = self.plan.n_ops - g.first_op
        g.size = size
        return least

    cdef int64_t add_text(self, object item) except -1:
        cdef Segment* g = self.add(WIDE_TEXT if item.wide else TEXT, item.column, item.offsets)
        if (item.column < 0) != (item.offsets < 0):
            raise ValueError(f"{item!r} has only one of its columns")
        g.bound = item.bound
        return 5 if self.cdr and not item.wide else 4

    cdef int64_t add_sequence(self, object item) except -1:
        cdef Segment* g = self.add(SEQUENCE, item.column, item.offsets)
        if item.width not in (1, 2, 4, 8) or (item.column < 0) != (item.offsets < 0):
            raise ValueError(f"{item!r} cannot be decoded")
        g.width, g.bound, g.count = item.width, item.bound, -1
        g.is_bool = item.form == "bool"
        return 4

    cdef int64_t add_loop(self, object item) except -1:
        cdef Segment* g = self.add(LOOP, -1, item.offsets)
        g.count, g.bound = item.n, item.bound
        g.least = self.flatten(item.body)
        g.end = self.plan.n_segments
        if g.count < 0:
            return 4
        if g.least > MOST_BYTES // max(g.count, 1):
            raise OverflowError("a fixed array is larger than any payload")
        return g.count * g.least

    # Use

    def feed(
        self, const uint8_t[::1] data not None, const int64_t[::1] offset not None, const int64_t[::1] length not None
    ):
        """Decode payloads, ``length`` bytes from each ``offset`` of ``data``; the status of each, uint8."""
        cdef Payloads payloads
        cdef array.array statuses = look_at(&payloads, data, offset, length)
        with nogil:
            measure_all(&self.plan, self.cdr, &payloads)
            self.rows += fill_all(&self.plan, self.cdr, &payloads)
        return statuses

    @property
    def nbytes(self):
        """Bytes held in the columns."""
        return held(&self.plan)

    def take(self):
        """The columns as buffers, each with its count of strings that were no text, and start anew."""
        cdef list found = []
        cdef int32_t i
        cdef Column* column
        cdef uint8_t* data
        cdef Buffer buffer
        for i in range(self.plan.n_columns):
            self.plan.columns[i].need = 0
            reserve(&self.plan.columns[i])
        for i in range(self.plan.n_columns):
            column = &self.plan.columns[i]
            buffer = Buffer.__new__(Buffer)
            buffer.size = column.end - column.data
            data = <uint8_t*> realloc(column.data, max(buffer.size, 1))
            buffer.data = column.data if data == NULL else data
            found.append((buffer, column.invalid))
            column.taken = buffer.size
            column.data = column.end = NULL
            column.capacity = column.total = column.invalid = 0
        self.rows = 0
        return found


def feed_streams(
    list decoders not None,
    const uint8_t[::1] data not None,
    const int64_t[::1] offset not None,
    const int64_t[::1] length not None,
    const int64_t[::1] bounds not None,
):
    """Decode payloads that lie stream by stream: the status of each (uint8), the streams left alone, bytes gained."""
    cdef Payloads payloads, part
    cdef array.array statuses = look_at(&payloads, data, offset, length)
    cdef Py_ssize_t n_streams = len(decoders), k
    cdef int64_t gained = 0
    cdef Task* tasks
    cdef Decoder decoder
    if bounds.shape[0] != n_streams + 1:
        raise ValueError(f"{n_streams} decoders but {bounds.shape[0]} bounds")
    for k in range(n_streams):
        if not 0 <= bounds[k] <= bounds[k + 1] <= payloads.n:
            raise ValueError(f"the bounds of stream {k} lie outside the payloads")
    tasks = <Task*> calloc(n_streams + 1, sizeof(Task))
    if tasks == NULL:
        raise MemoryError
    try:
        for k in range(n_streams):
            if decoders[k] is not None:
                decoder = decoders[k]
                tasks[k].plan, tasks[k].rows, tasks[k].cdr = &decoder.plan, &decoder.rows, decoder.cdr
        with nogil:
            for k in range(n_streams):
                part.n = bounds[k + 1] - bounds[k]
                if tasks[k].plan == NULL or not part.n:
                    continue
                part.data = payloads.data
                part.offset = payloads.offset + bounds[k]
                part.length = payloads.length + bounds[k]
                part.status = payloads.status + bounds[k]
                if measure_all(tasks[k].plan, tasks[k].cdr, &part):
                    gained -= held(tasks[k].plan)
                    tasks[k].rows[0] += fill_all(tasks[k].plan, tasks[k].cdr, &part)
                    gained += held(tasks[k].plan)
                else:
                    tasks[k].left = True
                    memset(part.status, OK, part.n)
        return statuses, [k for k in range(n_streams) if tasks[k].left], gained
    finally:
        free(tasks)


cdef Form _form(object item) except *:
    if item.form == "bool":
        return BOOLS
    if item.form == "one":
        return ONES
    if item.form != "value" or item.width == 0:
        raise ValueError(f"{item!r} cannot be decoded")
    if item.n > 1:
        return BLOCK
    return {1: ONE_BYTE, 2: TWO_BYTES, 4: FOUR_BYTES, 8: EIGHT_BYTES}[item.width]


cdef tuple _sizes(object items):
    """Segments and ops that the items make at most."""
    segments = ops = 0
    for item in items:
        segments += 1
        ops += 1
        if isinstance(item, Loop):
            below = _sizes(item.body)
            segments += below[0]
            ops += below[1]
    return segments, ops
