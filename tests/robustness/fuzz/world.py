"""The fuzzer's guest around the code: descriptor tables with every type of descriptor, tasks, pages, handlers.

Code has base 0 and lies below 64 KiB wherever it runs - real, virtual-8086, 16-bit and 32-bit protected mode, paged or
not -, so that any mode can go on where another one stopped. It consists of slots, and the handlers of exceptions return
to the slot behind the one that faulted: whatever happens in one, the others are reached. #DF and some others come
through task gates to a task that puts the stack right first.
"""

from __future__ import annotations

import struct
from functools import cache
from random import Random

from tests import tables

RAM_BYTES = 0x80000
VECTOR_TABLE, STUBS_8086, GDT, LDT, PSEUDO = 0, 0x600, 0x1000, 0x1800, 0x1A00
IDT, STUBS, DIRECTORY, TABLE, LARGE_DIRECTORY, PAE_POINTERS = 0x2000, 0x3000, 0x4000, 0x5000, 0x6000, 0x7000
CODE, CODE_BYTES, SLOT_BYTES = 0x8000, 0x4000, 32
FAVOURED_SLOTS = (0xE00, 0x1200)
STACK_TOPS = (0xC800, 0xD000, 0xD800, 0xDFF0)
"""By ring."""
TASKS, DATA, DATA_BYTES, CODE_COPY = 0xE000, 0x10000, 0x8000, 0x18000
PAE_DIRECTORIES, PAE_TABLE = 0x20000, 0x24000
FAR_POINTERS = DATA + 0x7000
"""In the data: a far pointer of eight bytes (offset, selector) to each of `SELECTORS`, in their order."""
PSEUDO_DESCRIPTORS = DATA + 0x7800
"""In the data: eight bytes each, what LGDT and LIDT may well load; see `pseudo_descriptors`."""

STUB_BYTES = 64
TIMER, MOVER = 0x20, 0x21
"""Interrupts: one that just returns, one that goes on in another slot, so that no loop lasts."""
MOVED_BYTES = 5 * SLOT_BYTES
EXCEPTIONS = 32

KERNEL_CODE, KERNEL_DATA, USER_CODE, USER_DATA = 0x08, 0x10, 0x1B, 0x23
KERNEL_CODE_16, KERNEL_DATA_16, USER_CODE_16, USER_DATA_16 = 0x48, 0x50, 0x5B, 0x63
CODE_BY_RING = (KERNEL_CODE, 0x29, 0x3A, USER_CODE)
DATA_BY_RING = (KERNEL_DATA, 0x31, 0x42, USER_DATA)
EXPAND_DOWN, SMALL_DATA, STACK_16, STACK_16_USER = 0x83, 0x93, 0x140, 0x14B
MAIN_TASK, TASK_32, TASK_16, RESCUE, LDT_SELECTOR, TASK_8086 = 0xB0, 0xB8, 0xC0, 0xC8, 0xD8, 0x170
TASK_BYTES = 0x200
MAIN_TSS, OTHER_TSS, TSS_16, RESCUE_TSS, TSS_8086 = (TASKS + n * TASK_BYTES for n in range(5))
_RESCUE_CODE = STUBS + 0xE00
_STUBS_16 = STUBS + 0xF00
_CALL_GATES = {
    0xE8: (KERNEL_CODE, 2),
    0xF8: (0x68, 0),
    0x100: (0x29, 1),
    0x160: (0, 0),
    0x168: (MAIN_TASK, 0),
    0x178: (USER_CODE, 31),
}
"""Selectors of 32-bit call gates: where they lead, and how many parameters they copy."""
GDT_BYTES = 0x188
PAGE_TABLES = 24
"""Different sets of them: making one takes longer than running a program."""
LDT_BYTES = 0x40
SELECTORS = (*range(0, GDT_BYTES, 8), *range(4, LDT_BYTES, 8))
_SYSTEM_286_TSS, _TASK_GATE, _CALL_GATE_16, _CALL_GATE_32 = 0x81, 0x85, 0x84, 0x8C
_INTERRUPT_32, _TRAP_32, _INTERRUPT_16, _TRAP_16 = 0x8E, 0x8F, 0x86, 0x87
_VM, _NT = 1 << 17, 1 << 14
_EVERYTHING = tables.WRITABLE | tables.USER


