/* CRC-32C (Castagnoli): reflected polynomial 0x82F63B78, initial value and final inversion of all bits.
 *
 * Strategy: the hardware instruction has a latency of three cycles and a throughput of one, so three adjacent blocks are
 * run side by side and joined with "append n zero bytes" tables (a linear map over GF(2), four lookups).  The instruction
 * is chosen at run time; slice-by-8 is the path of every other machine.  hc_init() must run once before anything else.
 */
#ifndef HEPHAES_CRC32C_H
#define HEPHAES_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "hephaes_native writes little-endian formats by copying memory: a little-endian machine is needed"
#endif

#if defined(__GNUC__) && defined(__x86_64__)
#include <nmmintrin.h>
#define HC_TARGET __attribute__((target("sse4.2")))
#define HC_STEP64(crc, word) ((uint32_t)_mm_crc32_u64((crc), (word)))
#define HC_STEP8(crc, byte) _mm_crc32_u8((crc), (byte))
#elif defined(__GNUC__) && defined(__aarch64__)
#include <arm_acle.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif
#if defined(__clang__)
#define HC_TARGET __attribute__((target("crc")))
#else
#define HC_TARGET __attribute__((target("+crc")))
#endif
#define HC_STEP64(crc, word) __crc32cd((crc), (word))
#define HC_STEP8(crc, byte) __crc32cb((crc), (byte))
#endif

#define HC_POLYNOMIAL 0x82F63B78u
#define HC_LONG 4096
#define HC_SHORT 128

static uint32_t hc_slices[8][256];
static uint32_t hc_zeros_long[4][256];
static uint32_t hc_zeros_short[4][256];
static int hc_hardware;

/* Next raw (not inverted) state after data[0..n), eight table lookups per eight bytes. */
static uint32_t hc_portable(uint32_t crc, const uint8_t *data, size_t n)
{
    while (n >= 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        word ^= crc;
        crc = hc_slices[7][word & 255] ^ hc_slices[6][(word >> 8) & 255] ^ hc_slices[5][(word >> 16) & 255]
            ^ hc_slices[4][(word >> 24) & 255] ^ hc_slices[3][(word >> 32) & 255] ^ hc_slices[2][(word >> 40) & 255]
            ^ hc_slices[1][(word >> 48) & 255] ^ hc_slices[0][word >> 56];
        data += 8;
        n -= 8;
    }
    while (n--) {
        crc = hc_slices[0][(crc ^ *data++) & 255] ^ (crc >> 8);
    }
    return crc;
}

/* The table that advances a raw state over n zero bytes: entry [k][b] is the image of byte b at position k. */
static void hc_zeros_table(uint32_t table[4][256], size_t n)
{
    static const uint8_t zeros[HC_SHORT];
    uint32_t column[32];
    for (int bit = 0; bit < 32; bit++) {
        uint32_t state = (uint32_t)1 << bit;
        for (size_t done = 0; done < n; done += HC_SHORT) {
            state = hc_portable(state, zeros, HC_SHORT);
        }
        column[bit] = state;
    }
    for (int k = 0; k < 4; k++) {
        for (int b = 0; b < 256; b++) {
            uint32_t image = 0;
            for (int bit = 0; bit < 8; bit++) {
                image ^= (b >> bit) & 1 ? column[8 * k + bit] : 0;
            }
            table[k][b] = image;
        }
    }
}

/* Build the tables and look for the instruction. */
static void hc_init(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t state = byte;
        for (int bit = 0; bit < 8; bit++) {
            state = (state >> 1) ^ (state & 1 ? HC_POLYNOMIAL : 0);
        }
        hc_slices[0][byte] = state;
    }
    for (int slice = 1; slice < 8; slice++) {
        for (int byte = 0; byte < 256; byte++) {
            uint32_t state = hc_slices[slice - 1][byte];
            hc_slices[slice][byte] = hc_slices[0][state & 255] ^ (state >> 8);
        }
    }
    hc_zeros_table(hc_zeros_long, HC_LONG);
    hc_zeros_table(hc_zeros_short, HC_SHORT);
#if defined(__GNUC__) && defined(__x86_64__)
    __builtin_cpu_init();
    hc_hardware = __builtin_cpu_supports("sse4.2") != 0;
#elif defined(HC_STEP64) && defined(__APPLE__)
    hc_hardware = 1;
#elif defined(HC_STEP64) && defined(__linux__)
    hc_hardware = (getauxval(AT_HWCAP) & (1UL << 7)) != 0; /* HWCAP_CRC32 */
#endif
}

#ifdef HC_STEP64
static inline uint32_t hc_append_zeros(uint32_t table[4][256], uint32_t state)
{
    return table[0][state & 255] ^ table[1][(state >> 8) & 255] ^ table[2][(state >> 16) & 255] ^ table[3][state >> 24];
}

/* Run three blocks of `block` bytes (a multiple of 8) side by side and join their states. */
HC_TARGET static inline uint32_t hc_three(uint32_t crc, const uint8_t *data, size_t block, uint32_t table[4][256])
{
    uint32_t second = 0, third = 0;
    for (size_t i = 0; i < block; i += 8) {
        uint64_t a, b, c;
        memcpy(&a, data + i, 8);
        memcpy(&b, data + block + i, 8);
        memcpy(&c, data + 2 * block + i, 8);
        crc = HC_STEP64(crc, a);
        second = HC_STEP64(second, b);
        third = HC_STEP64(third, c);
    }
    return hc_append_zeros(table, hc_append_zeros(table, crc) ^ second) ^ third;
}

HC_TARGET static uint32_t hc_native(uint32_t crc, const uint8_t *data, size_t n)
{
    for (; n >= 3 * HC_LONG; data += 3 * HC_LONG, n -= 3 * HC_LONG) {
        crc = hc_three(crc, data, HC_LONG, hc_zeros_long);
    }
    for (; n >= 3 * HC_SHORT; data += 3 * HC_SHORT, n -= 3 * HC_SHORT) {
        crc = hc_three(crc, data, HC_SHORT, hc_zeros_short);
    }
    for (; n >= 8; data += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        crc = HC_STEP64(crc, word);
    }
    while (n--) {
        crc = HC_STEP8(crc, *data++);
    }
    return crc;
}
#endif

/* Next raw state after data[0..n). */
static inline uint32_t hc_update(uint32_t crc, const uint8_t *data, size_t n)
{
#ifdef HC_STEP64
    if (hc_hardware) {
        return hc_native(crc, data, n);
    }
#endif
    return hc_portable(crc, data, n);
}

/* TFRecord's mask of a finished (inverted) checksum. */
static inline uint32_t hc_mask(uint32_t crc)
{
    return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}

#endif
