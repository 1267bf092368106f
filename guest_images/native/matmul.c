#include "guest.h"

enum { ORDER = 96 };
typedef uint32_t matrix[ORDER][ORDER];
static matrix left, right, product;

static void fill(matrix m, uint32_t *x)
{
    for (int row = 0; row < ORDER; row++)
        for (int column = 0; column < ORDER; column++) {
            *x = next_random(*x);
            m[row][column] = *x >> 16;
        }
}

static void multiply(matrix a, matrix b, matrix c)
{
    for (int row = 0; row < ORDER; row++)
        for (int column = 0; column < ORDER; column++) {
            uint32_t sum = 0;
            for (int k = 0; k < ORDER; k++)
                sum += a[row][k] * b[k][column];
            c[row][column] = sum;
        }
}

static uint32_t expected_sum(matrix a)
{
    uint32_t total = 0;
    for (int k = 0; k < ORDER; k++) {
        uint32_t column = 0, row = 0;
        for (int i = 0; i < ORDER; i++) {
            column += a[i][k];
            row += right[k][i];
        }
        total += column * row;
    }
    return total;
}

static struct outcome run(uint32_t n)
{
    uint32_t x = 1, hash = 0;
    fill(left, &x);
    fill(right, &x);
    uint32_t(*a)[ORDER] = left, (*c)[ORDER] = product;
    for (uint32_t pass = 0; pass < n; pass++) {
        uint32_t expected = expected_sum(a), sum = 0;
        multiply(a, right, c);
        for (int k = 0; k < ORDER * ORDER; k++)
            sum += c[k / ORDER][k % ORDER];
        self_check(sum == expected);
        uint32_t(*swap)[ORDER] = a;
        a = c;
        c = swap;
    }
    for (int k = 0; k < ORDER * ORDER; k++)
        hash = hash * 31 + a[k / ORDER][k % ORDER];
    return (struct outcome){hash, n * ORDER * ORDER * ORDER};
}

GUEST("matmul", 2)
