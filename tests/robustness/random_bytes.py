"""Runs random bytes as guest code: `python -m tests.robustness.random_bytes ENGINE SETTING FIRST LAST INSTRUCTIONS`.

One line of JSON a seed from FIRST to before LAST: what could be seen from outside and a digest of the final state, the
same on every engine. It is a program of its own so that a crash of the process is an ordinary test failure.

The guest has handlers that go on behind whatever faulted, gets interrupts, and has its code changed from outside. Its
address space is the same 4 MiB all over again, most of them aliases of its RAM, so that random addresses mean
something.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from bt.engine.library.library import load_library
from bt.engine.protocol import Exit
from bt.engine.vcpu import Vcpu
from bt.inspect.compare.registers import read_registers
from bt.memory.map import PhysicalMap
from bt.memory.ram import GuestRam
from bt.x86 import (
    flags,
    reset,
)
from bt.x86.exits import ExitReason
from bt.x86.opcodes import FORMS
from bt.x86.opcodes.encoding import parse_encoding
from bt.x86.state import CS, DS, EAX, ES, ESP, FS, GS, LDTR, SS, TR
from bt.x86.system.segmentation import segment_cache
from tests import tables
from tests.engines import factories

RAM_BYTES = 1 << 20
GDT, TSS, IDT, STUBS, DIRECTORY, TABLE, STACK_TOP = 0x1000, 0x1800, 0x2000, 0x3000, 0x4000, 0x5000, 0x8000
VECTOR_TABLE, STUBS_8086 = 0, 0x9000
CODE, CODE_BYTES = 0x10000, 0x10000
STUB_BYTES = 32
KERNEL_CODE, KERNEL_DATA, USER_CODE, USER_DATA, CODE_16, DATA_16, TASK = 0x08, 0x10, 0x1B, 0x23, 0x28, 0x30, 0x38
TIMER = 0x20
FARTHER = 0x1234
"""Bytes an interrupt goes on farther in the code, so that no loop lasts."""

REAL, PROTECTED, PAGED = 0x10, 0x11, 0x8001_0011
"""CR0: ET; with PE; with PG and WP."""
VIRTUAL_8086_EXTENSIONS = 1
"""CR4.VME."""


@dataclass(frozen=True)
class Setting:
    """What kind of guest code the bytes are."""

    cpl: int = 0
    bits: int = 32
    paging: bool = True
    selectors: bool = True
    """False: segments as in an 8086, which at CPL 3 is virtual-8086 mode, at CPL 0 without paging real mode."""


SETTINGS = {
    "ring 0": Setting(),
    "ring 0 without paging": Setting(paging=False),
    "ring 3": Setting(cpl=3),
    "16-bit": Setting(bits=16),
    "16-bit without paging": Setting(bits=16, paging=False),
    "real mode": Setting(bits=16, paging=False, selectors=False),
    "virtual-8086 mode": Setting(cpl=3, bits=16, selectors=False),
}


def _stubs(bits: int) -> bytes:
    """Handlers that return a byte behind where the exception came from, or elsewhere in the code after an interrupt."""
    code = bytearray()
    base = CODE if bits == 32 else 0
    for vector in range(tables.PAGE_BYTES // STUB_BYTES):
        stub = b"\x83\xc4\x04" if vector in tables.VECTORS_WITH_ERROR_CODE else b""  # add esp, 4
        # add dword [esp], distance; and dword [esp], 0ffffh; or dword [esp], base; iretd
        stub += b"\x81\x04\x24" + struct.pack("<I", FARTHER if vector == TIMER else 1)
        stub += b"\x81\x24\x24" + struct.pack("<I", CODE_BYTES - 1) + b"\x81\x0c\x24" + struct.pack("<I", base)
        code += (stub + b"\xcf").ljust(STUB_BYTES, b"\xf4")
    return bytes(code)


def _vector_table() -> bytes:
    """Real mode's: entries that lead to `_stubs_8086`."""
    return b"".join(struct.pack("<HH", STUBS_8086 % 16 + v % 128 * STUB_BYTES, STUBS_8086 >> 4) for v in range(256))


def _stubs_8086() -> bytes:
    """Handlers as in `_stubs`, for a frame of words."""
    code = bytearray()
    for vector in range(128):
        # push bp; mov bp, sp; add word [bp+2], distance; pop bp; iret
        code += b"\x55\x89\xe5\x81\x46\x02" + struct.pack("<H", FARTHER if vector == TIMER else 1)
        code += b"\x5d\xcf".ljust(STUB_BYTES - 8, b"\xf4")
    return bytes(code)


