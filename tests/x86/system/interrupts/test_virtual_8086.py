"""Virtual-8086 mode: the way in by IRET and out by gates (SDM vol. 3B, 8086 emulation; vol. 2, IRET and INT n).

What instructions do inside is judged by the guest v86-matrix.
"""

from __future__ import annotations

import struct

import pytest

from bt.x86 import flags
from bt.x86.exits import ExitReason
from bt.x86.reset import read_eflags
from bt.x86.state import CS, DS, EBX, ES, ESP, FS, GS, SS
from guest_images.assembler import assemble
from tests import tables
from tests.x86.system.processor import (
    CODE,
    CR0_PE,
    CR0_PG,
    DIRECTORY,
    SPARE,
    STACKS,
    TABLE,
    Processor,
    Trouble,
    code_selector,
    data_selector,
    descriptor,
)

GP, PF = 13, 14
SEGMENTS = {CS: 0x1800, SS: 0x2000, ES: 0x3000, DS: 0x3001, FS: 0x3002, GS: 0x3003}
IP, SP = 0x10, 0x1234_5670
HANDLER = 0x4_0000
INTERRUPT_GATE_16, INTERRUPT_GATE_32, DPL_3 = 0x86, 0x8E, 0x60
VECTOR = 0x40


def enter(processor: Processor, eflags: int = 0, eip: int = IP) -> Trouble | None:
    """IRET to virtual-8086 mode from level 0."""
    s = SEGMENTS
    processor.push(eip, s[CS], eflags | flags.VM | 2, SP, s[SS], s[ES], s[DS], s[FS], s[GS])
    return processor.call("interrupt_return", 32)


def test_iret_loads_everything(processor: Processor) -> None:
    image = flags.VIF | flags.VIP | flags.IOPL | flags.IF | flags.CF | flags.AC
    assert enter(processor, image) is None
    cpu = processor.cpu
    assert (cpu["eip"], cpu["gpr", ESP], cpu["cpl"]) == (IP, SP, 3)
    assert read_eflags(cpu) == image | flags.VM | 2
    for number, selector in SEGMENTS.items():
        assert (cpu.segment(number, "selector"), cpu.segment(number, "base")) == (selector, selector * 16)
        assert cpu.segment(number, "limit") == cpu.segment(number, "write_high") == 0xFFFF


def test_iret_beyond_the_segment_is_refused(processor: Processor) -> None:
    """SDM vol. 2, IRET: #GP(0) unless EIP is within the limit of CS. That it is cut to 16 bits then changes nothing.

    (QEMU 7.2 only cuts it.)
    """
    assert enter(processor, eip=0x10000) == Trouble(GP, 0)
    assert processor.cpu["cpl"] == 0


@pytest.mark.parametrize("width", [16, 32])
def test_the_way_out_saves_and_clears_the_segments(processor: Processor, width: int) -> None:
    processor.gate(VECTOR, code_selector(0), HANDLER, (INTERRUPT_GATE_32 if width == 32 else INTERRUPT_GATE_16) | DPL_3)
    assert enter(processor, flags.IOPL | flags.IF) is None
    assert processor.call("software_interrupt", VECTOR, IP + 2) is None
    cpu = processor.cpu
    s, mask = SEGMENTS, (1 << width) - 1
    image = flags.VM | flags.IOPL | flags.IF | 2
    frame = [IP + 2, s[CS], image & mask, SP & mask, s[SS], s[ES], s[DS], s[FS], s[GS]]
    assert cpu["gpr", ESP] == STACKS[0] - len(frame) * width // 8
    assert list(processor.stack(len(frame), width)) == frame
    assert (cpu["cpl"], cpu["eip"], cpu.segment(SS, "selector")) == (0, HANDLER & mask, data_selector(0))
    assert read_eflags(cpu) == flags.IOPL | 2
    assert [cpu.segment(number, "selector") for number in (ES, DS, FS, GS)] == [0] * 4
    assert cpu.segment(DS, "read_low") > cpu.segment(DS, "read_high")


@pytest.mark.parametrize(("level", "conforming"), [(1, False), (3, False), (0, True), (3, True)])
def test_the_way_out_leads_to_level_0_only(processor: Processor, level: int, conforming: bool) -> None:
    processor.describe(SPARE, descriptor(access=CODE | level << 5 | conforming << 2))
    processor.gate(VECTOR, SPARE, HANDLER, INTERRUPT_GATE_32 | DPL_3)
    assert enter(processor, flags.IOPL) is None
    assert processor.call("software_interrupt", VECTOR, IP) == Trouble(GP, SPARE)


@pytest.mark.parametrize(("bit", "leaves"), [(0, False), (1, True)])
def test_the_redirection_bitmap(processor: Processor, bit: int, leaves: bool) -> None:
    """CR4.VME, IOPL 0: a clear bit leads through the vector table, a set one is #GP(0)."""
    enter(processor)
    cpu = processor.cpu
    cpu["cr4"] = 1
    tss = cpu.segment(7, "base")
    processor.ram.write(tss + 102, struct.pack("<H", 200))
    processor.ram.write(tss + 200 - 32 + VECTOR // 8, bytes([bit << VECTOR % 8]))
    processor.ram.write(4 * VECTOR, struct.pack("<HH", 0x77, 0x1900))
    trouble = processor.call("software_interrupt", VECTOR, IP + 2)
    cpu["cr4"] = 0
    if leaves:
        assert trouble == Trouble(GP, 0)
    else:
        assert trouble is None
        assert (cpu.segment(CS, "selector"), cpu["eip"], cpu["cpl"]) == (0x1900, 0x77, 3)


@pytest.mark.parametrize("page_bits", [tables.USER | tables.WRITABLE, tables.WRITABLE])
def test_it_is_a_user_to_paging(engine: Processor, page_bits: int) -> None:
    cpu = engine.cpu
    everything = tables.USER | tables.WRITABLE
    data_page = SEGMENTS[DS] * 16 >> 12
    pages = {page: page << 12 | everything for page in range(256)} | {data_page: data_page << 12 | page_bits}
    engine.ram.write(DIRECTORY, tables.page_table({0: TABLE | everything}))
    engine.ram.write(TABLE, tables.page_table(pages))
    engine.ram.write(SEGMENTS[CS] * 16 + IP, assemble("mov bl, [0]\nhlt", 16, IP))
    engine.ram.write(SEGMENTS[DS] * 16, b"\x5a")
    cpu["cr3"], cpu["cr0"] = DIRECTORY, CR0_PE | CR0_PG | 0x10
    engine.vcpu.flush()
    assert enter(engine) is None
    cpu["trap_vectors"] = 1 << GP | 1 << PF
    leave = engine.vcpu.run(10)
    assert leave.reason is ExitReason.EXCEPTION
    if page_bits & tables.USER:
        assert (leave.address, leave.value) == (GP, 0)  # HLT
        assert cpu["gpr", EBX] & 0xFF == 0x5A
    else:
        assert (leave.address, leave.value, cpu["cr2"]) == (PF, 5, SEGMENTS[DS] * 16)  # present, user
