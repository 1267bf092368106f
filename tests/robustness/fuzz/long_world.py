"""The fuzzer's guest in long mode: tables, pages and handlers around code of 64, 32 and 16 bits.

The code of a program is in plots (plots.py), of which each size of code has some. Whatever happens, the handler goes on
with the next plot of the same size: that of the code segment that was interrupted. Handlers are 64-bit code.
"""

from __future__ import annotations

import struct
from functools import cache
from random import Random
from typing import NamedTuple

from guest_images.assembler import assemble
from tests import tables
from tests.robustness.fuzz.world import (
    CODE,
    CODE_BYTES,
    DATA,
    EXCEPTIONS,
    GDT,
    IDT,
    LDT,
    MOVER,
    RAM_BYTES,
    STACK_TOPS,
    STUBS,
    TIMER,
)

PLOT_BYTES = 0x100
PROGRAM_BYTES = 0x800
ORIGIN = CODE + 0xE80
"""Of the program: its second plot is on two pages. Copies of it fill the rest of the code region."""


class Area(NamedTuple):
    """Where in the program the plots of one size of code are, and how many."""

    offset: int
    plots: int


AREAS = {64: Area(0, 4), 32: Area(0x400, 2), 16: Area(0x600, 2)}

TSS, AREA_TABLE, SYSTEM_CALL = 0x1A00, 0x1C00, STUBS + 0xE00
TOP, POINTERS, HIGH_POINTERS, DIRECTORY, HIGH_DIRECTORY, TABLE, SECOND_TABLE, HIGH_TABLE, SECOND_TOP = range(
    0x20000, 0x29000, tables.PAGE_BYTES
)
HIGH = 0xFFFF_8000_0000_0000
"""Here begins an alias of the low half in which pages of data have changed places."""
LARGE_BYTES, HUGE_BYTES, TABLE_BYTES = 2 << 20, 1 << 30, 512 << 30
DIRECTORIES = (TOP, SECOND_TOP)
PAGING = dict.fromkeys(range(TOP, SECOND_TOP + tables.PAGE_BYTES, tables.PAGE_BYTES), tables.PAGE_BYTES)

LONG, BIG_CODE = 0x2, 0x4  # descriptor flags L and D
KERNEL_CODE, KERNEL_DATA, USER_CODE_32, USER_DATA, USER_CODE = 0x08, 0x10, 0x1B, 0x23, 0x2B
KERNEL_CODE_32, KERNEL_CODE_16, KERNEL_DATA_16, USER_CODE_16, USER_DATA_16 = 0x30, 0x38, 0x40, 0x4B, 0x53
STACK_16, STACK_16_USER, TASK, LDT_SELECTOR, CALL_GATE, BUSY_GATE = 0x58, 0x63, 0x68, 0x78, 0x8B, 0x9B
CODE_SEGMENTS = {
    (64, 0): KERNEL_CODE,
    (64, 3): USER_CODE,
    (32, 0): KERNEL_CODE_32,
    (32, 3): USER_CODE_32,
    (16, 0): KERNEL_CODE_16,
    (16, 3): USER_CODE_16,
}
"""Selectors by size of code and level."""
GDT_BYTES = 0xE0
SELECTORS = tuple(range(0, GDT_BYTES, 8))
_GATE_32, _INTERRUPT, _TRAP, _CALL = 0x86, 0x8E, 0x8F, 0x8C
_EVERYTHING = tables.PRESENT | tables.WRITABLE | tables.USER
_NO_EXECUTE = 1 << 63
TASK_BYTES = 0x68
STUB_BYTES = 128
PAGE_TABLES = 24
_IST = (0xFB00, 0xFD00, 0xFF00)
"""Tops of the interrupt stacks 1 to 3, in the page behind the stacks of the levels."""

