#pragma GCC target("sse2,fpmath=sse")
typedef double real;

static inline real root(real x)
{
    __asm__("sqrtsd %0, %0" : "+x"(x));
    return x;
}

#include "nbody.h"

GUEST("nbody-sse2", 20000)
