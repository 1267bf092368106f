"""Task switches: what is saved and loaded, busy bits and links, faults on either side of the commit point."""

from __future__ import annotations

import itertools
import struct

import pytest

from bt.x86 import flags
from bt.x86.context import DB, GP, NP, SS_FAULT, TS, UD
from bt.x86.reset import read_eflags, write_eflags
from bt.x86.services import INT_EXCEPTION, INT_SOFTWARE
from bt.x86.state import CS, DS, ES, ESP, LDTR, SS, TR
from tests.x86.system.processor import (
    LDT_SELECTOR,
    SPARE,
    SPARE_2,
    STACKS,
    TASK_SELECTOR,
    TSS,
    Processor,
    Trouble,
    code_selector,
    data_selector,
    descriptor,
)

NEW_TSS, NEXT, TARGET = 0x6000, 0x0076_5432, 0x0012_3456
VECTOR = 0x41
GENERAL = tuple(0x1010_0000 * n + n for n in range(1, 9))


def image_32(**changes: int) -> bytes:
    """A TSS of level 0 with everything in it; names as in figure 7-2."""
    values = {"link": 0xBEEF, "cr3": 0x4000, "eip": TARGET, "eflags": 0x202, "ldt": LDT_SELECTOR, "trap": 0}
    values |= {name: data_selector(0) for name in ("es", "ss", "ds", "fs", "gs")} | {"cs": code_selector(0)}
    values |= changes
    order = ("es", "cs", "ss", "ds", "fs", "gs")
    return struct.pack(
        "<I24xIII8I6IIHH",
        values["link"],
        *(values["cr3"], values["eip"], values["eflags"]),
        *GENERAL,
        *(values[name] for name in order),
        *(values["ldt"], values["trap"], 104),
    )


def image_16() -> bytes:
    general = (register & 0xFFFF for register in GENERAL)
    segments = (data_selector(0), code_selector(0), data_selector(0), data_selector(0))
    return struct.pack("<H12xHH8H4HH", 0xBEEF, TARGET & 0xFFFF, 0x202, *general, *segments, LDT_SELECTOR)


def prepare(processor: Processor, *, access: int = 0x89, image: bytes | None = None, limit: int = 0x67) -> None:
    """A second task under SPARE."""
    processor.describe(SPARE, descriptor(NEW_TSS, limit, access, 0))
    processor.ram.write(NEW_TSS, image_32() if image is None else image)
    processor.cpu["fault_in_new_task"] = 0


def task_gate(selector: int, access: int = 0x85) -> bytes:
    return struct.pack("<HHBBH", 0, selector, 0, access, 0)


def switch(processor: Processor, how: str, selector: int = SPARE) -> Trouble | None:
    if how == "jump":
        return processor.call("far_jump", selector, 0, NEXT)
    if how == "call":
        return processor.call("far_call", selector, 0, NEXT, 32)
    if how == "interrupt":
        processor.ram.write(0x2000 + 8 * VECTOR, task_gate(selector, 0xE5))
        return processor.call("deliver_interrupt", VECTOR, INT_SOFTWARE, NEXT)
    write_eflags(processor.cpu, read_eflags(processor.cpu) | flags.NT)
    processor.ram.write(TSS, struct.pack("<H", selector))
    return processor.call("interrupt_return", 32, NEXT)


@pytest.mark.parametrize("how", ["jump", "call", "interrupt", "return"])
def test_state_is_saved_and_loaded(processor: Processor, how: str) -> None:
    returns, nests = how == "return", how in ("call", "interrupt")
    prepare(processor, access=0x8B if returns else 0x89)
    cpu = processor.cpu
    before = [cpu["gpr", number] for number in range(8)]
    write_eflags(cpu, flags.CF | flags.IF)
    cpu["dr", 7] = 0x7FF
    assert switch(processor, how) is None
    assert cpu["eip"] == TARGET
    assert [cpu["gpr", number] for number in range(8)] == list(GENERAL)
    assert read_eflags(cpu) == 0x202 | (flags.NT if nests else 0)
    assert (cpu.segment(TR, "selector"), cpu.segment(TR, "base")) == (SPARE, NEW_TSS)
    assert cpu.segment(LDTR, "selector") == LDT_SELECTOR
    assert cpu["cr0"] & 8, "TS"
    assert cpu["dr", 7] == 0x6AA, "local breakpoints off"
    assert cpu["cr3"] == 0, "without paging"
    old, new = processor.described(TASK_SELECTOR)[5], processor.described(SPARE)[5]
    assert (old, new) == (0x8B if nests else 0x89, 0x8B)
    link = struct.unpack("<H", processor.ram.read(NEW_TSS, 2))[0]
    assert link == (TASK_SELECTOR if nests else 0xBEEF)
    saved = struct.unpack("<II8I6I", processor.ram.read(TSS + 32, 64))
    assert saved[0] == NEXT
    assert saved[1] == flags.CF | flags.IF | 2, "NT is not saved by the return"
    assert list(saved[2:10]) == before
    assert saved[10:13] == (data_selector(0), code_selector(0), data_selector(0))


