/* What the C twins of the compute guests share: options as on a guest's command line, output as a guest's. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A twin computes its checksum and counts its operations; both agree with the guest's for the same options. */
struct outcome {
    uint32_t result;
    uint32_t ops;
};

static const char *options = "";

static uint32_t number_option(const char *name, uint32_t absent)
{
    size_t length = strlen(name);
    for (const char *word = options; word != NULL; word = strchr(word, ' ')) {
        word += *word == ' ';
        if (strncmp(word, name, length) == 0)
            return (uint32_t)strtoul(word + length, NULL, 10);
    }
    return absent;
}

static inline uint32_t next_random(uint32_t x)
{
    return x * 1664525u + 1013904223u;
}

static void self_check(int holds)
{
    if (!holds) {
        puts("self-check failed");
        exit(3); /* a guest's status 1 seen through the debug-exit port */
    }
}

static struct outcome run(uint32_t n);

#define GUEST(name, default_n)                                                   \
    int main(int argc, char **argv)                                              \
    {                                                                            \
        if (argc > 1)                                                            \
            options = argv[1];                                                   \
        puts(name);                                                              \
        struct outcome outcome = run(number_option("n=", default_n));            \
        printf("result=%08x\nops=%u\n", outcome.result, outcome.ops);            \
        return 1; /* a guest's status 0 seen through the debug-exit port */      \
    }
