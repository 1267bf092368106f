"""The same EIP in another code segment is other code, or none."""

from __future__ import annotations

import pytest

from guest_images.assembler import assemble
from tests import tables
from tests.engines import factories
from tests.smc.guest import DONE, GDT, IDT, KERNEL_CODE, PROGRAM, STUBS, Mode, Paging, SmcGuest, guest

FIRST, SECOND, SHORT = 0x30, 0x38, 0x40
"""Selectors: two segments with the same code addresses, and the first one again with a lower limit."""
FIRST_BASE, SECOND_BASE, OFFSET = 0x20000, 0x30000, 0x100
FIRST_VALUE, SECOND_VALUE = 0x11111111, 0x22222222
TIMES = 30
GENERAL_PROTECTION = 13


def _descriptors(last: int) -> bytes:
    return b"".join(
        tables.descriptor(tables.CODE, base=base, limit=limit, flags=tables.BIG)
        for base, limit in ((FIRST_BASE, 0xFFFF), (SECOND_BASE, 0xFFFF), (FIRST_BASE, last))
    )


def _routine(value: int, jump: bytes = b"") -> bytes:
    """MOV EAX, value; RETF; perhaps with a jump before."""
    return jump + b"\xb8" + value.to_bytes(4, "little") + b"\xcb"


def _run(machine: SmcGuest, program: str, last: int = 0xFFFF, jump: bytes = b"") -> tuple[int, int]:
    memory = {
        PROGRAM: assemble(program, 32, PROGRAM),
        GDT + FIRST: _descriptors(last),
        IDT + 8 * GENERAL_PROTECTION: tables.interrupt_gate(KERNEL_CODE, STUBS),  # it ends the run too
        FIRST_BASE + OFFSET: _routine(FIRST_VALUE, jump),
        SECOND_BASE + OFFSET: _routine(SECOND_VALUE, jump),
    }
    return machine.run(Mode(Paging.OFF, 0), memory)


@pytest.mark.parametrize(
    "jump", [b"", b"\xeb\x00", b"\xb9\x08\x01\x00\x00\xff\xe1\xcc"], ids=["plain", "jmp", "jmp ecx"]
)
@pytest.mark.parametrize("engine", factories())
def test_another_base(engine: str, jump: bytes) -> None:
    """Far calls to one offset in two segments by turns. What is jumped to inside is remembered by its offset."""
    program = f"""
        mov ebp, {TIMES}
    again:
        call {FIRST}:{OFFSET}
        add ebx, eax
        call {SECOND}:{OFFSET}
        add ebx, eax
        dec ebp
        jnz again
        int {DONE}
    """
    _, total = _run(guest(engine), program, jump=jump)
    assert total == TIMES * (FIRST_VALUE + SECOND_VALUE) & 0xFFFFFFFF


@pytest.mark.parametrize(("last", "value"), [(OFFSET + 5, FIRST_VALUE), (OFFSET + 4, FIRST_VALUE), (OFFSET + 3, 0)])
@pytest.mark.parametrize("engine", factories())
def test_a_lower_limit(engine: str, last: int, value: int) -> None:
    """What ran in a segment with room for it is #GP behind the limit of another; `last` is the last good offset."""
    program = f"""
        mov ebp, {TIMES}
    again:
        call {FIRST}:{OFFSET}
        dec ebp
        jnz again
        xor eax, eax
        call {SHORT}:{OFFSET}
        mov ebx, 1
        int {DONE}
    """
    eax, returned = _run(guest(engine), program, last)
    assert eax == value
    assert returned == (last >= OFFSET + 5)
