"""The one calling convention of all generated guest code.

LLVM's `preserve_nonecc` passes twelve integers in registers and saves none, so guest registers can stay in host
registers from fragment to fragment. Which register takes which argument is LLVM's private matter: the order below was
read off llvmlite 0.50 (LLVM 22) and `tests/codegen/test_abi.py` as well as the library build check it again.

eax ecx edx esi edi sit in the host registers of their own names, so `mul`, `div`, shifts by cl and string instructions
need no shuffling. One argument stays free: with `rbx` and `r10` that is enough scratch for a memory stencil without a
single push (checked by the library build).
"""

from __future__ import annotations

from typing import NamedTuple

CONVENTION = "preserve_nonecc"
ARGUMENT_REGISTERS = ("r12", "r13", "r14", "r15", "rdi", "rsi", "rdx", "rcx", "r8", "r9", "r11", "rax")

# Their numbers in ModRM, SIB and (bit 3) REX.
_NUMBERED = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))


class Signature(NamedTuple):
    """What a call needs to know: result type ("void" for none), parameter types, calling convention."""

    name: str
    result: str
    parameters: tuple[str, ...]
    convention: str = ""

    def declare(self) -> str:
        return f"declare hidden {self.convention} {self.result} @{self.name}({', '.join(self.parameters)})"


class RegisterPlan(NamedTuple):
    """Which host register holds what in translated code of one kind of guest.

    `roles`: what each argument of a pinned function is, in the order of ARGUMENT_REGISTERS. Beside guest registers
    there are "state" (its pointer), "budget" (instructions left), "t" (effective address or operand, handed from one
    stencil of an instruction to the next) and "free" (scratch at stencil borders). A guest register without a role
    stays in the state. `suffix` tells the gates of one plan from those of another.
    """

    roles: tuple[str, ...]
    guest: tuple[str, ...]  # roles of the general registers, in the order of the guest's numbers
    suffix: str = ""

    def place(self, role: str) -> int:
        """Which argument a role is. ValueError if it has no register."""
        return self.roles.index(role)

    def register(self, role: str) -> str:
        """Name of its host register."""
        return ARGUMENT_REGISTERS[self.place(role)]

    def number(self, role: str) -> int:
        """Number of its host register."""
        return _NUMBERED.index(self.register(role))

    @property
    def guest_numbers(self) -> tuple[int, ...]:
        """Host register number of each guest register."""
        return tuple(self.number(role) for role in self.guest)

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple("ptr" if role == "state" else "i64" for role in self.roles)

    def signature(self, name: str) -> Signature:
        """Signature of a stencil or of anything a fragment jumps to."""
        return Signature(name, "void", self.parameters, CONVENTION)


# Flat 32-bit code: all eight registers, and the budget, stay in registers.
FLAT_32 = RegisterPlan(
    ("free", "state", "t", "budget", "edi", "esi", "edx", "ecx", "ebx", "ebp", "esp", "eax"),
    ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"),
)

# Interpreter handlers: same register for the state, the same for the budget.
HANDLER_ROLES = ("record", "state", "free", "budget")
HANDLER_PARAMETERS = ("ptr", "ptr", "i64", "i64")


def handler(name: str) -> Signature:
    """Signature of an interpreter handler."""
    return Signature(name, "void", HANDLER_PARAMETERS, CONVENTION)


def native(name: str, *parameters: str, result: str = "i32") -> Signature:
    """Signature of a runtime function with the C convention."""
    return Signature(name, result, parameters)
