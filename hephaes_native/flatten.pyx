"""Columns to tf.train.Example records in TFRecord framing, and the CRC-32C that frames them.

Strategy: a first pass walks the columns one by one and adds up the exact size of every record; a second pass walks
the rows and writes each record once, front to back, into one buffer of exactly that size.  Both passes share
``list_size``, so they cannot disagree.  The bytes of an entry that do not depend on the row (key, tags, and all lengths
when the values have a fixed size) are made once per column; copying them may write up to ``PAD`` bytes too far, which
the next entry overwrites and the buffer has room for.  Columns that are the same in every row without a value (the
fields of an absent message) are made once for all such rows and then copied as one block.  Big values are checksummed
piece by piece while they are still in the cache.  Offsets are checked once, before anything is read through them.

Formats: tensorflow/core/lib/io/record_writer.h, tensorflow/core/example/{example,feature}.proto, protobuf encoding.
Record: uint64 length, masked CRC-32C of it, payload, masked CRC-32C of the payload; little-endian.
"""

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport UINT64_MAX, int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from typing import NamedTuple

cdef extern from "crc32c.h" nogil:
    void hc_init()
    int hc_hardware
    uint32_t hc_update(uint32_t crc, const uint8_t* data, size_t n)
    uint32_t hc_portable(uint32_t crc, const uint8_t* data, size_t n)
    uint32_t hc_mask(uint32_t crc)

cdef extern from *:
    """
    static inline int hf_varint_size(unsigned long long v)
    {
    #if defined(__GNUC__)
        return ((63 - __builtin_clzll(v | 1)) * 9 + 73) / 64;
    #else
        int n = 1;
        while (v >>= 7) n++;
        return n;
    #endif
    }
    """
    int varint_size "hf_varint_size"(uint64_t value) nogil

hc_init()
CRC_IN_HARDWARE = bool(hc_hardware)

cdef enum:
    PAD = 32
    PIECE = 1 << 16
    FRAME = 16           # length, its checksum, the payload's checksum
    HEAD_EXTRA = 64      # six tags and as many varints
    TAG_LEN_1 = 0x0A
    TAG_LEN_2 = 0x12
    TAG_BYTES_LIST = 0x0A
    TAG_FLOAT_LIST = 0x12
    TAG_INT64_LIST = 0x1A

cdef enum Source:
    BOOL
    INT8
    UINT8
    INT16
    UINT16
    INT32
    UINT32
    INT64
    UINT64
    LENGTH32
    LENGTH64
    FLOAT32
    FLOAT64
    SLICES
    RAW

cdef int64_t MAX_PAYLOAD = 0x7FFFFFFF

# source name -> (enum, tag of the list, bytes per value)
_SOURCES = {
    "bool": (BOOL, TAG_INT64_LIST, 0),
    "int8": (INT8, TAG_INT64_LIST, 1),
    "uint8": (UINT8, TAG_INT64_LIST, 1),
    "int16": (INT16, TAG_INT64_LIST, 2),
    "uint16": (UINT16, TAG_INT64_LIST, 2),
    "int32": (INT32, TAG_INT64_LIST, 4),
    "uint32": (UINT32, TAG_INT64_LIST, 4),
    "int64": (INT64, TAG_INT64_LIST, 8),
    "uint64": (UINT64, TAG_INT64_LIST, 8),
    "float32": (FLOAT32, TAG_FLOAT_LIST, 4),
    "float64": (FLOAT64, TAG_FLOAT_LIST, 8),
    "raw32": (RAW, TAG_BYTES_LIST, 4),
    "raw64": (RAW, TAG_BYTES_LIST, 8),
}


class Bits(NamedTuple):
    """A bitmap (LSB first) that starts ``offset`` bits into ``buffer``."""

    buffer: object
    offset: int = 0


