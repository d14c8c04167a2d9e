/* Where two bytes stand at a fixed distance, 64 places at a time.
 *
 * Strategy: both comparisons of a block are one loop without branches, which compilers turn into vector instructions of
 * whatever machine; bytes of 0 and 1 become bits by a multiplication.
 */
#ifndef HEPHAES_BYTEPAIR_H
#define HEPHAES_BYTEPAIR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HB_BLOCK 64

/* Bit k, for k below n <= HB_BLOCK, says that one[k] == a and other[k] == b.  Little-endian, as crc32c.h demands. */
static inline uint64_t hb_pairs(const uint8_t *one, const uint8_t *other, uint8_t a, uint8_t b, ptrdiff_t n)
{
    uint64_t mask = 0, words[HB_BLOCK / 8];
    if (n == HB_BLOCK) {
        uint8_t hits[HB_BLOCK];
        for (int k = 0; k < HB_BLOCK; k++)
            hits[k] = (uint8_t)((one[k] == a) & (other[k] == b));
        memcpy(words, hits, HB_BLOCK);
        for (int k = 0; k < HB_BLOCK / 8; k++)
            mask |= words[k];
        if (mask == 0)
            return 0;
        mask = 0;
        for (int k = 0; k < HB_BLOCK / 8; k++)
            mask |= (words[k] * UINT64_C(0x0102040810204080) >> 56) << (8 * k);
        return mask;
    }
    for (ptrdiff_t k = 0; k < n; k++)
        mask |= (uint64_t)((one[k] == a) & (other[k] == b)) << k;
    return mask;
}

/* Whether n bytes are the same: a call of memcmp takes longer than the few that needles have. */
static inline int hb_equal(const uint8_t *one, const uint8_t *other, ptrdiff_t n)
{
    uint64_t a, b;
    for (; n >= 8; n -= 8, one += 8, other += 8) {
        memcpy(&a, one, 8);
        memcpy(&b, other, 8);
        if (a != b)
            return 0;
    }
    for (; n > 0; n--, one++, other++)
        if (*one != *other)
            return 0;
    return 1;
}

/* Which bit is the lowest of a mask that is not 0. */
static inline ptrdiff_t hb_lowest(uint64_t mask)
{
#if defined(__GNUC__)
    return __builtin_ctzll(mask);
#else
    ptrdiff_t k = 0;
    for (; !(mask & 1); mask >>= 1)
        k++;
    return k;
#endif
}

#endif