# What is due to a handler: the next plot of the code segment's size, no flags that last, no breakpoints.
_GO_ON = """
    push rax
    push rcx
    movzx ecx, word [rsp + 0x20]
    and ecx, 0xF8
    mov eax, [rsp + 0x18]
    sub eax, {origin}
    and eax, 0x700
    add eax, 0x100
    and eax, [rcx + {table}]
    add eax, [rcx + {table} + 4]
    mov rcx, [rsp + 0x18]
    sar rcx, 63
    shl rcx, 47
    or rcx, rax
    mov [rsp + 0x18], rcx
    mov eax, {kernel_data}
    mov ecx, {data}
    test byte [rsp + 0x20], 3
    cmovnz eax, ecx
    mov [rsp + 0x38], rax
    and dword [rsp + 0x28], {flags}
    or dword [rsp + 0x28], 0x200
    mov eax, 0x400
    mov dr7, rax
    clts
    mov ds, ecx
    mov es, ecx
    pop rcx
    pop rax
    add rsp, 8
    iretq
"""
_KEPT_FLAGS = 0x200ED7  # none of TF, NT, RF, VM, AC, IOPL
_RETURN = "    iretq\n"


@cache
def _handler(vector: int) -> bytes:
    """Of an exception or interrupt; those that push no error code push something."""
    if vector == TIMER:
        return assemble(_RETURN, 64, STUBS)
    has_error_code = vector in tables.VECTORS_WITH_ERROR_CODE
    wanted = {"origin": ORIGIN, "table": AREA_TABLE, "flags": _KEPT_FLAGS}
    text = _GO_ON.format(**wanted, data=USER_DATA, kernel_data=KERNEL_DATA)
    return assemble(("" if has_error_code else "    push 0\n") + text, 64, STUBS)


@cache
def _system_call() -> bytes:
    """What SYSCALL leads to: a few instructions at level 0, then back, or on at level 0."""
    text = f"    swapgs\n    inc qword [{DATA + 0x7F00}]\n    swapgs\n    .byte 0x48, 0x0F, 0x07\n"
    return assemble(text, 64, SYSTEM_CALL)


def plot_address(random: Random, bits: int) -> int:
    """Where some plot begins."""
    area = AREAS[bits]
    return ORIGIN + area.offset + PLOT_BYTES * random.randrange(area.plots)


def _wide_gate(access: int, selector: int, offset: int, ist: int = 0) -> bytes:
    low = struct.pack("<HHBBH", offset & 0xFFFF, selector, ist, access, offset >> 16 & 0xFFFF)
    return low + struct.pack("<II", offset >> 32, 0)


def _wide(access: int, base: int, limit: int) -> bytes:
    return tables.descriptor(access, base=base, limit=limit, flags=0) + struct.pack("<II", base >> 32, 0)


def _gdt(random: Random) -> bytes:
    code, data, user = tables.CODE, tables.DATA, tables.DPL_3
    long = tables.PAGES | LONG
    small = {"limit": 0xFFFF, "flags": 0}
    gate = _wide_gate(_CALL | user, KERNEL_CODE, plot_address(random, 64))
    other_gate = _wide_gate(_CALL | user, random.choice((KERNEL_CODE_32, USER_CODE, 0)), plot_address(random, 64))
    task = _wide(tables.TSS, TSS, TASK_BYTES - 1)
    ldt = _wide(tables.LDT, LDT, 15)
    entries = {
        KERNEL_CODE: tables.descriptor(code, flags=long),
        KERNEL_DATA: tables.descriptor(data),
        USER_CODE_32: tables.descriptor(code | user),
        USER_DATA: tables.descriptor(data | user),
        USER_CODE: tables.descriptor(code | user, flags=long),
        KERNEL_CODE_32: tables.descriptor(code),
        KERNEL_CODE_16: tables.descriptor(code, **small),
        KERNEL_DATA_16: tables.descriptor(data, base=DATA, **small),
        USER_CODE_16: tables.descriptor(code | user, **small),
        USER_DATA_16: tables.descriptor(data | user, base=DATA, **small),
        STACK_16: tables.descriptor(data, **small),
        STACK_16_USER: tables.descriptor(data | user, **small),
        TASK: task[:8],
        TASK + 8: task[8:],
        LDT_SELECTOR: ldt[:8],
        LDT_SELECTOR + 8: ldt[8:],
        CALL_GATE: gate[:8],
        CALL_GATE + 8: gate[8:],
        BUSY_GATE: other_gate[:8],
        BUSY_GATE + 8: other_gate[8:],
        0xA8: tables.descriptor(code | 4, flags=long),  # conforming
        0xB0: tables.descriptor(code, flags=long | BIG_CODE),  # L and D
        0xB8: tables.descriptor(data & ~2 | user),
        0xC0: tables.descriptor(data & ~0x80 | user),
        0xC8: tables.descriptor(data | 4 | user, limit=0),  # expand-down
        0xD0: tables.descriptor(code & ~0x80 | user, flags=long),
        0xD8: tables.descriptor(data | user, base=random.choice((0x1000, 0xFFFF_F000, random.getrandbits(32)))),
    }
    return tables.descriptor_table(entries)