@pytest.mark.parametrize("old_format", [16, 32])
def test_16_bit_task(processor: Processor, old_format: int) -> None:
    prepare(processor, access=0x81, image=image_16(), limit=43)
    if old_format == 16:
        processor.cpu.set_segment(TR, "attributes", 0x83)
    assert switch(processor, "call") is None
    cpu = processor.cpu
    assert cpu["eip"] == TARGET & 0xFFFF
    assert [cpu["gpr", number] for number in range(8)] == [0xFFFF_0000 | register & 0xFFFF for register in GENERAL]
    assert [cpu.segment(number, "selector") for number in (4, 5)] == [0, 0]
    assert cpu.segment(DS, "selector") == data_selector(0)
    if old_format == 16:
        ip, image, *general = struct.unpack("<HH8H", processor.ram.read(TSS + 14, 20))
        assert (ip, image, general[ESP]) == (NEXT & 0xFFFF, 2, STACKS[0] & 0xFFFF)


@pytest.mark.parametrize("how", ["jump", "call", "interrupt", "return"])
def test_every_descriptor(processor: Processor, how: str) -> None:
    vector = TS if how == "return" else GP
    for byte, limit in itertools.product(range(256), (0x66, 0x67)):
        if byte & 0x10 or (byte & 0x1F in (4, 5, 12) and how in ("jump", "call")):
            continue
        processor.start()
        prepare(processor, access=byte, limit=limit)
        wanted = (3, 11) if how == "return" else (1, 9)
        trouble = switch(processor, how)
        if byte & 0x1F not in wanted:
            assert trouble == Trouble(vector, SPARE), hex(byte)
        elif not byte & 0x80:
            assert trouble == Trouble(NP, SPARE), hex(byte)
        elif limit == 0x66 and byte & 8:
            assert trouble == Trouble(TS, SPARE), hex(byte)
        elif byte & 8:
            assert trouble is None, hex(byte)
        assert processor.cpu["fault_in_new_task"] == 0 or not byte & 8


@pytest.mark.parametrize("how", ["jump", "call", "interrupt", "return"])
def test_a_task_is_in_the_gdt(processor: Processor, how: str) -> None:
    processor.describe(SPARE | 4, descriptor(NEW_TSS, 0x67, 0x8B if how == "return" else 0x89, 0))
    local = SPARE | 4
    if how in ("jump", "call"):
        assert switch(processor, how, local) == Trouble(GP, local)
        processor.describe(SPARE_2, task_gate(local))
        assert switch(processor, how, SPARE_2) == Trouble(GP, local)
    else:
        assert switch(processor, how, local) == Trouble(TS if how == "return" else GP, local)


@pytest.mark.parametrize("how", ["jump", "call"])
def test_reach_of_tasks_and_task_gates(processor: Processor, how: str) -> None:
    for cpl, rpl, dpl in itertools.product(range(4), repeat=3):
        for through_gate in (False, True):
            processor.start()
            prepare(processor, access=0x89 if through_gate else 0x89 | dpl << 5)
            processor.describe(SPARE_2, task_gate(SPARE, 0x85 | dpl << 5))
            processor.enter_level(cpl)
            selector = SPARE_2 if through_gate else SPARE
            trouble = switch(processor, how, selector | rpl)
            assert trouble == (Trouble(GP, selector) if max(cpl, rpl) > dpl else None)


def test_absent_task_gate(processor: Processor) -> None:
    prepare(processor)
    processor.describe(SPARE_2, task_gate(SPARE, 0x05))
    assert switch(processor, "call", SPARE_2) == Trouble(NP, SPARE_2)


FAULTS_OF_THE_NEW_TASK = [
    ({"ldt": LDT_SELECTOR | 4}, TS, LDT_SELECTOR | 4),
    ({"ldt": TASK_SELECTOR}, TS, TASK_SELECTOR),
    ({"ldt": 0x1000}, TS, 0x1000),
    ({"cs": 0}, TS, 0),
    ({"cs": data_selector(0)}, TS, data_selector(0)),
    ({"cs": code_selector(1) & ~3}, TS, code_selector(1) & ~3),
    ({"cs": SPARE_2}, NP, SPARE_2),
    ({"ss": 0}, TS, 0),
    ({"ss": code_selector(0)}, TS, code_selector(0)),
    ({"ss": data_selector(1)}, TS, data_selector(1) & ~3),
    ({"ds": TASK_SELECTOR}, TS, TASK_SELECTOR),
    ({"cs": code_selector(3), "ss": data_selector(3), "es": data_selector(0)}, TS, data_selector(0)),
    ({"gs": 0x1008}, TS, 0x1008),
]


