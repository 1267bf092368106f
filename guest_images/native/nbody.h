/* What the twins of the two nbody guests share; `real` is the type of their registers. */

#include "guest.h"

enum { BODIES = 5 };
struct body {
    double position[3], velocity[3], mass;
};

static struct body bodies[BODIES] = {
    {{0x0.0p+0, 0x0.0p+0, 0x0.0p+0}, {-0x1.967e9a7e0f8eap-12, -0x1.ad4ecfe5089fbp-9, 0x1.919331f0b8a71p-16}, 0x1.3bd3cc9be45dep+5},
    {{0x1.35da0343cd92cp+2, -0x1.290abc01fdb7cp+0, -0x1.a86f96c25ebf0p-4}, {0x1.367069b93ccbcp-1, 0x1.67ef2f57d949bp+1, -0x1.9d2d79a5a0715p-6}, 0x1.34c95d9ab33d8p-5},
    {{0x1.0afcdc332ca67p+3, 0x1.07fcb31de01b0p+2, -0x1.9d353e1eb467cp-2}, {-0x1.02c21b8877741p+0, 0x1.d35e9bf1f8f13p+0, 0x1.13c485f1123b4p-7}, 0x1.71d490d07c637p-7},
    {{0x1.9c9eacea7d9cfp+3, -0x1.e38e8d626667ep+3, -0x1.c9557be257da0p-3}, {0x1.1531ca9911befp+0, 0x1.bcc7f3e54bbc5p-1, -0x1.62f6bfaf23e7cp-7}, 0x1.c3dd29cf41eb3p-10},
    {{0x1.ec267a905572ap+3, -0x1.9eb5833c8a220p+4, 0x1.6f1f393abe540p-3}, {0x1.f54b61659bc4ap-1, 0x1.307c631c4fba3p-1, -0x1.1cb88587665f6p-5}, 0x1.0a8f3531799acp-9},
};

static void attract(struct body *one, struct body *other)
{
    real d[3];
    for (int k = 0; k < 3; k++)
        d[k] = (real)one->position[k] - other->position[k];
    real squared = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
    real magnitude = (real)0.01 / (squared * root(squared));
    real gain = magnitude * other->mass, other_gain = magnitude * one->mass;
    for (int k = 0; k < 3; k++) {
        one->velocity[k] = (double)((real)one->velocity[k] - d[k] * gain);
        other->velocity[k] = (double)((real)other->velocity[k] + d[k] * other_gain);
    }
}

static struct outcome run(uint32_t n)
{
    for (uint32_t step = 0; step < n; step++) {
        for (int i = 0; i < BODIES; i++)
            for (int j = i + 1; j < BODIES; j++)
                attract(&bodies[i], &bodies[j]);
        for (int i = 0; i < BODIES; i++)
            for (int k = 0; k < 3; k++)
                bodies[i].position[k] =
                    (double)((real)bodies[i].position[k] + (real)bodies[i].velocity[k] * (real)0.01);
    }
    real momentum = 0;
    for (int i = 0; i < BODIES; i++)
        momentum += (real)bodies[i].velocity[0] * bodies[i].mass;
    self_check(momentum < (real)1e-9 && momentum > (real)-1e-9);
    uint32_t hash = 0, words[sizeof bodies / 4];
    memcpy(words, bodies, sizeof bodies);
    for (size_t k = 0; k < sizeof bodies / 4; k++)
        hash = hash * 31 + words[k];
    return (struct outcome){hash, n * 10};
}
