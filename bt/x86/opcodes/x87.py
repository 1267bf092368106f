"""The x87 escapes D8-DF and wait: what a kernel needs to probe for and initialise the FPU.

The rest of the x87 set belongs here too; until it comes, its encodings are listed as undefined.
"""

from __future__ import annotations

from typing import Final

from .form import AX, IDENTITY, Form, Mw

_PROBE = "callout: acts on the virtual x87 control and status words"

# Columns line up; the formatter would tear them apart.
# fmt: off
X87: Final[tuple[Form, ...]] = (
    Form("9B",    "wait",   (),    "x87.wait",   IDENTITY, treatment="#NM if CR0.MP and CR0.TS are set, else nothing"),
    Form("D9 /5", "fldcw",  (Mw,), "x87.fldcw",  IDENTITY, cpuid="fpu", treatment=_PROBE),
    Form("D9 /7", "fnstcw", (Mw,), "x87.fnstcw", IDENTITY, cpuid="fpu", treatment=_PROBE),
    Form("DB E2", "fnclex", (),    "x87.fnclex", IDENTITY, cpuid="fpu", treatment=_PROBE),
    Form("DB E3", "fninit", (),    "x87.fninit", IDENTITY, cpuid="fpu", treatment=_PROBE),
    Form("DD /7", "fnstsw", (Mw,), "x87.fnstsw", IDENTITY, cpuid="fpu", treatment=_PROBE),
    Form("DF E0", "fnstsw", (AX,), "x87.fnstsw", IDENTITY, cpuid="fpu", treatment=_PROBE),
)
# fmt: on

# Written as {opcode: ModRM parts that are left}.
_LEFT: Final[dict[str, tuple[str, ...]]] = {
    "D8": ("/r",),
    "D9": ("/0-4", "/6", "/5 mod=3", "/7 mod=3"),
    "DA": ("/r",),
    "DB": ("/0-7 mem", "C0-DF", "E0-E1", "E4-E7", "E8-FF"),
    "DC": ("/r",),
    "DD": ("/0-6", "/7 mod=3"),
    "DE": ("/r",),
    "DF": ("/0-7 mem", "C0-DF", "E1-E7", "E8-FF"),
}
X87_UNDEFINED: Final[dict[str, str]] = {
    f"{opcode} {part}": "x87, not implemented yet" for opcode, parts in _LEFT.items() for part in parts
}