class Column(NamedTuple):
    """One feature of every record: where its values lie.

    Args:
        key: UTF-8 key of the feature.
        source: How ``values`` are read, and so the kind written: ``bool`` (bitmap) and the integer types are written as
            int64 (uint64 as two's complement); ``float32``, ``float64`` as float; ``length`` is the difference of
            neighbours of an int32 or int64 offsets array, as int64; ``slices`` are byte strings; ``raw32``, ``raw64``
            all values of the row as one byte string.
        values: Contiguous little-endian values; for ``slices`` the bytes.
        per_row: Values in each row, if ``rows`` is None.
        rows: int32 or int64[n_rows + 1]: row i has the values rows[i] to rows[i + 1].
        slices: int32 or int64 offsets into ``values``, for the source ``slices``.
        bit_offset: First bit, for the source ``bool``.
        valid: Rows whose bit is 0 have the default: zeros or empty strings, ``per_row`` of them; none with ``rows``.
        present: Rows whose bit is 0 have no such feature.
    """

    key: bytes
    source: str
    values: object
    per_row: int = 1
    rows: object = None
    slices: object = None
    bit_offset: int = 0
    valid: Bits | None = None
    present: Bits | None = None


class Group(NamedTuple):
    """Columns ``first`` to ``stop`` that have the same bytes in every row whose bit of ``valid`` is 0."""

    first: int
    stop: int
    valid: Bits


cdef struct Offsets:
    const int32_t* narrow
    const int64_t* wide
    int64_t n

cdef struct Feature:
    Source source
    uint8_t tag
    int width
    const uint8_t* values
    int64_t n_bytes
    int64_t n_values
    int64_t bit_offset
    int64_t count
    Offsets rows
    Offsets slices
    const uint8_t* valid
    int64_t valid_offset
    const uint8_t* present
    int64_t present_offset
    uint8_t* head        # key part of the entry; for fixed_size > 0 all of the entry up to its values
    int64_t head_size
    int64_t key_size     # bytes of the key part
    int64_t fixed_size   # bytes of the values of every record, 0 if they vary
    int64_t altered


cdef struct Absence:
    Py_ssize_t stop        # feature behind the group; 0 where no group begins
    const uint8_t* valid
    int64_t valid_offset
    uint8_t* block         # the entries of a row without values
    int64_t block_size


cdef inline int64_t offset_at(const Offsets* o, int64_t i) noexcept nogil:
    return o.narrow[i] if o.narrow != NULL else o.wide[i]


cdef inline bint bit_at(const uint8_t* bits, int64_t i) noexcept nogil:
    return (bits[i >> 3] >> (i & 7)) & 1


cdef inline uint8_t* put_varint(uint8_t* p, uint64_t value) noexcept nogil:
    while value >= 0x80:
        p[0] = <uint8_t> (value | 0x80)
        value >>= 7
        p += 1
    p[0] = <uint8_t> value
    return p + 1


cdef inline uint8_t* put_padded(uint8_t* p, const uint8_t* source, int64_t n) noexcept nogil:
    """Copy n bytes in steps of PAD: both sides have PAD bytes to spare."""
    cdef int64_t done = 0
    while done < n:
        memcpy(p + done, source + done, PAD)
        done += PAD
    return p + n


cdef inline int64_t integer_at(const Feature* f, int64_t i) noexcept nogil:
    cdef int16_t i16
    cdef uint16_t u16
    cdef int32_t i32
    cdef uint32_t u32
    cdef int64_t i64
    if f.source == BOOL:
        return bit_at(f.values, f.bit_offset + i)
    if f.source == INT8:
        return (<const int8_t*> f.values)[i]
    if f.source == UINT8:
        return f.values[i]
    if f.source == INT16:
        memcpy(&i16, f.values + 2 * i, 2)
        return i16
    if f.source == UINT16:
        memcpy(&u16, f.values + 2 * i, 2)
        return u16
    if f.source == INT32:
        memcpy(&i32, f.values + 4 * i, 4)
        return i32
    if f.source == UINT32:
        memcpy(&u32, f.values + 4 * i, 4)
        return u32
    if f.source == LENGTH32:
        return (<int64_t> (<const int32_t*> f.values)[i + 1]) - (<const int32_t*> f.values)[i]
    if f.source == LENGTH64:
        return (<const int64_t*> f.values)[i + 1] - (<const int64_t*> f.values)[i]
    memcpy(&i64, f.values + 8 * i, 8)
    return i64


