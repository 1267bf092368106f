#pragma GCC target("sse2,fpmath=sse")
typedef double real;

#include "mandel.h"

GUEST("mandel-sse2", 4)
