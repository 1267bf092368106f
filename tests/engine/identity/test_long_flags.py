"""Flags of 64-bit code wherever a unit of it may be left: they are made again, or saved, on the way to other units."""

from __future__ import annotations

import pytest

from guest_images.assembler import assemble_program
from tests.engines import TIER_2
from tests.smc.long_guest import PROGRAM, Mode, long_guest

# Loops whose rounds go on at one of two places by chance, one of which sees flags and one of which does not.
_BY_CHANCE = """
.bits 64
    mov ebp, 150
    mov ebx, 1
    mov rsi, 0xC000
again:
    imul ebx, ebx, 1103515245
    add ebx, 12345
    mov edx, ebx
    shr edx, 17
    mov edi, ebx
"""
_TEXT = """
    mov r10, rbx
    mov ecx, ebx
    and ecx, 0x10000
    {makes}
    mov r8d, [rsi + 16]
    jrcxz blind
    mov r9d, [rsi + 8]
    setbe cl
    mov [rsi], edx
    cmp edx, 77
    jmp next
blind:
    add edi, edx
    adc edx, edi
    mov [rsi + 8], edi
next:
    adc r11d, ebp
    dec ebp
    jnz again
    ud2
"""
_MAKES = (
    *("inc edx", "dec dl", "neg dx", "neg r10", "shl edx, 20", "shl r10, 37", "shr dx, 3", "sar dl, 2", "shr edi, 1"),
    *("add edx, edx", "add dl, 17", "sub r10, rdx", "sub edx, edx", "add r10w, dx", "imul edx, edi", "imul r10, rdx"),
    *("mul edi", "and r10, rdx", "cmp r10b, dl", "test edi, 0x8000", "shld edx, edi, 9", "adc edx, edi"),
    "xadd edx, edi",
)


@pytest.mark.parametrize("step", [29, 64, 331])
@pytest.mark.parametrize("makes", _MAKES)
def test_flags_at_stops(makes: str, step: int) -> None:
    """As in the interpreter, with stops at all kinds of places."""
    _check(_TEXT.format(makes=makes), step)


# What flags were made of is gone when somebody may see them, which is where they are overwritten unseen otherwise.
_OVERWRITTEN_BEHIND = """
    mov ecx, ebx
    shr ecx, 16
    and ecx, {count}
    {makes}
    mov r8d, [rsi + 16]
    mov edx, ebp
    mov edi, r8d
    {leaves} sees
    add edx, edi
    jmp next
sees:
    setbe [rsi]
    adc r11d, ebp
next:
    add r11d, [rsi]
    rol r11d, 3
    dec ebp
    jnz again
    ud2
"""


@pytest.mark.parametrize("step", [29, 331])
@pytest.mark.parametrize("leaves", ["jrcxz", "jecxz", "loop", "js"])
@pytest.mark.parametrize(
    "makes", ["cmp edx, edi", "sub edx, edi", "neg edx", "shl edi, 5", "imul edx, edi", "adc edx, edi"]
)
def test_flags_that_are_overwritten_only_if_nothing_leaves(makes: str, leaves: str, step: int) -> None:
    _check(_OVERWRITTEN_BEHIND.format(makes=makes, leaves=leaves, count=3 if leaves == "loop" else 1), step)


def _check(body: str, step: int) -> None:
    memory = {PROGRAM: assemble_program(_BY_CHANCE + body, 32, PROGRAM).image}
    mode = Mode(large=False, cpl=0)
    guest = long_guest(TIER_2)
    before = guest.cpu.control("unit_insns")
    wanted, got = long_guest("interp").stops(mode, memory, step), guest.stops(mode, memory, step)
    assert wanted == got
    assert guest.cpu.control("unit_insns") - before > 100, "some of it has to be done in units"
