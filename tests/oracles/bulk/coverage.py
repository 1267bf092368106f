"""Which forms are compared in bulk, which by single cases because they always fault, and which not at all, and why."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from bt.x86.opcodes import PLAIN_FORMS, Form, InstructionClass

_SHOWS_HOST: Final = "shows the processor or the kernel's tables (where UMIP lets it): no two agree"

LEFT_OUT: Final[Mapping[str, str]] = {
    "cpuid": "tells the processor apart; tests/x86/system has what the CPU models answer",
    "int1": "a processor under a hypervisor may report another address; tests/x86/system has it",
    "rdtsc": "time",
    "rdtscp": "time, and which processor it is",
    "sgdt": _SHOWS_HOST,
    "sidt": _SHOWS_HOST,
    "sldt": _SHOWS_HOST,
    "smsw": _SHOWS_HOST,
    "str": _SHOWS_HOST,
    "sysenter": "enters the host's kernel",
    "sysexit": "#UD instead of #GP in the compatibility mode of AMD processors",
}
"""Mnemonics, each with the reason why the host cannot judge them."""

_ALWAYS_FAULTS: Final = frozenset(
    ("cli", "in", "ins", "int", "int3", "out", "outs", "rdpmc", "sti", "ud0", "ud1", "ud2")
)


class Treatment(Enum):
    """How the forms are compared with the host."""

    BULK = "bulk"
    FAULT = "single cases"
    LEFT_OUT = "not at all"


def treatment(form: Form) -> Treatment:
    """How this one is."""
    if form.name in LEFT_OUT:
        return Treatment.LEFT_OUT
    if form.cls is InstructionClass.PRIVILEGED or form.name in _ALWAYS_FAULTS:
        return Treatment.FAULT
    return Treatment.BULK


def forms(wanted: Treatment) -> tuple[Form, ...]:
    """All forms that are compared like this."""
    return tuple(form for form in PLAIN_FORMS if treatment(form) is wanted)


_FAMILIES: Final[Mapping[str, str]] = {"fpu": "x87", "cmov": "x87", "fxsr": "sse", "clflush": "sse"}


def family(form: Form) -> str:
    """The row of the report: what the meaning belongs to, FP by the feature that brought it."""
    group = form.meaning.partition(".")[0]
    if group in ("fp", "x87", "sse"):
        return _FAMILIES.get(form.cpuid or "", form.cpuid or "x87")
    return group
