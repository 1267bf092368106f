/* What the twins of the two mandel guests share; `real` is the type of their registers. */

#include "guest.h"

enum { SIDE = 64, STEPS = 128 };

static uint32_t iterate(volatile double *point_x, volatile double *point_y)
{
    real x = 0, y = 0;
    uint32_t steps = 0;
    while (steps < STEPS) {
        real xx = x * x, yy = y * y;
        if (xx + yy > 4)
            break;
        y = x * y;
        y = y + y + (real)*point_y;
        x = xx - yy + (real)*point_x;
        steps++;
    }
    return steps;
}

static struct outcome run(uint32_t n)
{
    uint32_t hash = 0, ops = 0;
    volatile double point_x = 0, point_y = 0;
    self_check(iterate(&point_x, &point_y) == STEPS);
    for (uint32_t pass = 0; pass < n; pass++) {
        point_y = -1.25;
        for (int row = 0; row < SIDE; row++) {
            point_x = -2.0;
            for (int column = 0; column < SIDE; column++) {
                uint32_t steps = iterate(&point_x, &point_y);
                ops += steps;
                hash = hash * 31 + steps;
                point_x = (double)((real)point_x + (real)0.0390625);
            }
            point_y = (double)((real)point_y + (real)0.0390625);
        }
    }
    return (struct outcome){hash, ops};
}
