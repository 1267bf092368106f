typedef long double real; /* what an x87 register holds */

#include "mandel.h"

GUEST("mandel-x87", 4)