def _page_entries() -> Iterator[int]:
    """The 1024 entries of the page table: RAM with the tables for the kernel alone, aliases, devices, nothing."""
    everything = tables.WRITABLE | tables.USER
    for page in range(0, RAM_BYTES, tables.PAGE_BYTES):
        yield page | (everything if page >= CODE else tables.WRITABLE)
    for page in range(0, RAM_BYTES, tables.PAGE_BYTES):
        yield max(page, CODE) | everything
    for page in range(0, RAM_BYTES, tables.PAGE_BYTES):
        yield max(page, CODE) | tables.USER
    for number in range(256):
        device = RAM_BYTES + (number & 3) * tables.PAGE_BYTES | everything
        yield device if number < 8 else max(number << 12, CODE) | everything if number < 128 else 0


def _memory(setting: Setting) -> dict[int, bytes]:
    limit_16 = {"limit": 0xFFFF, "flags": 0}
    gdt = tables.descriptor_table(
        {
            KERNEL_CODE: tables.descriptor(tables.CODE),
            KERNEL_DATA: tables.descriptor(tables.DATA),
            USER_CODE: tables.descriptor(tables.CODE | tables.DPL_3),
            USER_DATA: tables.descriptor(tables.DATA | tables.DPL_3),
            CODE_16: tables.descriptor(tables.CODE, base=CODE, **limit_16),
            DATA_16: tables.descriptor(tables.DATA, base=2 * CODE, **limit_16),
            TASK: tables.descriptor(tables.TSS, base=TSS, limit=tables.TSS_BYTES - 1, flags=0),
        }
    )
    gates = (tables.interrupt_gate(KERNEL_CODE, STUBS + v % 128 * STUB_BYTES, dpl=3 * (v & 1)) for v in range(256))
    table = b"".join((entry | (entry and tables.PRESENT)).to_bytes(4, "little") for entry in _page_entries())
    return {
        GDT: gdt,
        TSS: tables.task_state(KERNEL_DATA, STACK_TOP),
        IDT: b"".join(gates),
        STUBS: _stubs(setting.bits),
        VECTOR_TABLE: _vector_table(),
        STUBS_8086: _stubs_8086(),
        DIRECTORY: tables.page_table(dict.fromkeys(range(1024), TABLE | tables.WRITABLE | tables.USER)),
        TABLE: table,
    }


def _code(random: Random) -> bytes:
    """Random bytes, or random instructions out of the opcode table with random operands."""
    if random.random() < 0.3:
        return random.randbytes(CODE_BYTES)
    code = bytearray()
    while len(code) < CODE_BYTES:
        encoding = parse_encoding(random.choice(FORMS[1:]).encoding)
        while random.random() < 0.1:
            code.append(random.choice(b"\x66\x67\xf0\xf2\xf3\x26\x2e\x36\x3e\x64\x65"))
        code += bytes([encoding.prefix] * bool(encoding.prefix)) + encoding.escape
        code.append(random.choice(encoding.opcodes))
        if encoding.modrm:
            mod = 3 if random.choice(encoding.mods) else random.randrange(3)
            code.append(mod << 6 | random.choice(encoding.regs) << 3 | random.choice(encoding.rms))
        code += random.randbytes(random.choice((0, 1, 1, 2, 4, 4, 5)))
    return bytes(code[:CODE_BYTES])


