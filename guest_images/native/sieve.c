#include "guest.h"

enum { MAX_SIZE = 0x1000000 };
static uint8_t flags[MAX_SIZE];

static void sieve_flags(uint32_t size)
{
    memset(flags, 1, size);
    flags[0] = flags[1] = 0;
    for (uint32_t k = 2; k * k < size; k++)
        if (flags[k])
            for (uint32_t multiple = k * k; multiple < size; multiple += k)
                flags[multiple] = 0;
}

static struct outcome run(uint32_t n)
{
    uint32_t size = number_option("size=", 0x80000), hash = 0, first = 0;
    self_check(size >= 4 && size <= MAX_SIZE);
    for (uint32_t pass = 0; pass < n; pass++) {
        uint32_t primes = 0;
        sieve_flags(size);
        for (uint32_t k = 2; k < size; k++)
            if (flags[k]) {
                hash = hash * 31 + k;
                primes++;
            }
        if (pass == 0)
            first = primes;
        self_check(primes == first);
    }
    return (struct outcome){hash, n * size};
}

GUEST("sieve", 1)
