"""A processor whose runtime functions tests call one at a time, with descriptor tables to play with."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from dataclasses import dataclass

from bt.engine.library.library import Library
from bt.engine.vcpu import Vcpu
from bt.memory.map import PhysicalMap
from bt.memory.ram import GuestRam
from bt.x86 import reset
from bt.x86.context import FAULT, OK
from bt.x86.state import CS, DS, ES, ESP, FS, GS, LDTR, SS, TR
from bt.x86.system.segmentation import segment_cache
from tests.engines import EngineFactory

# Where things are in guest memory
GDT, IDT, TSS, LDT, DIRECTORY, TABLE = 0x1000, 0x2000, 0x3000, 0x3800, 0x4000, 0x5000
STACKS = (0x9000, 0xA000, 0xB000, 0xC000)  # top of the stack of each level
RAM, CODE_AREA = 1 << 20, 0x10000

CODE, DATA = 0x9B, 0x93  # access bytes: present, DPL 0, accessed
FLAGS_32_BIT, FLAGS_GRANULAR = 0x4, 0x8
CR0_PE, CR0_PG, CR0_WP = 1, 1 << 31, 1 << 16

# Selectors of the GDT `Processor.start` makes: flat code and data for each level
TASK_SELECTOR, LDT_SELECTOR, SPARE = 0x48, 0x50, 0x58
SPARE_2 = 0x60


def code_selector(level: int) -> int:
    return 8 + 16 * level | level


def data_selector(level: int) -> int:
    return 16 + 16 * level | level


def descriptor(base: int = 0, limit: int = 0xFFFFF, access: int = DATA, flags: int = 0xC) -> bytes:
    """The eight bytes of a descriptor; `limit` is the raw 20-bit field, `flags` G D/B L AVL."""
    return struct.pack(
        "<HHBBBB",
        limit & 0xFFFF,
        base & 0xFFFF,
        base >> 16 & 0xFF,
        access,
        (flags << 4) | (limit >> 16),
        base >> 24,
    )


@dataclass(frozen=True)
class Trouble:
    """An exception: vector and error code (None without)."""

    vector: int
    error: int | None


class Processor:
    """Flat 32-bit protected mode at CPL 0 after `start`."""

    def __init__(self, library: Library, make_engine: EngineFactory = Vcpu) -> None:
        self.library = library
        self.ram = GuestRam(RAM)
        self.vcpu = make_engine(library, PhysicalMap(self.ram))
        self.cpu = self.vcpu.state
        self._functions: dict[tuple[str, int], Callable[..., int]] = {}
        self.start()

    def close(self) -> None:
        self.vcpu.close()
        self.ram.close()

    def start(self) -> None:
        cpu = self.cpu
        self.ram.write(0, bytes(CODE_AREA))
        reset.power_on(cpu)
        for name in ("tsc_offset", "intr_pending"):
            cpu[name] = 0
        cpu["cr0"] = CR0_PE | 0x10
        cpu["gdtr_base"], cpu["gdtr_limit"] = GDT, 0xFFF
        cpu["idtr_base"], cpu["idtr_limit"] = IDT, 0x7FF
        cpu["exit_reason"] = cpu["trap_vectors"] = 0
        for level in range(4):
            self.describe(code_selector(level), descriptor(access=CODE | level << 5))
            self.describe(data_selector(level), descriptor(access=DATA | level << 5))
        self.describe(TASK_SELECTOR, descriptor(TSS, 0x7FF, 0x8B, 0))
        self.describe(LDT_SELECTOR, descriptor(LDT, 0x7FF, 0x82, 0))
        segment_cache.fill(cpu, TR, selector=TASK_SELECTOR, base=TSS, limit=0x7FF, access=0x8B, big=False)
        segment_cache.fill(cpu, LDTR, selector=LDT_SELECTOR, base=LDT, limit=0x7FF, access=0x82, big=False)
        for level in range(3):
            self.ram.write(TSS + 4 + 8 * level, struct.pack("<II", STACKS[level], data_selector(level)))
        self.enter_level(0)

    def enter_level(self, level: int) -> None:
        """Run at a privilege level, with its flat segments and stack."""
        cpu = self.cpu
        cpu["cpl"] = level
        for number in (ES, SS, DS, FS, GS):
            self._flat(number, data_selector(level), DATA | level << 5)
        self._flat(CS, code_selector(level), CODE | level << 5)
        cpu["gpr", ESP] = STACKS[level]
        self.vcpu.flush()

    def _flat(self, number: int, selector: int, access: int) -> None:
        segment_cache.fill(self.cpu, number, selector=selector, base=0, limit=0xFFFF_FFFF, access=access, big=True)

    def describe(self, selector: int, entry: bytes) -> None:
        """Write a descriptor into the GDT or, if the selector says so, the LDT."""
        self.ram.write((LDT if selector & 4 else GDT) + (selector & ~7), entry)

    def described(self, selector: int) -> bytes:
        return self.ram.read((LDT if selector & 4 else GDT) + (selector & ~7), 8)

    def gate(self, vector: int, selector: int, offset: int, access: int) -> None:
        """Write a gate into the IDT: access byte as in 0x8E (present, DPL 0, 32-bit interrupt gate)."""
        self.ram.write(IDT + 8 * vector, struct.pack("<HHHH", offset & 0xFFFF, selector, access << 8, offset >> 16))

    def stack(self, items: int, width: int = 32) -> tuple[int, ...]:
        """What lies on top of the flat stack."""
        code = "I" if width == 32 else "H"
        top = self.cpu["gpr", ESP]
        return struct.unpack(f"<{items}{code}", self.ram.read(top, items * width // 8))

    def push(self, *items: int, width: int = 32) -> None:
        """Put items, cut to `width` bits, on the flat stack, the first one on top."""
        code, mask = ("I" if width == 32 else "H"), (1 << width) - 1
        data = struct.pack(f"<{len(items)}{code}", *(item & mask for item in items))
        self.cpu["gpr", ESP] -= len(data)
        self.ram.write(self.cpu["gpr", ESP], data)

    def status(self, name: str, *arguments: int) -> int:
        """Call a runtime function for its status."""
        key = (name, len(arguments))
        if key not in self._functions:
            kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, *[ctypes.c_uint64] * len(arguments))
            self._functions[key] = kind(self.library.symbols[name])
        return int(self._functions[key](self.cpu.pointer, *arguments))

    def call(self, name: str, *arguments: int) -> Trouble | None:
        """Call a runtime function; the exception it raised, if any."""
        status = self.status(name, *arguments)
        if status == OK:
            return None
        assert status == FAULT, f"{name} answered {status}"
        return Trouble(self.cpu["fault_vector"], self.cpu["fault_error"] if self.cpu["fault_has_error"] else None)
