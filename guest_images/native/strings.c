#include "guest.h"

enum { MAX_BYTES = 16384 };
static const uint32_t sizes[] = {1, 3, 7, 16, 29, 64, 100, 256, 777, 1500, 4096, 5000, 16384};
static char text[MAX_BYTES + 16], copy[MAX_BYTES + 16], backup[MAX_BYTES + 16];

static void fill_text(uint32_t size, uint32_t round)
{
    for (uint32_t k = 0; k < size; k++)
        text[k] = k < (size & ~3u) ? "abcd"[k % 4] : 'z';
    text[size] = 0;
    text[round % size] = '!';
}

static uint32_t hash_block(uint32_t size)
{
    uint32_t hash = 5381;
    for (uint32_t k = 0; k < size; k++)
        hash = hash * 33 + (uint8_t)copy[k];
    return hash;
}

static struct outcome run(uint32_t n)
{
    uint32_t hash = 0, bytes = 0;
    for (uint32_t round = n; round > 0; round--)
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            uint32_t size = sizes[k], same = size;
            fill_text(size, round);
            memcpy(copy, text, size);
            memcpy(backup, copy, size);
            self_check(memcmp(text, backup, size) == 0);
            self_check(strlen(text) == size);
            for (uint32_t i = 0; i < size; i++)
                copy[i] = text[i] >= 'a' && text[i] <= 'z' ? text[i] - 32 : text[i];
            while (same > 0 && text[same - 1] != copy[same - 1])
                same--;
            hash = hash * 31 + same;
            hash = hash * 31 + hash_block(size);
            bytes += size * 8;
        }
    return (struct outcome){hash, bytes};
}

GUEST("strings", 20)