cdef inline bint is_valid(const Feature* f, int64_t row) noexcept nogil:
    return f.valid == NULL or bit_at(f.valid, f.valid_offset + row)


cdef inline bint is_present(const Feature* f, int64_t row) noexcept nogil:
    return f.present == NULL or bit_at(f.present, f.present_offset + row)


cdef inline int64_t bounds(const Feature* f, int64_t row, int64_t* first) noexcept nogil:
    """Number of values of a valid row; ``first`` is the index of the first."""
    if f.rows.n == 0:
        first[0] = row * f.count
        return f.count
    first[0] = offset_at(&f.rows, row)
    return offset_at(&f.rows, row + 1) - first[0]


cdef inline int64_t packed_size(const Feature* f, int64_t first, int64_t n) noexcept nogil:
    """Bytes of n packed varints."""
    cdef int64_t i, size = 0
    for i in range(first, first + n):
        size += varint_size(<uint64_t> integer_at(f, i))
    return size


cdef inline int64_t delimited(int64_t size) noexcept nogil:
    """Bytes of a length-delimited field with a one-byte tag."""
    return 1 + varint_size(<uint64_t> size) + size


cdef int64_t list_size(const Feature* f, int64_t row) noexcept nogil:
    """Bytes of the Int64List, FloatList or BytesList of a row, without its own tag and length."""
    cdef int64_t first, i, size, n
    cdef bint valid = is_valid(f, row)
    n = bounds(f, row, &first)
    if not valid and f.rows.n:
        n = 0
    if f.source == SLICES:
        if not valid:
            return 2 * n
        size = 0
        for i in range(first, first + n):
            size += delimited(offset_at(&f.slices, i + 1) - offset_at(&f.slices, i))
        return size
    if f.source == RAW:
        return delimited(n * f.width)
    if n == 0:
        return 0
    if f.tag == TAG_FLOAT_LIST:
        return delimited(4 * n)
    return delimited(packed_size(f, first, n) if valid else n)


cdef inline int64_t entry_size(const Feature* f, int64_t size) noexcept nogil:
    """Bytes of the whole map entry, given the size of its list."""
    return delimited(f.key_size + delimited(delimited(size)))


cdef uint8_t* put_head(uint8_t* p, const Feature* f, int64_t size) noexcept nogil:
    """Write the entry up to its list of ``size`` bytes."""
    p[0] = TAG_LEN_1
    p = put_varint(p + 1, <uint64_t> (f.key_size + delimited(delimited(size))))
    p = put_padded(p, f.head, f.key_size)
    p[0] = TAG_LEN_2
    p = put_varint(p + 1, <uint64_t> delimited(size))
    p[0] = f.tag
    return put_varint(p + 1, <uint64_t> size)


cdef uint8_t* put_floats(uint8_t* p, Feature* f, int64_t first, int64_t n) noexcept nogil:
    """Write n floats; count those that float32 does not hold."""
    cdef int64_t i, altered = 0
    cdef float narrow
    cdef double value
    if f.source == FLOAT32:
        if n == 1:
            memcpy(p, f.values + 4 * first, 4)
        else:
            memcpy(p, f.values + 4 * first, 4 * n)
        return p + 4 * n
    for i in range(n):
        memcpy(&value, f.values + 8 * (first + i), 8)
        narrow = <float> value
        altered += (<double> narrow != value) & (value == value)
        memcpy(p + 4 * i, &narrow, 4)
    f.altered += altered
    return p + 4 * n


cdef struct Sum:
    uint32_t crc
    const uint8_t* done      # the checksum covers everything before


cdef inline uint8_t* put_blob(uint8_t* p, const uint8_t* source, int64_t n, Sum* total) noexcept nogil:
    """Copy n bytes; long ones are checksummed on the way, while they are in the cache."""
    while n >= PIECE:
        memcpy(p, source, PIECE)
        p += PIECE
        source += PIECE
        n -= PIECE
        total.crc = hc_update(total.crc, total.done, p - total.done)
        total.done = p
    memcpy(p, source, n)
    return p + n


