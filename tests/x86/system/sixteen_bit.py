"""The modes of 16-bit code, for one-line cases: a memory map, segments, a handler's address for each vector."""

from __future__ import annotations

import struct

from bt.x86 import (
    flags,
    reset,
)
from bt.x86.reset import write_eflags
from bt.x86.state import CS, DS, ES, ESP, FS, GS, SS
from bt.x86.system.segmentation import segment_cache
from tests.x86.system.processor import CODE, CR0_PE, DATA, Processor, code_selector, data_selector

SELECTORS = {CS: 0x1000, DS: 0x2000, ES: 0x2800, SS: 0x3000, FS: 0x2000, GS: 0x2000}
STACK_TOP = 0x8000
HANDLERS = 0x4000  # segment: the handler of vector n is at offset n
_MEMORY = range(0x1_0000, 0x5_0000)
_LIMIT = 0xFFFF
_A20_ON = (1 << 64) - 1


def enter(processor: Processor, mode: str, level: int) -> int:
    """Put the processor into a mode; answers the base of CS. `level`: CPL, in protected mode."""
    processor.ram.write(_MEMORY.start, bytes(len(_MEMORY)))
    processor.cpu["a20_mask"] = _A20_ON
    {"real": _real, "v86": _virtual_8086, "protected16": _protected}[mode](processor, level)
    for number in range(8):
        processor.cpu["gpr", number] = STACK_TOP if number == ESP else 0
    processor.status("update_mode")
    return SELECTORS[CS] << 4


def _real(processor: Processor, level: int) -> None:
    assert level == 0, "real mode has no privilege levels"
    reset.power_on(processor.cpu)
    processor.ram.write(0, b"".join(struct.pack("<HH", vector, HANDLERS) for vector in range(256)))
    _segments(processor, 0)


def _virtual_8086(processor: Processor, level: int) -> None:
    assert level == 0, "virtual-8086 mode has level 3"
    processor.cpu["cpl"] = 3
    write_eflags(processor.cpu, flags.VM | flags.ALWAYS_ONE)
    _segments(processor, 3)


def _segments(processor: Processor, level: int) -> None:
    for number, selector in SELECTORS.items():
        access = DATA | level << 5
        segment_cache.fill(
            processor.cpu, number, selector=selector, base=selector << 4, limit=_LIMIT, access=access, big=False
        )


def _protected(processor: Processor, level: int) -> None:
    """The same bases and limits as in real mode, behind selectors of the level's flat segments."""
    processor.cpu["cpl"] = level
    processor.cpu["cr0"] |= CR0_PE
    for number, paragraph in SELECTORS.items():
        is_code = number == CS
        segment_cache.fill(
            processor.cpu,
            number,
            selector=code_selector(level) if is_code else data_selector(level),
            base=paragraph << 4,
            limit=_LIMIT,
            access=(CODE if is_code else DATA) | level << 5,
            big=False,
        )
