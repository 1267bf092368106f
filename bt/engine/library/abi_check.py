"""Is LLVM's `preserve_nonecc` still what bt/codegen/abi.py says? Asked whenever the library is built."""

from __future__ import annotations

import re

from bt.codegen.abi import ARGUMENT_REGISTERS, FLAT_32
from bt.codegen.builder import Module
from bt.codegen.errors import CodegenError
from bt.codegen.llvm import assemble
from bt.codegen.objectfile import read_object
from bt.x86.capstone_layout import Handle

_FIRST_CONSTANT = 0x1000


def argument_registers() -> tuple[str, ...]:
    """The registers LLVM passes a pinned function's arguments in, read off compiled code.

    A function that compares each argument with a constant of its own shows which register that is.
    """
    module = Module("abi")
    b = module.function(FLAT_32.signature("probe"))
    for place, argument in enumerate(b.arguments):
        b.asm(f"cmpq $${_FIRST_CONSTANT + place}, $0", "r", "void", argument.zext(64))
    b.finish()
    code = read_object(assemble(module.text())).functions["probe"].code
    found: dict[int, str] = {}
    with Handle(64) as handle:
        for line in handle.disassemble(code):
            if match := re.fullmatch(r"cmp (\w+), 0x([0-9a-f]+)", line.text):
                found[int(match[2], 16) - _FIRST_CONSTANT] = match[1]
    return tuple(found.get(place, "?") for place in range(len(b.arguments)))


def check_abi() -> None:
    """Raise CodegenError if the registers are not the ones translated code relies on."""
    registers = argument_registers()
    if registers != ARGUMENT_REGISTERS:
        raise CodegenError(
            f"llvmlite passes arguments in {' '.join(registers)}, bt needs {' '.join(ARGUMENT_REGISTERS)}: "
            "install the llvmlite version that pyproject.toml names"
        )
