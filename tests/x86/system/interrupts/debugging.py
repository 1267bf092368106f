"""Programs that meet debug exceptions: a handler that stops, and what it found."""

from __future__ import annotations

import struct

from bt.x86.context import DB, NMI
from bt.x86.exits import ExitReason
from bt.x86.reset import write_eflags
from bt.x86.state import ESP
from guest_images.assembler import assemble
from tests.x86.system.lines import ORIGIN
from tests.x86.system.processor import Processor, code_selector

HANDLER, DATA = 0x20000, 0x8000
TF, RF, IF = 1 << 8, 1 << 16, 1 << 9
CR4_DE = 8
EXECUTE, WRITE, PORT, ACCESS = range(4)
BYTE, WORD, DWORD = 0, 1, 3


def enable(number: int, kind: int, length: int = BYTE) -> int:
    """Bits of DR7 for a global breakpoint."""
    return 2 << 2 * number | (kind | length << 2) << 16 + 4 * number


def start(processor: Processor, code: str, *, dr7: int = 0, address: int = 0, eflags: int = 0) -> None:
    """Code at ORIGIN with one address in DR0; handlers that stop for #DB and NMI."""
    cpu = processor.cpu
    processor.ram.write(ORIGIN, assemble(code.replace("; ", "\n") + "\nhlt", 32, ORIGIN))
    processor.ram.write(HANDLER, assemble("hlt\niretd", 32, HANDLER))
    for vector in (DB, NMI):
        processor.gate(vector, code_selector(0), HANDLER, 0x8E)
    cpu["eip"] = ORIGIN
    cpu["cr4"] = CR4_DE
    cpu["dr", 0], cpu["dr", 7] = address, 0x400 | dr7
    write_eflags(cpu, eflags)
    processor.vcpu.flush()


def next_trap(processor: Processor) -> tuple[int, int, int] | None:
    """Run to the next #DB: EIP pushed (from ORIGIN), EFLAGS pushed, DR6 bits; None if the code ends first."""
    cpu = processor.cpu
    assert processor.vcpu.run(10_000).reason is ExitReason.HLT
    if cpu["eip"] != HANDLER + 1:
        return None
    eip, _, eflags = processor.stack(3)
    dr6 = cpu["dr", 6] & 0xE00F
    cpu["dr", 6] = 0xFFFF0FF0
    return eip - ORIGIN, eflags, dr6


def push_resume_flag(processor: Processor) -> None:
    top = processor.cpu["gpr", ESP]
    eflags = struct.unpack("<I", processor.ram.read(top + 8, 4))[0]
    processor.ram.write(top + 8, struct.pack("<I", eflags | RF))


def trap_places(processor: Processor) -> list[int]:
    places = []
    while (found := next_trap(processor)) is not None:
        places.append(found[0])
        assert len(places) < 100
    return places