cdef uint8_t* put_entry(uint8_t* p, Feature* f, int64_t row, Sum* total) noexcept nogil:
    """Write one map entry."""
    cdef int64_t first, n, i, size, start, value
    cdef bint valid = is_valid(f, row)
    n = bounds(f, row, &first)
    if f.fixed_size:
        p = put_padded(p, f.head, f.head_size)
        if not valid:
            memset(p, 0, f.fixed_size)
            return p + f.fixed_size
        if f.source == RAW:
            return put_blob(p, f.values + first * f.width, f.fixed_size, total)
        return put_floats(p, f, first, n)
    if not valid and f.rows.n:
        n = 0
    size = list_size(f, row)
    p = put_head(p, f, size)
    if f.source == SLICES:
        for i in range(first, first + n):
            start = offset_at(&f.slices, i) if valid else 0
            size = offset_at(&f.slices, i + 1) - start if valid else 0
            p[0] = TAG_LEN_1
            p = put_varint(p + 1, <uint64_t> size)
            p = put_blob(p, f.values + start, size, total)
        return p
    if f.source == RAW:
        p[0] = TAG_LEN_1
        p = put_varint(p + 1, <uint64_t> (n * f.width))
        return put_blob(p, f.values + first * f.width, n * f.width, total)
    if n == 0:
        return p
    p[0] = TAG_LEN_1
    if f.tag == TAG_FLOAT_LIST:
        p = put_varint(p + 1, <uint64_t> (4 * n))
        return put_floats(p, f, first, n)
    p = put_varint(p + 1, <uint64_t> (packed_size(f, first, n) if valid else n))
    if not valid:
        memset(p, 0, n)
        return p + n
    for i in range(first, first + n):
        value = integer_at(f, i)
        f.altered += f.source == UINT64 and value < 0
        p = put_varint(p, <uint64_t> value)
    return p


cdef inline bint is_absent(const Absence* group, int64_t row) noexcept nogil:
    """Whether the row has the block of the group that begins here."""
    return group.stop != 0 and not bit_at(group.valid, group.valid_offset + row)


cdef uint8_t* put_record(
    uint8_t* p, Feature* features, const Absence* groups, Py_ssize_t n, int64_t row, int64_t payload, int64_t inner
) noexcept nogil:
    """Write one framed record of ``payload`` bytes whose Features message has ``inner`` bytes."""
    cdef Sum total
    cdef uint32_t crc
    cdef uint64_t length = <uint64_t> payload
    cdef Py_ssize_t i = 0
    memcpy(p, &length, 8)
    crc = hc_mask(~hc_update(0xFFFFFFFF, p, 8))
    memcpy(p + 8, &crc, 4)
    p += 12
    total.crc = 0xFFFFFFFF
    total.done = p
    p[0] = TAG_LEN_1
    p = put_varint(p + 1, <uint64_t> inner)
    while i < n:
        if is_absent(&groups[i], row):
            p = put_padded(p, groups[i].block, groups[i].block_size)
            i = groups[i].stop
            continue
        if is_present(&features[i], row):
            p = put_entry(p, &features[i], row, &total)
        i += 1
    crc = hc_mask(~hc_update(total.crc, total.done, p - total.done))
    memcpy(p, &crc, 4)
    return p + 4


cdef bint offsets_ok(const Offsets* o, int64_t first, int64_t last, int64_t limit) noexcept nogil:
    """Whether offsets[first..last] rise from 0 or more to at most ``limit``."""
    cdef int64_t i, here, before = 0
    if first < 0 or last >= o.n:
        return False
    for i in range(first, last + 1):
        here = offset_at(o, i)
        if here < before:
            return False
        before = here
    return before <= limit


