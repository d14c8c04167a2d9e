"""Which of many short texts hold a needle: one pass over their bytes, which lie behind each other.

Strategy: the pass runs from one place where the needle's two rarest bytes stand to the next, across texts; only there
the whole needle is compared.  Texts are kept apart by a byte that no needle holds, so that none is found across two,
and after a hit the pass goes on behind that text.  Linear in the bytes.
"""


from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t


cdef extern from "bytepair.h" nogil:
    const Py_ssize_t HB_BLOCK
    uint64_t hb_pairs(const uint8_t* one, const uint8_t* other, uint8_t a, uint8_t b, Py_ssize_t n)
    bint hb_equal(const uint8_t* one, const uint8_t* other, Py_ssize_t n)
    Py_ssize_t hb_lowest(uint64_t mask)


cdef void scan(
    const uint8_t* text, Py_ssize_t size, const int64_t* starts, const int32_t* rows, Py_ssize_t n,
    const uint8_t* needle, Py_ssize_t length, Py_ssize_t rarest, Py_ssize_t second, uint8_t* found, Py_ssize_t n_found,
) noexcept nogil:
    cdef Py_ssize_t at = 0, segment = 0, begin, end = size - length + 1
    cdef uint64_t pairs
    while at < end:
        pairs = hb_pairs(
            text + at + rarest, text + at + second, needle[rarest], needle[second], min(HB_BLOCK, end - at)
        )
        while pairs:
            begin = at + hb_lowest(pairs)
            pairs &= pairs - 1
            if begin < starts[segment] or not hb_equal(text + begin, needle, length):
                continue
            while segment + 1 < n and starts[segment + 1] <= begin:
                segment += 1
            if 0 <= rows[segment] < n_found:
                found[rows[segment]] = 1
            if segment + 1 >= n:
                return
            segment += 1
        at = max(at + HB_BLOCK, starts[segment])


def find(
    const uint8_t[::1] text not None, const int64_t[::1] starts not None, const int32_t[::1] rows not None,
    const uint8_t[::1] needle not None, Py_ssize_t rarest, Py_ssize_t second, uint8_t[::1] found not None,
):
    """Set ``found[rows[i]]`` where text i, from ``starts[i]`` up to the next start, holds the needle."""
    if starts.shape[0] != rows.shape[0]:
        raise ValueError("every text needs a start and a row")
    if not (0 <= rarest < needle.shape[0] and 0 <= second < needle.shape[0]):
        raise ValueError("rarest and second are no places in the needle")
    if text.shape[0] and rows.shape[0] and found.shape[0]:
        with nogil:
            scan(
                &text[0], text.shape[0], &starts[0], &rows[0], rows.shape[0],
                &needle[0], needle.shape[0], rarest, second, &found[0], found.shape[0],
            )