def slot_address(random: Random) -> int:
    """Where some slot begins: mostly one of a few around the end of a page, so that code is executed repeatedly."""
    if random.random() < 0.7:
        return CODE + random.randrange(*FAVOURED_SLOTS, SLOT_BYTES)
    return CODE + SLOT_BYTES * random.randrange(CODE_BYTES // SLOT_BYTES)


def _gate(access: int, selector: int, offset: int, count: int = 0) -> bytes:
    return struct.pack("<HHBBH", offset & 0xFFFF, selector, count, access, offset >> 16)


def _limited(access: int, base: int = 0, limit: int = 0xFFFF, flags: int = 0) -> bytes:
    return tables.descriptor(access, base=base, limit=limit, flags=flags)


def _task(access: int, base: int, limit: int = TASK_BYTES - 1) -> bytes:
    return _limited(access, base, limit)


def _gdt(random: Random) -> bytes:
    """Each type of descriptor; gates lead to slots."""
    code, data, user = tables.CODE, tables.DATA, tables.DPL_3
    conforming, expand_down = code | 4, data | 4
    entries = {
        KERNEL_CODE: tables.descriptor(code),
        KERNEL_DATA: tables.descriptor(data),
        USER_CODE: tables.descriptor(code | user),
        USER_DATA: tables.descriptor(data | user),
        0x28: tables.descriptor(code | 0x20),
        0x30: tables.descriptor(data | 0x20),
        0x38: tables.descriptor(code | 0x40),
        0x40: tables.descriptor(data | 0x40),
        KERNEL_CODE_16: _limited(code),
        KERNEL_DATA_16: _limited(data, DATA),
        USER_CODE_16: _limited(code | user),
        USER_DATA_16: _limited(data | user, DATA),
        0x68: tables.descriptor(conforming),
        0x70: _limited(conforming),
        0x78: tables.descriptor(code & ~2),
        EXPAND_DOWN: tables.descriptor(expand_down | user, limit=0),
        0x88: _limited(expand_down | user, DATA, 0x7FFF),
        SMALL_DATA: _limited(data | user, DATA, 0xFFF, tables.BIG),
        0x98: tables.descriptor(data & ~2 | user),
        0xA0: tables.descriptor(data & ~0x80 | user),
        0xA8: tables.descriptor(data & ~1 | user, base=DATA + 1),
        MAIN_TASK: _task(tables.TSS, MAIN_TSS),
        TASK_32: _task(tables.TSS & ~2 | user, OTHER_TSS),
        TASK_16: _task(_SYSTEM_286_TSS, TSS_16),
        RESCUE: _task(tables.TSS & ~2, RESCUE_TSS),
        0xD0: _task(tables.TSS, OTHER_TSS),
        LDT_SELECTOR: _limited(tables.LDT, LDT, LDT_BYTES - 1),
        0xE0: _limited(tables.LDT, LDT, 5),
        0xF0: _gate(_CALL_GATE_16 | user, KERNEL_CODE_16, slot_address(random), 3),
        0x108: _gate(_TASK_GATE | user, TASK_32, 0),
        0x110: _gate(_TASK_GATE | user, TASK_16, 0),
        0x118: _gate(_INTERRUPT_32 | user, KERNEL_CODE, slot_address(random)),
        0x120: _gate(_CALL_GATE_32 & ~0x80 | user, KERNEL_CODE, slot_address(random)),
        0x128: tables.descriptor(code, base=CODE_COPY - CODE),
        0x130: tables.descriptor(code | user, base=4 << 20),
        0x138: _limited(code | user, limit=0x9FFF, flags=tables.BIG),
        STACK_16: _limited(data),
        STACK_16_USER: _limited(data | user),
        0x150: _task(tables.TSS & ~2, OTHER_TSS, limit=random.choice((0x28, 0x2B, 0x66))),
        0x158: _task(random.choice((0x80, 0x88, 0x8A, 0x8D)), OTHER_TSS),
        TASK_8086: _task(tables.TSS & ~2 | user, TSS_8086),
        0x180: _limited(data, random.getrandbits(32), random.getrandbits(16), random.choice((0, 4, 8, 12))),
    }
    for selector, (target, count) in _CALL_GATES.items():
        entries[selector] = _gate(_CALL_GATE_32 | user, target, slot_address(random), count)
    return tables.descriptor_table(entries)


def _ldt(random: Random) -> bytes:
    return tables.descriptor_table(
        {
            0x00: tables.descriptor(tables.CODE | tables.DPL_3),
            0x08: tables.descriptor(tables.DATA | tables.DPL_3),
            0x10: _limited(tables.CODE),
            0x18: tables.descriptor(tables.DATA, base=0x1000),
            0x20: _gate(_CALL_GATE_32 | tables.DPL_3, KERNEL_CODE, slot_address(random), random.randrange(32)),
            0x28: _limited(tables.LDT, LDT, LDT_BYTES - 1),
            0x30: tables.descriptor(tables.DATA & ~0x80),
            0x38: _limited(tables.DATA | tables.DPL_3 | 4, DATA, 0x1000, tables.BIG),
        }
    )


def _idt(random: Random) -> bytes:
    """Handlers for exceptions; beyond them each kind of gate, over and over."""
    gates = [
        _gate(random.choice((_INTERRUPT_32, _TRAP_32)) | 0x60 * (v in (3, 4)), KERNEL_CODE, STUBS + v * STUB_BYTES)
        for v in range(EXCEPTIONS + 2)
    ]
    for vector in (8, *random.choice(((), (12,), (10, 12)))):
        gates[vector] = _gate(_TASK_GATE, RESCUE, 0)
    user = tables.DPL_3
    kinds = (
        _gate(_INTERRUPT_16 | user, KERNEL_CODE_16, _STUBS_16),
        _gate(_TRAP_16 | user, KERNEL_CODE_16, _STUBS_16),
        _gate(_TASK_GATE | user, TASK_32, 0),
        _gate(_TRAP_32 | user, KERNEL_CODE, slot_address(random)),
        _gate(_TRAP_32 | user, 0x29, slot_address(random)),
        _gate(_INTERRUPT_32 & ~0x80 | user, KERNEL_CODE, STUBS + TIMER * STUB_BYTES),
        _gate(0x8D | user, KERNEL_CODE, 0),
        _gate(_INTERRUPT_32 | user, 0x68, STUBS + MOVER * STUB_BYTES),
        _gate(_INTERRUPT_32 | user, USER_CODE, slot_address(random)),
        _gate(_TASK_GATE | user, TASK_16, 0),
        _gate(_INTERRUPT_32, KERNEL_CODE, STUBS + TIMER * STUB_BYTES),
        _gate(_TRAP_32 | user, KERNEL_CODE, STUBS + TIMER * STUB_BYTES),
        _gate(_INTERRUPT_32 | user, 0, 0),
        _gate(_TASK_GATE | user, TASK_8086, 0),
    )
    while len(gates) < 256:
        gates.append(kinds[len(gates) % len(kinds)])
    return b"".join(gates)


def _go_on(distance: int) -> bytes:
    """Add to the dword at [esp] and keep it a slot: add, and, or."""
    slots = CODE_BYTES - SLOT_BYTES
    return b"\x81\x04\x24" + struct.pack("<I", distance) + b"\x81\x24\x24" + struct.pack("<I", slots) + (
        b"\x81\x0c\x24" + struct.pack("<I", CODE)
    )  # fmt: skip


def _stubs(random: Random) -> bytes:
    """32-bit handlers by vector, the task that rescues, the 16-bit handler."""
    code = bytearray()
    repair = random.random() < 0.6
    for vector in range(EXCEPTIONS + 2):
        stub = b"\x83\xc4\x04" if vector in tables.VECTORS_WITH_ERROR_CODE else b""  # add esp, 4
        if repair and vector < EXCEPTIONS:
            stub += b"\x2e\x8e\x1d" + struct.pack("<I", PSEUDO) + b"\x2e\x8e\x05" + struct.pack("<I", PSEUDO)  # ds, es
        if vector != TIMER:
            stub += _go_on(MOVED_BYTES if vector == MOVER else SLOT_BYTES)
        code += (stub + b"\xcf").ljust(STUB_BYTES, b"\xf4")
    code = code.ljust(_RESCUE_CODE - STUBS, b"\xf4")
    eip, flags, esp = MAIN_TSS + 0x20, MAIN_TSS + 0x25, MAIN_TSS + 0x38
    rescue = b"\xbc" + struct.pack("<I", eip) + _go_on(SLOT_BYTES)  # mov esp: the word there is the task's EIP
    rescue += b"\xc6\x05" + struct.pack("<IB", flags, 2)  # mov byte: no TF, no NT
    rescue += b"\xc7\x05" + struct.pack("<II", esp, STACK_TOPS[0])
    rescue += b"\xbc" + struct.pack("<I", TASKS + 0xFF0) + b"\xcf"  # iretd: back to the task
    rescue += b"\xe9" + struct.pack("<i", -len(rescue) - 5)
    code += rescue
    return bytes(code.ljust(_STUBS_16 - STUBS, b"\xf4")) + _stub_8086(SLOT_BYTES)


def _stub_8086(distance: int) -> bytes:
    """push bp; mov bp, sp; add, and, or word [bp+2]; pop bp; iret."""
    slots = CODE_BYTES - SLOT_BYTES
    change = b"\x81\x46\x02" + struct.pack("<H", distance) + b"\x81\x66\x02" + struct.pack("<H", slots)
    return b"\x55\x89\xe5" + change + b"\x81\x4e\x02" + struct.pack("<H", CODE) + b"\x5d\xcf"


def _tasks(random: Random, directory: int) -> bytes:
    """The TSSs: the main one with an I/O and an interrupt redirection bitmap."""
    rings = [part for ring in range(3) for part in (STACK_TOPS[ring], DATA_BY_RING[ring])]
    main = struct.pack("<I6I", 0, *rings).ljust(102, b"\0") + struct.pack("<H", 104 + 32)
    main += random.randbytes(32) + bytes(random.choice((0, 0, 0xFF, 0x55)) for _ in range(64)) + b"\xff"

    def task_32(eip: int, eflags: int, stack: int, code: int, data: int, trap: int = 0) -> bytes:
        tss = struct.pack("<I6I", 0, *rings) + struct.pack("<III", directory, eip, eflags)
        tss += struct.pack("<8I", 1, 2, 3, DATA, stack, DATA, DATA + 0x40, DATA + 0x800)
        tss += struct.pack("<7I", data, code, data, data, data, data, random.choice((0, LDT_SELECTOR)))
        return tss + struct.pack("<HH", trap, TASK_BYTES)

    system = random.choice((2, 2, 0x202, 0x3002))
    other = task_32(slot_address(random), system, TASKS - 0x40, KERNEL_CODE, KERNEL_DATA, random.random() < 0.1)
    rescue = task_32(_RESCUE_CODE, 2, TASKS + 0xFF0, KERNEL_CODE, KERNEL_DATA)
    old = struct.pack("<H6H", 0, *(part & 0xFFFF for part in rings)) + struct.pack("<HH", slot_address(random), 2)
    old += struct.pack("<8H", 1, 2, 3, 0x100, TASKS - 0x40, 0x200, 0x300, 0x400)
    old += struct.pack("<5H", KERNEL_DATA_16, KERNEL_CODE_16, STACK_16, KERNEL_DATA_16, 0)
    flags = _VM | 2 | random.choice((0, 0x3000, 0x200))
    virtual = task_32(slot_address(random), flags, TASKS - 0x40, 0, DATA >> 4)
    return b"".join(tss.ljust(TASK_BYTES, b"\0") for tss in (main, other, old, rescue, virtual))


def _small_entries(random: Random) -> list[int]:
    """Page-table entries, by number, of 4 MiB: RAM, its alias for reading, then a bit of everything."""
    pages = RAM_BYTES // tables.PAGE_BYTES
    shared = (CODE >> 12, PAE_DIRECTORIES >> 12)
    entries = []
    for number in range(1024):
        page, kind = number % pages, number // pages
        rights = _EVERYTHING if kind or shared[0] <= page < shared[1] else tables.WRITABLE
        if kind == 1:
            rights &= ~tables.WRITABLE
        elif kind == 2:
            rights = random.choice((_EVERYTHING, _EVERYTHING, tables.USER, tables.WRITABLE, 0x100 | _EVERYTHING))
            page = random.randrange(8, pages)
        elif kind > 2 and random.random() < 0.15:
            page = pages + (page & 3)  # a device
        present = kind < 2 or random.random() < 0.9
        entries.append(page << 12 | rights | present | random.choice((0, tables.ACCESSED)))
    return entries


@cache
def _paging(number: int) -> dict[int, bytes]:
    """All of a 32-bit address space is the same 4 MiB again and again, in each kind of paging."""
    random = Random(number)
    present, large = tables.PRESENT | _EVERYTHING, tables.PRESENT | _EVERYTHING | tables.LARGE
    small = _small_entries(random)
    directory = [TABLE | present for _ in range(1024)]
    large_directory = [random.choice((large, large, TABLE | present)) for _ in range(1024)]
    for _ in range(40):
        place = random.randrange(1, 1024)
        directory[place] = random.choice((0, TABLE | 1, TABLE | 5, TABLE | 3, TABLE | 0x80 | present))
        large_directory[place] = random.choice(
            (0, large & ~2, large & ~4, large | 0x100, large | 1 << 13, large | 0x400000)
        )
    no_execute = 1 << 63
    pae_table = [entry | no_execute * (n >= 128 and random.random() < 0.3) for n, entry in enumerate(small)]
    pae = []
    for place in range(2048):
        table = PAE_TABLE + (place & 1) * tables.PAGE_BYTES | present
        pae.append(table if place < 2 or random.random() < 0.7 else large | no_execute * (random.random() < 0.2))
    pointers = [PAE_DIRECTORIES + n * tables.PAGE_BYTES | 1 for n in range(4)]
    broken = [*pointers[:3], random.choice((0, pointers[3] | 2, pointers[3] | 1 << 40))]
    return {
        DIRECTORY: struct.pack("<1024I", *directory),
        TABLE: struct.pack("<1024I", *small),
        LARGE_DIRECTORY: struct.pack("<1024I", *large_directory),
        PAE_POINTERS: struct.pack("<8Q", *pointers, *broken),
        PAE_DIRECTORIES: struct.pack("<2048Q", *pae),
        PAE_TABLE: struct.pack("<1024Q", *pae_table),
    }


PAGING = {
    **dict.fromkeys((DIRECTORY, TABLE, LARGE_DIRECTORY), tables.PAGE_BYTES),
    PAE_POINTERS: 64,
    PAE_DIRECTORIES: 4 * tables.PAGE_BYTES,
    PAE_TABLE: 2 * tables.PAGE_BYTES,
}
"""Bytes of each paging structure."""
DIRECTORIES = (DIRECTORY, LARGE_DIRECTORY, PAE_POINTERS)
"""What CR3 may well name."""


def without_access_bits(entries: bytes) -> bytes:
    """Paging entries of either size with A and D clear in each first byte."""
    mask = bytes((0xFF & ~(tables.ACCESSED | tables.DIRTY), 0xFF, 0xFF, 0xFF))
    return (int.from_bytes(entries, "little") & int.from_bytes(mask * (len(entries) // 4), "little")).to_bytes(
        len(entries), "little"
    )


def pseudo_descriptors() -> tuple[tuple[int, int], ...]:
    """Limit and base of what LGDT and LIDT find at `PSEUDO_DESCRIPTORS`."""
    return (
        (GDT_BYTES - 1, GDT),
        (0x7FF, IDT),
        (0x3FF, VECTOR_TABLE),
        (0x7FF, GDT),
        (0x57, GDT),
        (0x17F, IDT),
        (0xFFFF, RAM_BYTES - 0x100),
        (GDT_BYTES - 1, (4 << 20) + GDT),
    )


def system_memory(seed: str, directory: int) -> dict[int, bytes]:
    """Everything but code and data, by physical address; `directory`: what the tasks load into CR3."""
    random = Random(seed)
    vectors = (STUBS_8086 if v % 4 else STUBS_8086 + 0x20 for v in range(256))
    return {
        VECTOR_TABLE: b"".join(struct.pack("<HH", offset, 0) for offset in vectors),
        STUBS_8086: _stub_8086(SLOT_BYTES).ljust(0x20, b"\xf4") + b"\xcf",
        GDT: _gdt(random),
        LDT: _ldt(random),
        PSEUDO: struct.pack("<H", USER_DATA),
        IDT: _idt(random),
        STUBS: _stubs(random),
        TASKS: _tasks(random, directory),
        **_paging(random.randrange(PAGE_TABLES)),
    }


@cache
def data_template() -> bytes:
    """RAM from DATA to its end before a program: numbers, and in the first part far pointers and pseudo-descriptors."""
    random = Random("data")
    content = bytearray(random.randbytes(0x1000) * ((RAM_BYTES - DATA) >> 12))
    far = b"".join(struct.pack("<IHH", slot_address(random), selector, 0) for selector in SELECTORS)
    content[FAR_POINTERS - DATA : FAR_POINTERS - DATA + len(far)] = far
    pseudo = b"".join(struct.pack("<HIH", limit, base, 0) for limit, base in pseudo_descriptors())
    content[PSEUDO_DESCRIPTORS - DATA : PSEUDO_DESCRIPTORS - DATA + len(pseudo)] = pseudo
    return bytes(content)