cdef bint feature_ok(const Feature* f, int64_t n_rows) noexcept nogil:
    """Whether all that the features of n_rows rows read lies inside its buffers."""
    cdef int64_t first, last
    if f.rows.n:
        if not offsets_ok(&f.rows, 0, n_rows, f.n_values):
            return False
        first = offset_at(&f.rows, 0)
        last = offset_at(&f.rows, n_rows)
    else:
        if f.count < 0 or (f.count and n_rows > f.n_values // f.count):
            return False
        first = 0
        last = n_rows * f.count
    if f.source == SLICES and first != last:
        return offsets_ok(&f.slices, first, last, f.n_bytes)
    return True


cdef class ExampleEncoder:
    """Records of ``n_rows`` rows of columns, encoded piece by piece; not for use from two threads at once."""

    cdef Feature* features
    cdef Absence* groups
    cdef Py_buffer* views
    cdef int64_t* sizes
    cdef Py_ssize_t n_features, n_views, n_rows

    def __cinit__(self, n_rows, columns, groups=()):
        columns = list(columns)
        groups = list(groups)
        if n_rows < 0:
            raise ValueError(f"n_rows is {n_rows}")
        self.n_rows = n_rows
        self.features = <Feature*> calloc(len(columns) + 1, sizeof(Feature))
        self.groups = <Absence*> calloc(len(columns) + 1, sizeof(Absence))
        self.views = <Py_buffer*> calloc(5 * len(columns) + len(groups) + 1, sizeof(Py_buffer))
        self.sizes = <int64_t*> calloc(self.n_rows + 1, sizeof(int64_t))
        if self.features == NULL or self.groups == NULL or self.views == NULL or self.sizes == NULL:
            raise MemoryError
        for column in columns:
            self.n_features += 1
            self.load(&self.features[self.n_features - 1], column)
        for group in sorted(groups):
            self.load_group(group)
        self.measure()

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.n_views):
            PyBuffer_Release(&self.views[i])
        if self.features != NULL:
            for i in range(self.n_features):
                free(self.features[i].head)
        if self.groups != NULL:
            for i in range(self.n_features):
                free(self.groups[i].block)
        free(self.groups)
        free(self.features)
        free(self.views)
        free(self.sizes)

    cdef Py_buffer* view(self, object buffer) except NULL:
        """Keep a buffer until the encoder goes."""
        cdef Py_buffer* view = &self.views[self.n_views]
        PyObject_GetBuffer(buffer, view, PyBUF_ND | PyBUF_FORMAT)
        self.n_views += 1
        return view

    cdef int offsets(self, Offsets* o, object buffer) except -1:
        cdef Py_buffer* view = self.view(buffer)
        if view.itemsize == 4:
            o.narrow = <const int32_t*> view.buf
        elif view.itemsize == 8:
            o.wide = <const int64_t*> view.buf
        else:
            raise ValueError(f"offsets have items of {view.itemsize} bytes")
        o.n = view.len // view.itemsize
        return 0

    cdef const uint8_t* bits(self, object bits, int64_t* offset) except? NULL:
        cdef Py_buffer* view
        if bits is None:
            return NULL
        view = self.view(bits[0])
        offset[0] = bits[1]
        if offset[0] < 0 or (offset[0] + self.n_rows + 7) // 8 > view.len:
            raise ValueError("a bitmap is too short")
        return <const uint8_t*> view.buf

    cdef int load(self, Feature* f, object column) except -1:
        """Turn a Column into a Feature and check it."""
        cdef Py_buffer* view = self.view(column.values)
        cdef bytes key = column.key
        f.values = <const uint8_t*> view.buf
        f.n_bytes = view.len
        f.count = column.per_row
        f.bit_offset = column.bit_offset
        f.valid = self.bits(column.valid, &f.valid_offset)
        f.present = self.bits(column.present, &f.present_offset)
        if column.rows is not None:
            self.offsets(&f.rows, column.rows)
            if self.n_rows and f.rows.n <= self.n_rows:
                raise ValueError(f"{key!r} has {f.rows.n} row offsets for {self.n_rows} rows")
        if column.source == "slices":
            f.source, f.tag = SLICES, TAG_BYTES_LIST
            self.offsets(&f.slices, column.slices)
            f.n_values = max(f.slices.n - 1, 0)
        elif column.source == "length":
            f.source, f.tag = (LENGTH32 if view.itemsize == 4 else LENGTH64), TAG_INT64_LIST
            f.n_values = max(view.len // (4 if f.source == LENGTH32 else 8) - 1, 0)
        elif column.source in _SOURCES:
            f.source, f.tag, f.width = _SOURCES[column.source]
            f.n_values = view.len // f.width if f.width else view.len * 8 - f.bit_offset
        else:
            raise ValueError(f"unknown source {column.source!r}")
        if self.n_rows and (f.bit_offset < 0 or not feature_ok(f, self.n_rows)):
            raise ValueError(f"the values of {key!r} lie outside their buffers")
        self.make_head(f, key)
        return 0

    cdef int make_head(self, Feature* f, bytes key) except -1:
        """Make the bytes of the entry that are the same in every record."""
        cdef uint8_t* whole
        cdef uint8_t* p
        f.key_size = delimited(len(key))
        f.head = <uint8_t*> calloc(f.key_size + PAD, 1)
        if f.head == NULL:
            raise MemoryError
        f.head[0] = TAG_LEN_1
        p = put_varint(f.head + 1, <uint64_t> len(key))
        memcpy(p, <const char*> key, len(key))
        if f.rows.n or f.count == 0 or f.source not in (FLOAT32, FLOAT64, RAW):
            return 0
        whole = <uint8_t*> calloc(f.key_size + HEAD_EXTRA + PAD, 1)
        if whole == NULL:
            raise MemoryError
        f.fixed_size = f.count * (f.width if f.source == RAW else 4)
        p = put_head(whole, f, delimited(f.fixed_size))
        p[0] = TAG_LEN_1
        p = put_varint(p + 1, <uint64_t> f.fixed_size)
        f.head_size = p - whole
        free(f.head)
        f.head = whole
        return 0

    cdef int load_group(self, object group) except -1:
        """Make the block of a group, as its first row without values has it."""
        cdef Py_ssize_t i
        cdef int64_t row = 0
        cdef Absence* g
        cdef Sum total
        cdef uint8_t* p
        if not 0 <= group.first < group.stop <= self.n_features:
            raise ValueError(f"{group!r} names columns that are not there")
        for i in range(<Py_ssize_t> group.first):
            if self.groups[i].stop > <Py_ssize_t> group.first:
                raise ValueError(f"{group!r} overlaps another group")
        g = &self.groups[<Py_ssize_t> group.first]
        g.valid = self.bits(group.valid, &g.valid_offset)
        while row < self.n_rows and bit_at(g.valid, g.valid_offset + row):
            row += 1
        if row == self.n_rows:
            return 0
        for i in range(<Py_ssize_t> group.first, <Py_ssize_t> group.stop):
            if is_present(&self.features[i], row):
                g.block_size += self.entry_bytes(&self.features[i], row)
        g.block = <uint8_t*> calloc(g.block_size + PAD, 1)
        if g.block == NULL:
            raise MemoryError
        p = total.done = g.block
        total.crc = 0
        for i in range(<Py_ssize_t> group.first, <Py_ssize_t> group.stop):
            if is_present(&self.features[i], row):
                p = put_entry(p, &self.features[i], row, &total)
        g.stop = group.stop
        return 0

    cdef int64_t entry_bytes(self, const Feature* f, int64_t row) noexcept nogil:
        return f.head_size + f.fixed_size if f.fixed_size else entry_size(f, list_size(f, row))

    cdef int measure(self) except -1:
        """Fill ``sizes`` with the bytes of each row's Features message."""
        cdef Py_ssize_t i, stop = 0
        cdef int64_t row, worst = -1
        cdef Feature* f
        cdef const Absence* g = NULL
        with nogil:
            for i in range(self.n_features):
                f = &self.features[i]
                if self.groups[i].stop:
                    g = &self.groups[i]
                    stop = g.stop
                    for row in range(self.n_rows):
                        if is_absent(g, row):
                            self.sizes[row] += g.block_size
                for row in range(self.n_rows):
                    if (i >= stop or not is_absent(g, row)) and is_present(f, row):
                        self.sizes[row] += self.entry_bytes(f, row)
            for row in range(self.n_rows):
                if delimited(self.sizes[row]) > MAX_PAYLOAD:
                    worst = row
                    break
        if worst >= 0:
            raise OverflowError(
                f"row {worst} takes {self.sizes[worst]:,} bytes, a tf.train.Example holds at most {MAX_PAYLOAD:,}"
            )
        return 0

    @property
    def nbytes(self):
        """Bytes of all records together."""
        cdef int64_t row, total = 0
        for row in range(self.n_rows):
            total += delimited(self.sizes[row]) + FRAME
        return total

    @property
    def altered(self):
        """Per column, how many values encoded so far do not read back as they were: beyond float32 or int64."""
        return [self.features[i].altered for i in range(self.n_features)]

    def encode(self, start=0, max_bytes=0):
        """The records from row ``start`` on until they reach ``max_bytes`` (0: all), and the row after the last."""
        cdef int64_t row, stop, first = start, limit = max_bytes
        cdef Py_ssize_t size = 0
        cdef bytes out
        cdef uint8_t* p
        if not 0 <= first <= self.n_rows:
            raise ValueError(f"row {first} of {self.n_rows}")
        stop = first
        while stop < self.n_rows and (limit <= 0 or size < limit):
            size += delimited(self.sizes[stop]) + FRAME
            stop += 1
        out = PyBytes_FromStringAndSize(NULL, size + PAD)
        p = <uint8_t*> PyBytes_AS_STRING(out)
        with nogil:
            for row in range(first, stop):
                p = put_record(
                    p, self.features, self.groups, self.n_features, row, delimited(self.sizes[row]), self.sizes[row]
                )
        return memoryview(out)[:size], stop


def encode_examples(n_rows, columns, groups=()):
    """All records of ``n_rows`` rows of columns."""
    return ExampleEncoder(n_rows, columns, groups).encode()[0]


cdef class RecordCounter:
    """Counts the records of a TFRecord file that comes in pieces, by their lengths; not for two threads at once."""

    cdef readonly int64_t records
    cdef uint8_t[8] head
    cdef int head_size
    cdef uint64_t skip       # bytes of the record left behind its length

    def feed(self, data):
        """Take the next bytes of the file."""
        cdef Py_buffer view
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        with nogil:
            self.take(<const uint8_t*> view.buf, <uint64_t> view.len)
        PyBuffer_Release(&view)

    cdef void take(self, const uint8_t* p, uint64_t n) noexcept nogil:
        cdef uint64_t step, length
        while n:
            if self.skip:
                step = min(self.skip, n)
                self.skip -= step
            else:
                step = min(<uint64_t> (8 - self.head_size), n)
                memcpy(self.head + self.head_size, p, step)
                self.head_size += <int> step
                if self.head_size == 8:
                    self.head_size = 0
                    memcpy(&length, self.head, 8)
                    self.skip = length + (FRAME - 8) if length < UINT64_MAX - FRAME else UINT64_MAX
                    self.records += 1
            p += step
            n -= step

    @property
    def is_whole(self):
        """Whether the last record ended with the last byte."""
        return self.skip == 0 and self.head_size == 0


cdef uint32_t checksum(object data, uint32_t value, bint portable) except? 0:
    cdef Py_buffer view
    cdef uint32_t state = ~value
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    with nogil:
        if portable:
            state = hc_portable(state, <const uint8_t*> view.buf, view.len)
        else:
            state = hc_update(state, <const uint8_t*> view.buf, view.len)
    PyBuffer_Release(&view)
    return ~state


def crc32c(data, uint32_t value=0):
    """CRC-32C of a bytes-like object, continuing from ``value``."""
    return checksum(data, value, False)


def crc32c_portable(data, uint32_t value=0):
    """``crc32c`` without the instruction, as on machines that lack it."""
    return checksum(data, value, True)


def masked_crc32c(data):
    """CRC-32C as TFRecord stores it: rotated and offset."""
    return hc_mask(checksum(data, 0, False))
