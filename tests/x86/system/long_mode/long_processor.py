"""A processor in 64-bit mode, whose runtime functions tests call one at a time."""

from __future__ import annotations

import struct

from bt.x86.state import CS, ESP, LDTR, SS, TR
from bt.x86.system.registers.control_registers import (
    CR0_PE,
    CR0_PG,
    CR0_WP,
    CR4_PAE,
    CR4_PGE,
    EFER_LMA,
    EFER_LME,
    EFER_NXE,
    EFER_SCE,
)
from bt.x86.system.segmentation import segment_cache
from tests.x86.system.processor import CODE, CODE_AREA, IDT, STACKS, TASK_SELECTOR, TSS, Processor, descriptor

TOP, POINTERS, DIRECTORY, TABLE, PAGE = 0x20000, 0x21000, 0x22000, 0x23000, 0x24000
LONG, BIG_CODE = 0xA, 0xC  # flags of a descriptor: G and L; G and D
# Selectors of 64-bit code, by level; those of 32 bits and data are the base class's.
LONG_CODE = (0x60, 0x6B, 0x72, 0x7B)
ACTIVE = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE
PRESENT, WRITABLE, USER, LARGE = 1, 2, 4, 0x80
HANDLER, VECTORS = 0x1_8000, 32


class LongProcessor(Processor):
    """At CPL 0 in 64-bit mode; the first 2 MiB are mapped to themselves, for everybody."""

    def start(self) -> None:
        super().start()
        cpu = self.cpu
        for level, selector in enumerate(LONG_CODE):
            self.describe(selector, descriptor(access=CODE | level << 5, flags=LONG))
        rights = PRESENT | WRITABLE | USER
        self.ram.write(TOP, struct.pack("<Q", POINTERS | rights))
        self.ram.write(POINTERS, struct.pack("<Q", DIRECTORY | rights))
        self.ram.write(DIRECTORY, struct.pack("<Q", rights | LARGE))
        cpu["cr0"], cpu["cr4"], cpu["efer"] = CR0_PE | CR0_PG | CR0_WP | 0x10, CR4_PAE | CR4_PGE, ACTIVE
        cpu["cr3"] = TOP
        segment_cache.fill(cpu, TR, selector=TASK_SELECTOR, base=TSS, limit=0x67, access=0x8B, big=False)
        segment_cache.fill(cpu, LDTR, selector=0, base=0, limit=0, access=0x82, big=False)
        self.ram.write(TSS, bytes(0x68))
        self.enter_long(0)

    def enter_long(self, level: int) -> None:
        """64-bit code of a level, with a flat stack segment."""
        self.enter_level(level)
        self.code(LONG_CODE[level], level, flags=LONG)

    def code(self, selector: int, level: int, flags: int) -> None:
        """CS with a flat code segment of that level."""
        cpu = self.cpu
        access, big, long = CODE | level << 5, bool(flags & 4), bool(flags & 2)
        segment_cache.fill(cpu, CS, selector=selector, base=0, limit=0xFFFF_FFFF, access=access, big=big, long=long)
        cpu["cpl"] = level
        self.vcpu.flush()

    def long_gate(self, vector: int, selector: int, offset: int, access: int = 0x8E, ist: int = 0) -> None:
        low = struct.pack("<HHBBH", offset & 0xFFFF, selector, ist, access, offset >> 16 & 0xFFFF)
        self.ram.write(IDT + 16 * vector, low + struct.pack("<II", offset >> 32 & 0xFFFF_FFFF, 0))

    def task_stack(self, at: int, pointer: int) -> None:
        """Write a stack pointer of the TSS."""
        self.ram.write(TSS + at, struct.pack("<Q", pointer))

    def quadwords(self, items: int) -> tuple[int, ...]:
        """What lies on top of the stack."""
        return struct.unpack(f"<{items}Q", self.ram.read(self.cpu["gpr", ESP], 8 * items))

    def push_quadwords(self, *items: int) -> None:
        self.cpu["gpr", ESP] -= 8 * len(items)
        self.ram.write(self.cpu["gpr", ESP], struct.pack(f"<{len(items)}Q", *items))

    @property
    def selectors(self) -> tuple[int, int]:
        """Of CS and SS."""
        return self.cpu.segment(CS, "selector"), self.cpu.segment(SS, "selector")

    def catch_exceptions(self) -> None:
        """Each leads to a HLT of its own."""
        for vector in range(VECTORS):
            self.long_gate(vector, LONG_CODE[0], HANDLER + vector)
        self.ram.write(HANDLER, b"\xf4" * VECTORS)

    def execute(self, code: bytes) -> int | None:
        """The vector of the exception that an instruction raises; `catch_exceptions` must have been called."""
        self.ram.write(CODE_AREA, code + b"\x90")
        self.cpu["eip"], self.cpu["gpr", ESP] = CODE_AREA, STACKS[0]
        self.vcpu.flush()
        self.vcpu.run(1)
        eip = self.cpu["eip"]
        return eip - HANDLER if HANDLER <= eip < HANDLER + VECTORS else None
