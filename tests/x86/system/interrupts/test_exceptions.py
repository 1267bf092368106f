"""Double faults and shutdown: SDM vol. 3A tables 6-4 and 6-5, written out."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from bt.x86 import flags
from bt.x86.context import BR, DB, DE, DF, GP, NP, PF, SS_FAULT, TS, UD
from bt.x86.exits import ExitReason
from bt.x86.state import ESP, LDTR
from tests.x86.system.processor import (
    CR0_PE,
    CR0_PG,
    DIRECTORY,
    STACKS,
    TABLE,
    Processor,
    code_selector,
    descriptor,
)

HANDLER = 0x5000
MISSING, LOCAL = 0x20_000, 0x0C  # an LDT on a page that is not there, and a selector of it
EIP = 0x1234
BENIGN, CONTRIBUTORY = (UD, BR), (DE, TS, NP, SS_FAULT, GP)


def raise_fault(processor: Processor, vector: int, error: int | None) -> None:
    cpu = processor.cpu
    cpu["eip"] = EIP
    cpu["fault_vector"] = vector
    cpu["fault_has_error"] = int(error is not None)
    cpu["fault_error"] = error or 0
    assert processor.call("deliver_fault") is None


def handlers(processor: Processor, *vectors: int) -> None:
    """Each vector's handler is at HANDLER + vector."""
    for vector in vectors:
        processor.gate(vector, code_selector(0), HANDLER + vector, 0x8E)


def not_present(processor: Processor, vector: int) -> None:
    """Delivering `vector` raises #NP."""
    processor.gate(vector, code_selector(0), HANDLER, 0x0E)


def page_missing(processor: Processor, vector: int) -> None:
    """Delivering `vector` raises #PF: its handler's descriptor is in an LDT on a page that is missing."""
    turn_paging_on(processor, missing=MISSING >> 12)
    processor.cpu.set_segment(LDTR, "base", MISSING)
    processor.gate(vector, LOCAL, HANDLER, 0x8E)


def turn_paging_on(processor: Processor, missing: int) -> None:
    """Pages 0 to 63 are themselves, but for one."""
    cpu = processor.cpu
    for page in range(64):
        processor.ram.write(TABLE + 4 * page, struct.pack("<I", 0 if page == missing else page << 12 | 3))
    processor.ram.write(DIRECTORY, struct.pack("<I", TABLE | 3))
    cpu["cr0"], cpu["cr3"] = CR0_PE | CR0_PG, DIRECTORY
    processor.vcpu.flush()


@pytest.mark.parametrize("vector", range(20))
def test_delivered_with_error_code_and_resume_flag(processor: Processor, vector: int) -> None:
    handlers(processor, vector)
    error = 0x1238 if vector in (8, 10, 11, 12, 13, 14, 17) else None
    raise_fault(processor, vector, error)
    frame = processor.stack(4)
    if error is not None:
        assert frame[0] == error
        frame = frame[1:]
    is_fault = vector not in (1, 2, 3, 4, 8, 9, 15, 18)
    assert frame[:3] == (EIP, code_selector(0), 2 | (flags.RF if is_fault else 0))
    assert processor.cpu["eip"] == HANDLER + vector


@pytest.mark.parametrize(
    ("first", "obstacle", "delivered"),
    [
        *((vector, not_present, NP) for vector in BENIGN),
        *((vector, page_missing, PF) for vector in BENIGN),
        *((vector, not_present, DF) for vector in CONTRIBUTORY if vector != NP),
        *((vector, page_missing, PF) for vector in CONTRIBUTORY),
        (PF, not_present, DF),
        (PF, page_missing, DF),
    ],
)
def test_second_exception(
    processor: Processor, first: int, obstacle: Callable[[Processor, int], None], delivered: int
) -> None:
    handlers(processor, *{NP, PF, DF} - {first})
    obstacle(processor, first)
    raise_fault(processor, first, 0 if first in (TS, NP, SS_FAULT, GP, PF) else None)
    assert processor.cpu["eip"] == HANDLER + delivered
    assert processor.cpu["exit_reason"] == 0
    frame = processor.stack(4)
    assert frame[1] == EIP, "the instruction that began it"
    if delivered == DF:
        assert frame[0] == 0
    if obstacle is page_missing:
        assert processor.cpu["cr2"] == MISSING + (LOCAL & ~7)


@pytest.mark.parametrize("obstacle", [not_present, page_missing])
@pytest.mark.parametrize("first", CONTRIBUTORY)
def test_triple_fault_is_shutdown(processor: Processor, first: int, obstacle: Callable[[Processor, int], None]) -> None:
    for vector in {first, NP, DF}:
        not_present(processor, vector)
    obstacle(processor, DF)
    processor.enter_level(3)
    raise_fault(processor, first, 0)
    assert processor.cpu["exit_reason"] == ExitReason.SHUTDOWN
    assert (processor.cpu["eip"], processor.cpu["cpl"], processor.cpu["gpr", ESP]) == (EIP, 3, STACKS[3])


def test_page_fault_within_page_fault_is_a_double_fault(processor: Processor) -> None:
    """The stack is missing: the handler of #PF cannot be entered, nor that of #DF."""
    handlers(processor, PF, DF)
    turn_paging_on(processor, missing=STACKS[0] - 1 >> 12)
    raise_fault(processor, PF, 0)
    assert processor.cpu["exit_reason"] == ExitReason.SHUTDOWN
    assert processor.cpu["cr2"] == STACKS[0] - 4


def test_serial_exceptions_escalate_from_the_second(processor: Processor) -> None:
    """#UD whose gate is missing is #NP; #NP whose gate is missing too makes the pair contributory."""
    handlers(processor, DF)
    not_present(processor, UD)
    not_present(processor, NP)
    raise_fault(processor, UD, None)
    assert processor.cpu["eip"] == HANDLER + DF


def test_debugger_gets_trapped_vectors_first(processor: Processor) -> None:
    cpu = processor.cpu
    handlers(processor, PF)
    cpu["trap_vectors"] = 1 << PF
    raise_fault(processor, PF, 6)
    assert cpu["exit_reason"] == ExitReason.EXCEPTION
    assert (cpu["exit_address"], cpu["exit_value"], cpu["exit_extra"], cpu["eip"]) == (PF, 6, 1, EIP)


def test_general_detect_is_cleared_for_the_handler(processor: Processor) -> None:
    handlers(processor, DB)
    assert processor.call("write_debug_register", 7, 1 << 13) is None
    assert processor.call("read_debug_register", 0) is not None
    assert processor.cpu["fault_vector"] == DB
    assert processor.cpu["dr", 6] & 1 << 13
    raise_fault(processor, DB, None)
    assert processor.cpu["dr", 7] == 0x400


def test_double_fault_gate_through_the_same_table(processor: Processor) -> None:
    """An IDT that ends before vector 8 leaves nothing for the double fault."""
    processor.describe(0x58, descriptor())
    handlers(processor, *range(8))
    processor.cpu["idtr_limit"] = 8 * 8 - 1
    raise_fault(processor, GP, 0)
    assert processor.cpu["exit_reason"] == ExitReason.SHUTDOWN
