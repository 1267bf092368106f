"""What units of 64-bit code remember of the TLB is for the address accessed, and forgotten when the TLB forgets it."""

from __future__ import annotations

import ctypes
from functools import partial
from random import Random

import pytest

from bt.engine.library.library import load_library
from bt.engine.translator.vcpu import TranslatingVcpu
from guest_images.assembler import assemble_program
from tests import tables
from tests.engines import factories
from tests.smc.long_guest import ALIAS, FIRST_TABLE, LOW_POINTERS, PROGRAM, RAM_BYTES, LongGuest, Mode, long_guest

DATA, PAGES, OTHER, CHANGED = 0x30000, 8, 0x50000, 3  # of the pages from DATA on that one is changed, and OTHER instead
_ENTRY = FIRST_TABLE + 8 * (DATA // 0x1000 + CHANGED)
_LINEAR = DATA + 0x1000 * CHANGED
_REMAP = f"mov edi, {_ENTRY}\nxor qword ptr [rdi], {_LINEAR ^ OTHER}\nmov edi, {_LINEAR}\n"

CHANGES = {
    "invlpg": _REMAP + "invlpg [rdi]",
    "cr3": _REMAP + "mov rax, cr3\nmov cr3, rax",
    # what an entry that was taken for another address does at the next access: the page tables show it
    "another address in its place": (
        f"mov edi, {_ENTRY}\nmov rax, [rdi]\nadd r12, rax\nand qword ptr [rdi], -33\n"
        f"mov r8, {ALIAS + _LINEAR}\nmov rax, [r8]"
    ),
    "nothing": "",
}
_PROGRAM = """
.bits 64
    mov ebp, 60
    xor ebx, ebx
    xor r12d, r12d
again:
    mov esi, {data}
next:
    {access}
    add rsi, 0x1fd
    cmp rsi, {last}
    jb next
    {change}
    dec ebp
    jnz again
    add rbx, r12
    ud2
"""
_ACCESSES = {
    "read": "add rbx, [rsi]",
    "read with index": "xor ecx, ecx\nadd rbx, [rsi + rcx]",
    "write": "add [rsi], rbx\ninc rbx",
    "neighbours": "add rbx, [rsi]\nlea rax, [r10 + rcx * 2 + 5]\nadd rbx, [rsi + 8]",
}


@pytest.mark.parametrize("engine", [name for name in factories() if name != "interp"])
@pytest.mark.parametrize("access", _ACCESSES)
@pytest.mark.parametrize("change", CHANGES)
def test_units_see_what_the_interpreter_sees(engine: str, access: str, change: str) -> None:
    text = _PROGRAM.format(
        data=DATA, last=DATA + 0x1000 * PAGES - 0x10, access=_ACCESSES[access], change=CHANGES[change]
    )
    program = assemble_program(text, 32, PROGRAM).image
    memory = {PROGRAM: program, DATA: Random(0).randbytes(0x1000 * PAGES), OTHER: bytes(range(256)) * 16}
    outcomes = []
    for name in ("interp", engine):
        guest = long_guest(name)
        result = guest.run(Mode(large=False, cpl=0), memory, target=OTHER)
        outcomes.append((result, guest.ram.read(0, RAM_BYTES)))
    assert outcomes[0][0] == outcomes[1][0]
    assert outcomes[0][1] == outcomes[1][1], "memory differs"


@pytest.mark.parametrize(("samples", "has_reaches"), [(2, True), (1 << 30, False)])
def test_units_have_reaches_when_they_are_hot(samples: int, *, has_reaches: bool) -> None:
    text = _PROGRAM.format(data=DATA, last=DATA + 0x1000 * PAGES - 0x10, access="add rbx, [rsi]", change="")
    text = text.replace("mov ebp, 60", "mov ebp, 500")
    memory = {PROGRAM: assemble_program(text, 32, PROGRAM).image, DATA: Random(0).randbytes(0x1000 * PAGES)}
    wanted = long_guest("interp").run(Mode(large=False, cpl=0), memory, target=OTHER)
    guest = LongGuest(partial(TranslatingVcpu, heat=20, samples=samples), load_library())
    assert guest.run(Mode(large=False, cpl=0), memory, target=OTHER) == wanted
    known = ctypes.c_uint64.from_address(guest.cpu.state["reaches"]).value
    guest.cpu.close()
    assert bool(known) == has_reaches


_BEYOND, _DIRECTORY, _TABLE = 4 << 30, 0x48000, 0x49000  # where all pages are OTHER
_ADDRESSES = {
    "FS": "add rbx, fs:[rsi]",
    "FS, write": "inc rbx\nadd fs:[rsi + 8], rbx",
    "FS with index": "add rbx, fs:[rsi + rcx]",
    "32 bits": "add rbx, [rdi]\nadd rbx, [edi]",  # the first has the TLB know the other address, too
    "32 bits, write": "inc rbx\nadd [rdi], rbx\nadd [edi + 8], rbx",
    "32 bits with index": "add rbx, [rdi]\nadd rbx, [edi + ecx]",
}
_ADDRESSES_PROGRAM = """
.bits 64
    mov ecx, 0xc0000100 ; FS's base
    mov eax, {fs_base}
    xor edx, edx
    wrmsr
    xor ecx, ecx
    xor ebx, ebx
    mov ebp, 200
again:
    mov esi, {data}
    mov rdi, {data} + {beyond}
next:
    {access}
    add rsi, 0x108
    add rdi, 0x108
    cmp esi, {last}
    jb next
    dec ebp
    jnz again
    ud2
"""


@pytest.mark.parametrize("engine", [name for name in factories() if name != "interp"])
@pytest.mark.parametrize("address", _ADDRESSES)
def test_more_than_a_base_goes_into_an_address(engine: str, address: str) -> None:
    text = _ADDRESSES_PROGRAM.format(
        fs_base=0x1000, data=DATA, beyond=_BEYOND, last=DATA + 0x2000, access=_ADDRESSES[address]
    )
    rights = tables.PRESENT | tables.WRITABLE
    memory = {
        PROGRAM: assemble_program(text, 32, PROGRAM).image,
        DATA: Random(0).randbytes(0x1000 * PAGES),
        LOW_POINTERS + 8 * (_BEYOND >> 30): (_DIRECTORY | rights).to_bytes(8, "little"),
        _DIRECTORY: (_TABLE | rights).to_bytes(8, "little"),
        _TABLE: (OTHER | rights).to_bytes(8, "little") * 512,
    }
    outcomes = []
    for name in ("interp", engine):
        guest = long_guest(name)
        result = guest.run(Mode(large=False, cpl=0), memory, target=OTHER)
        outcomes.append((result, guest.ram.read(0, RAM_BYTES)))
    assert outcomes[0][0] == outcomes[1][0]
    assert outcomes[0][1] == outcomes[1][1], "memory differs"
