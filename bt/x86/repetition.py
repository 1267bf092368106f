"""How much of a repeated instruction is done at once."""

# Interrupts wait at most this many iterations. The bound must not depend on what the TLB holds: an execution is one
# instruction of the virtual clock, and engines must agree on how much it does.
ITERATIONS = 4096
