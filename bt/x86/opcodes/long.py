"""Forms that only 64-bit mode has (SDM vol. 2 appendix A: o64).

What it has not, or with another operand size, is marked with the other forms: see `Form.long`.
"""

from __future__ import annotations

from typing import Final

from .form import ALL_FLAGS, IDENTITY, PRIVILEGED, SENSITIVE, Ez, Form, Gv, Ry

# Columns line up; the formatter would tear them apart.
# fmt: off
LONG: Final[tuple[Form, ...]] = (
    # without REX.W it is a MOV, of 16 bits with prefix 66
    Form("63 /r",       "movsxd",      (Gv, Ez),     "move.movsx",            IDENTITY,   long="only"),
    Form("0F 05",       "syscall",     (),           "interrupts.syscall",    SENSITIVE,  reads=ALL_FLAGS,
         writes=ALL_FLAGS, cpuid="syscall", ends_block=True, long="only"),
    Form("0F 07",       "sysret",      (),           "interrupts.sysret",     PRIVILEGED, writes=ALL_FLAGS,
         cpuid="syscall", ends_block=True, long="only"),
    Form("0F 01 F8",    "swapgs",      (),           "bases.swapgs",          PRIVILEGED, cpuid="lm", long="only"),
    # #UD unless CR4.FSGSBASE
    Form("F3 0F AE /0 mod=3", "rdfsbase", (Ry,),     "bases.rdfsbase", SENSITIVE, cpuid="fsgsbase", long="only"),
    Form("F3 0F AE /1 mod=3", "rdgsbase", (Ry,),     "bases.rdgsbase", SENSITIVE, cpuid="fsgsbase", long="only"),
    Form("F3 0F AE /2 mod=3", "wrfsbase", (Ry,),     "bases.wrfsbase", SENSITIVE, cpuid="fsgsbase", long="only"),
    Form("F3 0F AE /3 mod=3", "wrgsbase", (Ry,),     "bases.wrgsbase", SENSITIVE, cpuid="fsgsbase", long="only"),
)
# fmt: on
