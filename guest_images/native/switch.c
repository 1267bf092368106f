#include "guest.h"

enum opcode { HALT, PUSH, LOAD, STORE, ADD, MUL, XOR, AND, SHR, JUMP, JUMP_IF_ZERO, EQUAL, DUP, INCREMENT };
enum variable { K, VALUE, STEPS, HASH, N, VARIABLES };

#define WORD(value) (value), 0, 0, 0
static const uint8_t program[] = {
    INCREMENT, K, LOAD, K, STORE, VALUE, PUSH, WORD(0), STORE, STEPS,       /* 0: k += 1, value = k, steps = 0 */
    LOAD, VALUE, PUSH, WORD(1), EQUAL, JUMP_IF_ZERO, 24,                    /* 13: while value != 1, at 47 */
    LOAD, HASH, PUSH, WORD(31), MUL, LOAD, STEPS, ADD, LOAD, K, XOR, STORE, HASH,
    LOAD, K, LOAD, N, EQUAL, JUMP_IF_ZERO, (uint8_t)-46, HALT,              /* until k = n */
    INCREMENT, STEPS, LOAD, VALUE, DUP, PUSH, WORD(1), AND, JUMP_IF_ZERO, 16, /* 47: odd? */
    PUSH, WORD(3), MUL, PUSH, WORD(1), ADD, STORE, VALUE, JUMP, (uint8_t)-63, /* value = value * 3 + 1 */
    SHR, STORE, VALUE, JUMP, (uint8_t)-68,                                  /* value >>= 1 */
};

static struct outcome run(uint32_t n)
{
    uint32_t variables[VARIABLES] = {[N] = n}, stack[256], *top = stack, executed = 0, value;
    const uint8_t *pc = program;
    self_check(n != 0);
    for (;;) {
        executed++;
        switch ((enum opcode)*pc++) {
        case HALT:
            self_check(top == stack);
            return (struct outcome){variables[HASH], executed};
        case PUSH:
            memcpy(++top, pc, 4);
            pc += 4;
            break;
        case LOAD:
            *++top = variables[*pc++];
            break;
        case STORE:
            variables[*pc++] = *top--;
            break;
        case ADD:
            value = *top--;
            *top += value;
            break;
        case MUL:
            value = *top--;
            *top *= value;
            break;
        case XOR:
            value = *top--;
            *top ^= value;
            break;
        case AND:
            value = *top--;
            *top &= value;
            break;
        case SHR:
            *top >>= 1;
            break;
        case JUMP:
            pc += 1 + (int8_t)*pc;
            break;
        case JUMP_IF_ZERO:
            pc += 1 + (*top-- == 0 ? (int8_t)*pc : 0);
            break;
        case EQUAL:
            value = *top--;
            *top = *top == value;
            break;
        case DUP:
            top++;
            *top = top[-1];
            break;
        case INCREMENT:
            variables[*pc++]++;
            break;
        default:
            self_check(0);
        }
    }
}

GUEST("switch", 1000)
