#include "guest.h"

enum { ARGUMENT = 20 };
static uint32_t calls;

/* The guest measures calls, so the compiler must not inline this recursion away. */
__attribute__((noinline, optimize("no-inline", "no-optimize-sibling-calls"))) static uint32_t fib(uint32_t k)
{
    calls++;
    return k <= 1 ? k : fib(k - 1) + fib(k - 2);
}

static struct outcome run(uint32_t n)
{
    uint32_t hash = 0, expected = 0, following = 1;
    for (int k = 0; k < ARGUMENT; k++) {
        uint32_t sum = expected + following;
        expected = following;
        following = sum;
    }
    for (uint32_t k = 0; k < n; k++) {
        uint32_t value = fib(ARGUMENT);
        self_check(value == expected);
        hash = hash * 31 + value;
    }
    return (struct outcome){hash, calls};
}

GUEST("fib-calls", 5)