def _idt(random: Random) -> bytes:
    """Handlers for exceptions, some on stacks of their own; beyond them each kind of gate, over and over."""
    user = tables.DPL_3
    stacks = random.random() < 0.5
    gates = []
    for vector in range(EXCEPTIONS + 2):
        ist = 1 if vector == 8 else 2 if vector == 2 else random.choice((0, 0, 3)) if stacks else 0
        access = random.choice((_INTERRUPT, _TRAP)) | user * (vector in (3, 4) or random.random() < 0.1)
        gates.append(_wide_gate(access, KERNEL_CODE, STUBS + vector % 28 * STUB_BYTES, ist))
    for vector in (TIMER, MOVER):
        gates[vector] = _wide_gate(_INTERRUPT | user, KERNEL_CODE, STUBS + (vector - TIMER + 24) * STUB_BYTES)
    kinds = (
        _wide_gate(_TRAP | user, KERNEL_CODE, plot_address(random, 64)),
        _wide_gate(_TRAP | user, 0xA8, plot_address(random, 64)),
        _wide_gate(_INTERRUPT | user, USER_CODE, plot_address(random, 64)),
        _wide_gate(_INTERRUPT | user, KERNEL_CODE_32, plot_address(random, 32)),
        _wide_gate(_INTERRUPT & ~0x80 | user, KERNEL_CODE, STUBS),
        _wide_gate(_INTERRUPT, KERNEL_CODE, STUBS + 24 * STUB_BYTES),
        _wide_gate(_GATE_32 | user, KERNEL_CODE, STUBS),
        _wide_gate(_TRAP | user, KERNEL_CODE, plot_address(random, 64) + HIGH),
        _wide_gate(_TRAP | user, KERNEL_CODE, 0x8000_0000_0000),
        _wide_gate(_INTERRUPT | user, 0, 0),
        _wide_gate(_INTERRUPT | user, KERNEL_CODE, STUBS + 24 * STUB_BYTES, random.randrange(8)),
    )
    while len(gates) < 256:
        gates.append(kinds[len(gates) % len(kinds)])
    return b"".join(gates)


def _stubs() -> bytes:
    """Handlers of the first 24 vectors, then of TIMER and MOVER, which those beyond share places with."""
    vectors = (*range(24), TIMER, MOVER)
    code = b"".join(_handler(vector).ljust(STUB_BYTES, b"\xf4") for vector in vectors)
    return code.ljust(SYSTEM_CALL - STUBS, b"\xf4") + _system_call()


def _task() -> bytes:
    """The TSS: stacks of the levels, interrupt stacks, no map of ports."""
    levels = struct.pack("<3Q", *STACK_TOPS[:3])
    stacks = struct.pack("<7Q", *_IST, *(0xFF00, 0x8000_0000_0000, 0, HIGH))
    return (bytes(4) + levels + bytes(8) + stacks + bytes(10) + struct.pack("<H", TASK_BYTES)).ljust(TASK_BYTES, b"\0")


def _area_table() -> bytes:
    """For each selector without RPL: mask of an offset in the area of its size, and where the area begins."""
    sizes = {selector & ~7: bits for (bits, _), selector in CODE_SEGMENTS.items()}
    entries = b""
    for selector in range(0, 0x100, 8):
        area = AREAS[sizes.get(selector, 64)]
        entries += struct.pack("<II", area.plots * PLOT_BYTES - 1 & ~0xFF, ORIGIN + area.offset)
    return entries


