"""The only door to wire bytes: aligned, checked, endian-aware reads of one payload.

A cursor stands ``at`` bytes behind the origin of alignment (for CDR the byte after the encapsulation header); nothing
is read without a comparison with ``size`` first.  Lengths and counts are unsigned and compared in 64 bits.  ``empty``
is what is left of the elements without bytes that one payload may claim.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #if defined(_MSC_VER)
    #include <stdlib.h>
    #define hn_swap16 _byteswap_ushort
    #define hn_swap32 _byteswap_ulong
    #define hn_swap64 _byteswap_uint64
    #else
    #define hn_swap16 __builtin_bswap16
    #define hn_swap32 __builtin_bswap32
    #define hn_swap64 __builtin_bswap64
    #endif
    """
    uint16_t swap16 "hn_swap16"(uint16_t) noexcept nogil
    uint32_t swap32 "hn_swap32"(uint32_t) noexcept nogil
    uint64_t swap64 "hn_swap64"(uint64_t) noexcept nogil

cdef enum:
    OK = 0
    TRUNCATED = 1
    ENCAPSULATION = 2
    UNTERMINATED = 3
    NO_TERMINATOR_SPACE = 4
    OVER_BOUND = 5
    TRAILING = 6
    TOO_MANY_EMPTY = 7

cdef enum:
    CDR_HEADER = 4
    MAX_EMPTY_ELEMENTS = 65536

cdef struct Cursor:
    const uint8_t* data    # origin of alignment
    int64_t size           # bytes from there on
    int64_t at
    int64_t empty
    int64_t mask           # 7 where values are aligned (CDR), 0 where they are not (ROS1)
    bint cdr
    bint swap


cdef inline int open_cdr(Cursor* c, const uint8_t* payload, int64_t size) noexcept nogil:
    """Stand at the first value behind a plain CDR (XCDR1) encapsulation header."""
    if size < CDR_HEADER:
        return TRUNCATED
    if payload[0] != 0 or payload[1] > 1:
        return ENCAPSULATION
    c.data = payload + CDR_HEADER
    c.size = size - CDR_HEADER
    c.at = 0
    c.empty = MAX_EMPTY_ELEMENTS
    c.mask = 7
    c.cdr = True
    c.swap = payload[1] == 0
    return OK


cdef inline int open_ros1(Cursor* c, const uint8_t* payload, int64_t size) noexcept nogil:
    """Stand at the first value of a ROS1 payload."""
    c.data = payload
    c.size = size
    c.at = 0
    c.empty = MAX_EMPTY_ELEMENTS
    c.mask = 0
    c.cdr = False
    c.swap = False
    return OK


cdef inline int close(const Cursor* c) noexcept nogil:
    """Whether the payload ends here: CDR may be padded with up to three bytes."""
    return OK if c.size - c.at <= (3 if c.cdr else 0) else TRAILING


cdef inline void align(Cursor* c, int64_t width) noexcept nogil:
    """Step to a multiple of ``width`` (a power of two); may stand beyond the end after that."""
    cdef int64_t mask = (width - 1) & c.mask
    c.at = (c.at + mask) & ~mask


cdef inline int count32(Cursor* c, uint32_t* value) noexcept nogil:
    """Read a length or count."""
    align(c, 4)
    if c.size - c.at < 4:
        return TRUNCATED
    memcpy(value, c.data + c.at, 4)
    if c.swap:
        value[0] = swap32(value[0])
    c.at += 4
    return OK


cdef inline int skip(Cursor* c, int64_t n) noexcept nogil:
    """Step over ``n`` bytes."""
    if c.size - c.at < n:
        return TRUNCATED
    c.at += n
    return OK


cdef inline int text(Cursor* c, const uint8_t** start, int64_t* length) noexcept nogil:
    """Read a string; CDR ends it with a NUL, which is counted on the wire and not here."""
    cdef uint32_t n
    cdef int status = count32(c, &n)
    if status != OK:
        return status
    if n > <uint64_t> (c.size - c.at):
        return TRUNCATED
    start[0] = c.data + c.at
    c.at += n
    if not c.cdr:
        length[0] = n
        return OK
    if n == 0:
        return NO_TERMINATOR_SPACE
    if start[0][n - 1] != 0:
        return UNTERMINATED
    length[0] = <int64_t> n - 1
    return OK


cdef inline int wide_text(Cursor* c, const uint8_t** start, int64_t* units) noexcept nogil:
    """Read a wide string: a count of 32-bit code units without terminator."""
    cdef uint32_t n
    cdef int status = count32(c, &n)
    if status != OK:
        return status
    if <uint64_t> n * 4 > <uint64_t> (c.size - c.at):
        return TRUNCATED
    start[0] = c.data + c.at
    units[0] = n
    c.at += <int64_t> n * 4
    return OK


cdef inline int elements(Cursor* c, int64_t n, int64_t least) noexcept nogil:
    """Whether ``n`` elements of at least ``least`` bytes can be there."""
    if least:
        return OK if n <= (c.size - c.at) // least else TRUNCATED
    if n > c.empty:
        return TOO_MANY_EMPTY
    c.empty -= n
    return OK


cdef inline void swap_values(uint8_t* p, int64_t n, int width) noexcept nogil:
    """Reverse the bytes of ``n`` values in place."""
    cdef int64_t i
    cdef uint16_t v16
    cdef uint32_t v32
    cdef uint64_t v64
    if width == 8:
        for i in range(n):
            memcpy(&v64, p + 8 * i, 8)
            v64 = swap64(v64)
            memcpy(p + 8 * i, &v64, 8)
    elif width == 4:
        for i in range(n):
            memcpy(&v32, p + 4 * i, 4)
            v32 = swap32(v32)
            memcpy(p + 4 * i, &v32, 4)
    elif width == 2:
        for i in range(n):
            memcpy(&v16, p + 2 * i, 2)
            v16 = swap16(v16)
            memcpy(p + 2 * i, &v16, 2)
