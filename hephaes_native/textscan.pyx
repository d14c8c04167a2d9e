"""Which of many short texts hold a needle: one pass over their bytes, which lie behind each other.

Strategy: ``memchr`` runs from one occurrence of the needle's rarest byte to the next, across texts; only there the
whole needle is compared.  Texts are kept apart by a byte that no needle holds, so that none is found across two, and
after a hit the pass goes on behind that text.  Linear in the bytes.
"""


from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memchr, memcmp


cdef void scan(
    const uint8_t* text, Py_ssize_t size, const int64_t* starts, const int32_t* rows, Py_ssize_t n,
    const uint8_t* needle, Py_ssize_t length, Py_ssize_t rarest, uint8_t* found, Py_ssize_t n_found,
) noexcept nogil:
    cdef const uint8_t* hit
    cdef Py_ssize_t at = rarest, segment = 0, begin
    while at < size:
        hit = <const uint8_t*> memchr(text + at, needle[rarest], size - at)
        if hit == NULL:
            return
        begin = hit - text - rarest
        at = begin + rarest + 1
        if begin + length > size or memcmp(text + begin, needle, length) != 0:
            continue
        while segment + 1 < n and starts[segment + 1] <= begin:
            segment += 1
        if starts[segment] <= begin and 0 <= rows[segment] < n_found:
            found[rows[segment]] = 1
        if segment + 1 >= n:
            return
        segment += 1
        at = max(at, starts[segment] + rarest)


def find(
    const uint8_t[::1] text not None, const int64_t[::1] starts not None, const int32_t[::1] rows not None,
    const uint8_t[::1] needle not None, Py_ssize_t rarest, uint8_t[::1] found not None,
):
    """Set ``found[rows[i]]`` where text i, from ``starts[i]`` up to the next start, holds the needle."""
    if starts.shape[0] != rows.shape[0]:
        raise ValueError("every text needs a start and a row")
    if not 0 <= rarest < needle.shape[0]:
        raise ValueError("rarest is no place in the needle")
    if text.shape[0] and rows.shape[0] and found.shape[0]:
        with nogil:
            scan(
                &text[0], text.shape[0], &starts[0], &rows[0], rows.shape[0],
                &needle[0], needle.shape[0], rarest, &found[0], found.shape[0],
            )
