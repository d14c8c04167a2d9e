/* CRC-32 (zlib, MCAP): reflected polynomial 0xEDB88320, initial value and final inversion of all bits.
 *
 * Strategy, x86: four lanes of 16 bytes are carried 64 bytes on at a time by carry-less multiplication with powers of x
 * modulo the polynomial, then folded into one; what is left, 16 bytes and the tail, goes through a table.  ARM has an
 * instruction for it.  Both are chosen at run time; where hz_hardware stays 0, hz_update is not to be called: zlib is
 * faster than a table.  hz_init() must run once before anything else.
 */
#ifndef HEPHAES_CRC32_H
#define HEPHAES_CRC32_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HZ_POLYNOMIAL 0xEDB88320u

static int hz_hardware;

#if defined(__GNUC__) && defined(__x86_64__)
#include <emmintrin.h>
#include <wmmintrin.h>
#define HZ_TARGET __attribute__((target("pclmul,sse2")))
#define HZ_LANES 4
#define HZ_LANE 16

static uint32_t hz_table[256];
static uint64_t hz_by_all[2], hz_by_one[2];

/* x^n modulo the polynomial, reflected, as the factor that a reflected product needs: shifted by one bit. */
static uint64_t hz_power(unsigned n)
{
    uint32_t state = 0x80000000u;
    while (n--) {
        state = (state >> 1) ^ (state & 1 ? HZ_POLYNOMIAL : 0);
    }
    return (uint64_t)state << 1;
}

static void hz_init(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t state = byte;
        for (int bit = 0; bit < 8; bit++) {
            state = (state >> 1) ^ (state & 1 ? HZ_POLYNOMIAL : 0);
        }
        hz_table[byte] = state;
    }
    for (int high = 0; high < 2; high++) { /* the low half of a lane holds the higher powers of x */
        unsigned shift = high ? -32 : 32;
        hz_by_all[high] = hz_power(8 * HZ_LANES * HZ_LANE + shift);
        hz_by_one[high] = hz_power(8 * HZ_LANE + shift);
    }
    __builtin_cpu_init();
    hz_hardware = __builtin_cpu_supports("pclmul") != 0;
}

static uint32_t hz_bytes(uint32_t state, const uint8_t *data, size_t n)
{
    while (n--) {
        state = hz_table[(state ^ *data++) & 255] ^ (state >> 8);
    }
    return state;
}

/* A lane carried on by the bytes that the factors stand for, and joined with what lies there. */
HZ_TARGET static inline __m128i hz_fold(__m128i lane, __m128i factors, __m128i there)
{
    __m128i low = _mm_clmulepi64_si128(lane, factors, 0x00);
    __m128i high = _mm_clmulepi64_si128(lane, factors, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), there);
}

/* Next raw (not inverted) state after data[0..n). */
HZ_TARGET static uint32_t hz_update(uint32_t state, const uint8_t *data, size_t n)
{
    if (n < HZ_LANES * HZ_LANE) {
        return hz_bytes(state, data, n);
    }
    const __m128i by_all = _mm_loadu_si128((const __m128i *)hz_by_all);
    const __m128i by_one = _mm_loadu_si128((const __m128i *)hz_by_one);
    __m128i lanes[HZ_LANES];
    for (int k = 0; k < HZ_LANES; k++) {
        lanes[k] = _mm_loadu_si128((const __m128i *)(data + k * HZ_LANE));
    }
    lanes[0] = _mm_xor_si128(lanes[0], _mm_cvtsi32_si128((int)state));
    data += HZ_LANES * HZ_LANE;
    n -= HZ_LANES * HZ_LANE;
    for (; n >= HZ_LANES * HZ_LANE; data += HZ_LANES * HZ_LANE, n -= HZ_LANES * HZ_LANE) {
        for (int k = 0; k < HZ_LANES; k++) {
            lanes[k] = hz_fold(lanes[k], by_all, _mm_loadu_si128((const __m128i *)(data + k * HZ_LANE)));
        }
    }
    for (int k = 1; k < HZ_LANES; k++) {
        lanes[k] = hz_fold(lanes[k - 1], by_one, lanes[k]);
    }
    uint8_t last[HZ_LANE];
    _mm_storeu_si128((__m128i *)last, lanes[HZ_LANES - 1]);
    return hz_bytes(hz_bytes(0, last, HZ_LANE), data, n);
}

#elif defined(__GNUC__) && defined(__aarch64__)
#include <arm_acle.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif
#if defined(__clang__)
#define HZ_TARGET __attribute__((target("crc")))
#else
#define HZ_TARGET __attribute__((target("+crc")))
#endif

static void hz_init(void)
{
#if defined(__APPLE__)
    hz_hardware = 1;
#elif defined(__linux__)
    hz_hardware = (getauxval(AT_HWCAP) & (1UL << 7)) != 0; /* HWCAP_CRC32 */
#endif
}

HZ_TARGET static uint32_t hz_update(uint32_t state, const uint8_t *data, size_t n)
{
    for (; n >= 8; data += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        state = __crc32d(state, word);
    }
    while (n--) {
        state = __crc32b(state, *data++);
    }
    return state;
}

#else

static void hz_init(void)
{
}

static uint32_t hz_update(uint32_t state, const uint8_t *data, size_t n)
{
    (void)data;
    (void)n;
    return state;
}
#endif

#endif