@cache
def _paging(number: int) -> dict[int, bytes]:
    """Four levels: RAM, then aliases of all kinds; everywhere else the same again, or nothing, or reserved bits."""
    random = Random(number)
    pages = RAM_BYTES // tables.PAGE_BYTES
    user = range(CODE >> 12, TOP >> 12)
    low, second, high = [], [], []
    data = range(DATA >> 12, (DATA >> 12) + 8)
    for place in range(512):
        page = place % pages
        rights = _EVERYTHING if page in user else tables.PRESENT | tables.WRITABLE
        kept = random.choice((0, tables.ACCESSED, tables.GLOBAL))
        low.append(page << 12 | rights | kept if place < pages else _odd_page(random, page))
        second.append(_odd_page(random, page))
        moved = data.start + (page - data.start + 3) % 8 if page in data else page
        high.append(moved << 12 | rights | kept if place < pages else _odd_page(random, page))
    directory = [TABLE | _EVERYTHING, SECOND_TABLE | _EVERYTHING]
    high_directory = [HIGH_TABLE | _EVERYTHING]
    large = _EVERYTHING | tables.LARGE
    for each in (directory, high_directory):
        while len(each) < 512:
            each.append(
                random.choice(
                    (
                        *(TABLE | _EVERYTHING, TABLE | _EVERYTHING, large),
                        *(large & ~tables.WRITABLE, large & ~tables.USER, large | 0x2000, large | _NO_EXECUTE),
                        *(0, TABLE | 1, HIGH_TABLE | _EVERYTHING | _NO_EXECUTE),
                    )
                )
            )
    pointers = [DIRECTORY | _EVERYTHING]
    high_pointers = [HIGH_DIRECTORY | _EVERYTHING]
    for each, table in ((pointers, DIRECTORY), (high_pointers, HIGH_DIRECTORY)):
        while len(each) < 512:
            each.append(random.choice((table | _EVERYTHING, table | _EVERYTHING, table | 5, 0, large, 1 << 51 | 7)))
    top = [random.choice((POINTERS, HIGH_POINTERS, 0)) for _ in range(512)]
    top = [entry and entry | random.choice((_EVERYTHING, _EVERYTHING, 3, _EVERYTHING | 0x80)) for entry in top]
    top[0], top[255], top[256], top[511] = (
        each | _EVERYTHING for each in (POINTERS, HIGH_POINTERS, HIGH_POINTERS, POINTERS)
    )
    other_top = [*top[:1], *(random.choice((0, entry)) for entry in top[1:])]
    other_top[255], other_top[256], other_top[511] = top[511], top[256], top[255]
    return {
        at: struct.pack("<512Q", *entries)
        for at, entries in (
            (TOP, top),
            (POINTERS, pointers),
            (HIGH_POINTERS, high_pointers),
            (DIRECTORY, directory),
            (HIGH_DIRECTORY, high_directory),
            (TABLE, low),
            (SECOND_TABLE, second),
            (HIGH_TABLE, high),
            (SECOND_TOP, other_top),
        )
    }


def _odd_page(random: Random, page: int) -> int:
    """An entry of a page table with any rights, or none."""
    if random.random() < 0.1:
        return (RAM_BYTES >> 12) + random.randrange(4) << 12 | _EVERYTHING  # a device
    rights = random.choice((_EVERYTHING, _EVERYTHING, tables.PRESENT | tables.USER, 3, 6, 1 << 51 | 7))
    return page << 12 | rights | random.choice((0, 0, _NO_EXECUTE))


def system_memory(seed: str) -> dict[int, bytes]:
    """Everything but code and data, by physical address."""
    random = Random(seed)
    return {
        GDT: _gdt(random),
        LDT: tables.descriptor_table({0: tables.descriptor(tables.DATA | tables.DPL_3), 8: bytes(8)}),
        TSS: _task(),
        AREA_TABLE: _area_table(),
        IDT: _idt(random),
        STUBS: _stubs(),
        **_paging(random.randrange(PAGE_TABLES)),
    }


def arranged(program: bytes) -> bytes:
    """What fills the code region: the program at ORIGIN, and copies of it."""
    shift = (ORIGIN - CODE) % PROGRAM_BYTES
    copies = program * (CODE_BYTES // PROGRAM_BYTES + 1)
    return copies[PROGRAM_BYTES - shift :][:CODE_BYTES]