@pytest.mark.parametrize(("changes", "vector", "error"), FAULTS_OF_THE_NEW_TASK)
@pytest.mark.parametrize("how", ["jump", "interrupt"])
def test_faults_of_the_new_task(
    processor: Processor, changes: dict[str, int], vector: int, error: int, how: str
) -> None:
    prepare(processor, image=image_32(**changes))
    processor.describe(SPARE_2, descriptor(access=0x1B))
    assert switch(processor, how) == Trouble(vector, error)
    cpu = processor.cpu
    assert cpu["fault_in_new_task"] == 1
    assert (cpu["eip"], cpu.segment(TR, "selector"), cpu.segment(CS, "selector")) == (
        TARGET,
        SPARE,
        changes.get("cs", code_selector(0)),
    )


def test_absent_stack_and_data(processor: Processor) -> None:
    for name, vector in (("ss", SS_FAULT), ("ds", NP)):
        processor.start()
        prepare(processor, image=image_32(**{name: SPARE_2}))
        processor.describe(SPARE_2, descriptor(access=0x13))
        assert switch(processor, "call") == Trouble(vector, SPARE_2)
        assert (processor.cpu.segment(SS, "read_low") > 0) == (name == "ss"), "not loaded"


def test_entry_beyond_the_limit(processor: Processor) -> None:
    processor.describe(SPARE_2, descriptor(limit=TARGET - 1, access=0x9B, flags=4))
    prepare(processor, image=image_32(cs=SPARE_2))
    assert switch(processor, "jump") == Trouble(GP, 0)
    assert processor.cpu["eip"] == TARGET


def test_debug_trap_bit(processor: Processor) -> None:
    prepare(processor, image=image_32(trap=1))
    processor.cpu["dr", 6] = 0xFFFF4FF2
    assert switch(processor, "call") == Trouble(DB, None)
    assert processor.cpu["dr", 6] == 0xFFFFCFF0
    assert (processor.cpu["eip"], processor.cpu.segment(ES, "selector")) == (TARGET, data_selector(0))


def test_exception_through_a_task_gate_pushes_its_error_code(processor: Processor) -> None:
    prepare(processor)
    processor.ram.write(0x2000 + 8 * GP, task_gate(SPARE))
    processor.ram.write(0xA000 - 4, bytes(4))
    processor.ram.write(NEW_TSS + 56, struct.pack("<I", 0xA000))
    write_eflags(processor.cpu, 0)
    trouble = processor.call("deliver_event", GP, INT_EXCEPTION, NEXT, 1, 0x1234, flags.RF)
    assert trouble is None
    assert processor.stack(1) == (0x1234,)
    assert struct.unpack("<I", processor.ram.read(TSS + 36, 4))[0] == flags.RF | 2


def test_page_directory_and_mapping_change(processor: Processor) -> None:
    """With paging the registers are the new address space's; the fault address of a missing TSS page is linear."""
    cpu = processor.cpu
    prepare(processor, image=image_32(cr3=0x7000))
    for directory, table in ((0x4000, 0x5000), (0x7000, 0x8000)):
        processor.ram.write(directory, struct.pack("<I", table | 7))
        processor.ram.write(table, b"".join(struct.pack("<I", page << 12 | 7) for page in range(64)))
    cpu["cr3"], cpu["cr0"] = 0x4000, cpu["cr0"] | 1 << 31
    processor.vcpu.flush()
    assert switch(processor, "jump") is None
    assert cpu["cr3"] == 0x7000
    assert cpu["tlb_flushes"] > 0


def test_a_task_that_faults_while_an_exception_is_delivered(processor: Processor) -> None:
    """Once the second exception has its handler, nothing is left of the new task's fault: EIP is the handler's."""
    prepare(processor, image=image_32(cs=0))
    processor.ram.write(0x2000 + 8 * UD, task_gate(SPARE))
    processor.gate(TS, code_selector(0), TARGET, 0x8E)
    processor.cpu["fault_vector"], processor.cpu["fault_has_error"] = UD, 0
    assert processor.call("deliver_fault") is None
    assert processor.cpu["eip"] == TARGET
    assert processor.cpu["fault_in_new_task"] == 0
