#include "guest.h"

enum { WORDS = 0x4000 };
static uint32_t source[WORDS];
static struct { uint32_t aligned[WORDS], unaligned[WORDS + 4], streamed[WORDS], mmx_copy[WORDS]; } copies;

static struct outcome run(uint32_t n)
{
    uint32_t x = 1, sum = 0, words[sizeof copies / 4];
    for (int k = 0; k < WORDS; k++)
        source[k] = x = next_random(x);
    for (uint32_t pass = 0; pass < n; pass++) {
        memcpy(copies.aligned, source, sizeof source);
        memcpy(copies.unaligned + 1, copies.aligned, sizeof source);
        memcpy(copies.streamed, copies.unaligned + 1, sizeof source);
        memcpy(copies.mmx_copy, copies.streamed, sizeof source);
        self_check(memcmp(source, copies.mmx_copy, sizeof source) == 0);
        __asm__ volatile("" ::: "memory");
    }
    memcpy(words, &copies, sizeof copies);
    for (size_t k = 0; k < sizeof copies / 4; k++)
        sum += words[k];
    return (struct outcome){sum, n << 18};
}

GUEST("memcpy-sse", 16)
