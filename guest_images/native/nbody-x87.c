typedef long double real; /* what an x87 register holds */

static inline real root(real x)
{
    __asm__("fsqrt" : "+t"(x));
    return x;
}

#include "nbody.h"

GUEST("nbody-x87", 20000)
