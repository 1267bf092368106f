#include "guest.h"

enum { MAX_SIZE = 0x100000 };
static uint32_t words[MAX_SIZE];

static void quicksort(uint32_t *first, uint32_t *last)
{
    while (first < last) {
        uint32_t *low = first, *high = last, pivot = first[(last - first) / 2];
        do {
            while (*low < pivot)
                low++;
            while (*high > pivot)
                high--;
            if (low <= high) {
                uint32_t word = *low;
                *low++ = *high;
                *high-- = word;
            }
        } while (low <= high);
        quicksort(first, high);
        first = low;
    }
}

static struct outcome run(uint32_t n)
{
    uint32_t size = number_option("size=", 16384), hash = 0, x = 1;
    self_check(size >= 1 && size <= MAX_SIZE);
    for (uint32_t round = 0; round < n; round++) {
        uint32_t sum = 0;
        for (uint32_t k = 0; k < size; k++) {
            words[k] = x = next_random(x);
            sum += x;
        }
        quicksort(words, words + size - 1);
        for (uint32_t k = 0; k < size; k++) {
            self_check(k == 0 || words[k] >= words[k - 1]);
            hash = hash * 31 + words[k];
            sum -= words[k];
        }
        self_check(sum == 0);
    }
    return (struct outcome){hash, n * size};
}

GUEST("quicksort", 2)
