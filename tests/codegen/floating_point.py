"""Looks for instructions that touch the x87, MMX and vector registers, or what controls them."""

from __future__ import annotations

import re
from typing import Final

from capstone import CS_ARCH_X86, CS_MODE_64, Cs

_REGISTERS: Final = re.compile(r"\b(?:[xyz]?mm\d+|st(?:\(\d\))?|k[0-7])\b")
# x87 and FXSAVE; AVX; XSAVE; what names no register
_MNEMONICS: Final = re.compile(r"f|v|xsave|xrstor|emms|(?:ld|st)mxcsr|wait")


def floating_point(code: bytes) -> list[str]:
    """The instructions of 64-bit `code` that read, write or name such a register."""
    found, end = [], 0
    for address, size, mnemonic, operands in Cs(CS_ARCH_X86, CS_MODE_64).disasm_lite(code, 0):
        end = address + size
        if _MNEMONICS.match(mnemonic) or _REGISTERS.search(operands):
            found.append(f"{mnemonic} {operands}".rstrip())
    assert end == len(code), f"capstone does not understand {code[end : end + 15].hex(' ')}"
    return found