class Guest:
    """One vCPU for all seeds."""

    def __init__(self, engine: str, setting: Setting) -> None:
        self.setting = setting
        self.ram = GuestRam(RAM_BYTES)
        self.cpu: Vcpu = factories()[engine](load_library(), PhysicalMap(self.ram))

    def run(self, seed: str, instructions: int, budget: int | None = None) -> dict[str, object]:
        """Run `instructions` of the bytes of this seed; what is to be the same on every engine.

        By default the budget of each run varies, and when it is used up something may happen to the guest. With a
        `budget` nothing happens to it, and what comes out must not depend on the budget either.
        """
        random = Random(seed)
        self._start(random)
        exits, limit = Counter[str](), 2 * instructions
        while (left := instructions - self.cpu.instructions) > 0 and exits.total() < limit:
            leave = self.cpu.run(min(left, budget or random.choice((1, 2, 7, 100, 1000))))
            if leave.reason is ExitReason.SHUTDOWN:
                break
            if leave.reason is not ExitReason.BUDGET or budget is None:
                exits[leave.reason.name] += 1
                self._serve(leave, random)
        return {
            "seed": seed,
            "instructions": self.cpu.instructions,
            "exits": dict(sorted(exits.items())),
            "registers": [hex(value) for value in self._registers()],
            "state": zlib.crc32(repr(read_registers(self.cpu.state, self.cpu.instructions)).encode()),
            "memory": zlib.crc32(self.ram.view),
            "next": random.getrandbits(32),
        }

    def _start(self, random: Random) -> None:
        setting, state = self.setting, self.cpu.state
        content = bytearray(random.randbytes(1 << 16) * (RAM_BYTES >> 16))
        content[:CODE] = bytes(CODE)
        for address, data in _memory(setting).items():
            content[address : address + len(data)] = data
        content[CODE : CODE + CODE_BYTES] = _code(random)
        self.ram.write(0, content)
        reset.power_on(state)
        self._load_segments()
        for number in range(8):
            state["gpr", number] = random.getrandbits(32)
        state["gpr", ESP] = 0x40000 if setting.cpl and setting.selectors else STACK_TOP
        state["eip"] = CODE if setting.bits == 32 else 0
        state["cr0"] = PAGED if setting.paging else PROTECTED if setting.selectors else REAL
        state["cr3"], state["cr4"], state["cpl"] = DIRECTORY, 0, setting.cpl
        state["gdtr_base"], state["gdtr_limit"] = GDT, 0x3F
        state["idtr_base"], state["idtr_limit"] = IDT, 0x7FF
        eflags = flags.IF
        if not setting.selectors and not setting.paging:
            state["idtr_base"], state["idtr_limit"] = VECTOR_TABLE, 0x3FF
        elif not setting.selectors:
            eflags |= flags.VM | random.choice((0, flags.IOPL))
            state["cr4"] = random.choice((0, VIRTUAL_8086_EXTENSIONS))
        state["intr_pending"] = state["icount_base"] = 0
        reset.write_eflags(state, eflags)
        self.cpu.flush()

    def _load_segments(self) -> None:
        state, setting = self.cpu.state, self.setting
        tables.flat_segments(state, KERNEL_CODE, KERNEL_DATA)
        segment_cache.fill(state, LDTR, selector=0, base=0, limit=0, access=tables.LDT & ~0x80, big=False)
        segment_cache.fill(state, TR, selector=TASK, base=TSS, limit=103, access=tables.TSS, big=False)
        for number in (CS, SS, DS, ES, FS, GS):
            kind = tables.CODE if number == CS else tables.DATA
            if not setting.selectors:
                stack = 3 * CODE if setting.cpl else 0
                base = {CS: CODE, SS: stack}.get(number, 2 * CODE)
                selector, access = base >> 4, tables.DATA | setting.cpl << 5
                segment_cache.fill(state, number, selector=selector, base=base, limit=0xFFFF, access=access, big=False)
            elif setting.bits == 16 and number != SS:
                selector, base = (CODE_16, CODE) if number == CS else (DATA_16, 2 * CODE)
                segment_cache.fill(state, number, selector=selector, base=base, limit=0xFFFF, access=kind, big=False)
            elif setting.cpl == 3:
                selector, access = USER_CODE if number == CS else USER_DATA, kind | tables.DPL_3
                segment_cache.fill(state, number, selector=selector, base=0, limit=0xFFFFFFFF, access=access, big=True)

    def _serve(self, leave: Exit, random: Random) -> None:
        """Answer the guest as a machine would, with whatever comes to mind."""
        match leave.reason:
            case ExitReason.IO | ExitReason.MMIO:
                self.cpu.complete(random.getrandbits(8 * leave.size))
            case ExitReason.INTERRUPT_WINDOW:
                self.cpu.state["intr_pending"] = 0
                self.cpu.interrupt(TIMER)
            case ExitReason.HLT:
                pass
            case ExitReason.FP_ERROR:
                self.cpu.state["ignore_fp_error"] = 1
            case ExitReason.BUDGET:
                if random.random() < 0.6:
                    self.cpu.state["intr_pending"] = 1
                if random.random() < 0.2:
                    address = random.randrange(CODE, CODE + CODE_BYTES - 16)
                    self.ram.write(address, random.randbytes(16))
            case _:
                raise AssertionError(f"unexpected exit: {leave}")

    def _registers(self) -> Iterator[int]:
        state = self.cpu.state
        yield from (state["gpr", number] for number in range(EAX, EAX + 8))
        yield state["eip"]
        yield reset.read_eflags(state)


def main(engine: str, setting: str, first: str, last: str, instructions: str) -> None:
    """Entry of the program."""
    guest = Guest(engine, SETTINGS[setting])
    for seed in range(int(first), int(last)):
        # said before, so that a crash tells which seed it was
        print(f"# {engine}, {setting}, seed {seed}", flush=True)
        print(json.dumps(guest.run(f"{setting}.{seed}", int(instructions))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
