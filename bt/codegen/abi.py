"""The one calling convention of all generated guest code.

LLVM's `preserve_nonecc` passes twelve integers in registers and saves none, so guest registers can stay in host
registers from fragment to fragment. Which register takes which argument is LLVM's private matter: the order below was
read off llvmlite 0.50 (LLVM 22) and `tests/codegen/test_abi.py` as well as the library build check it again.

eax ecx edx esi edi sit in the host registers of their own names, so `mul`, `div`, shifts by cl and string instructions
need no shuffling. One argument stays free: with `rbx` and `r10` that is enough scratch for a memory stencil without a
single push (checked by the library build).
"""

from __future__ import annotations

from bt.codegen.builder import Signature

CONVENTION = "preserve_nonecc"
ARGUMENT_REGISTERS = ("r12", "r13", "r14", "r15", "rdi", "rsi", "rdx", "rcx", "r8", "r9", "r11", "rax")

# Translated code: the role of each argument. "free" is scratch at stencil borders; "t" is the scratch value
# (effective address or operand) handed from one stencil of an instruction to the next.
PINNED_ROLES = ("free", "state", "t", "budget", "edi", "esi", "edx", "ecx", "ebx", "ebp", "esp", "eax")
# Their numbers in ModRM, SIB and (bit 3) REX.
_NUMBERED = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))
HOST_NUMBERS = {role: _NUMBERED.index(name) for role, name in zip(PINNED_ROLES, ARGUMENT_REGISTERS, strict=True)}
PINNED_PARAMETERS = tuple("ptr" if role == "state" else "i64" for role in PINNED_ROLES)

# Interpreter handlers: same register for the state, the same for the budget.
HANDLER_ROLES = ("record", "state", "free", "budget")
HANDLER_PARAMETERS = ("ptr", "ptr", "i64", "i64")


def pinned(name: str) -> Signature:
    """Signature of a stencil or of anything a fragment jumps to."""
    return Signature(name, "void", PINNED_PARAMETERS, CONVENTION)


def handler(name: str) -> Signature:
    """Signature of an interpreter handler."""
    return Signature(name, "void", HANDLER_PARAMETERS, CONVENTION)


def native(name: str, *parameters: str, result: str = "i32") -> Signature:
    """Signature of a runtime function with the C convention."""
    return Signature(name, result, parameters)
