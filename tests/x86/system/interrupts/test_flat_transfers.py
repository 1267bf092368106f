"""The short way of interrupts, IRET, SYSENTER and SYSEXIT comes to the same as the long way.

See bt/x86/system/segmentation/flat_transfer.py. The long way is taken where nothing is in the TLB, or breakpoints are
on, as far as `mode` says.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from bt.memory.backend import ACCESS_SYSTEM
from bt.x86 import flags, mode
from bt.x86.context import FAULT
from bt.x86.reset import read_eflags, write_eflags
from bt.x86.services import INT_EXCEPTION, INT_EXTERNAL, INT_SOFTWARE
from bt.x86.state import CS, DS, ECX, EDX, ES, ESP, FS, GPR_NAMES, GS, SEGMENT_FIELDS, SEGMENT_NAMES, SS, TR
from bt.x86.system.registers.control_registers import CR0_AM
from bt.x86.system.segmentation import segment_cache
from tests.x86.system.processor import (
    CODE,
    CODE_AREA,
    DATA,
    GDT,
    IDT,
    LDT,
    STACKS,
    TASK_SELECTOR,
    TSS,
    Processor,
    code_selector,
    data_selector,
    descriptor,
)

VECTOR, HANDLER, RETURN, ERROR = 0x41, 0x0012_3456, 0x7654_3210, 0xABC
TAKEN = 1
INTERRUPT_32, ALL_LEVELS = 0x8E, 0x60
CONFORMING, EXPAND_DOWN, NOT_ACCESSED = 4, 4, 1
_PAGE = 0x1000
Change = Callable[[Processor], object]


def _gate(selector: int = code_selector(0), access: int = INTERRUPT_32 | ALL_LEVELS) -> Change:
    return lambda processor: processor.gate(VECTOR, selector, HANDLER, access)


def _describe(selector: int, base: int = 0, limit: int = 0xFFFFF, access: int = DATA, flags: int = 0xC) -> Change:
    return lambda processor: processor.describe(selector, descriptor(base, limit, access, flags))


def _put(name: str, value: int) -> Change:
    return lambda processor: processor.cpu.__setitem__(name, value)


def _eflags(value: int) -> Change:
    return lambda processor: write_eflags(processor.cpu, read_eflags(processor.cpu) ^ value)


def _register(number: int, value: int) -> Change:
    return lambda processor: processor.cpu.__setitem__(("gpr", number), value)


def _segment(number: int, access: int = DATA, limit: int = 0xFFFF_FFFF, *, base: int = 0, big: bool = True) -> Change:
    def change(processor: Processor) -> None:
        selector = processor.cpu.segment(number, "selector")
        segment_cache.fill(processor.cpu, number, selector=selector, base=base, limit=limit, access=access, big=big)

    return change


def _frame(place: int, value: int) -> Change:
    """An item of the frame that IRET pops."""
    return lambda processor: processor.ram.write(processor.cpu["gpr", ESP] + 4 * place, struct.pack("<I", value))


def _ldt_code(processor: Processor) -> None:
    processor.describe(0xC, descriptor(access=CODE))
    processor.gate(VECTOR, 0xC, HANDLER, INTERRUPT_32 | ALL_LEVELS)


def _inner_stack(pointer: int, selector: int) -> Change:
    return lambda processor: processor.ram.write(TSS + 4, struct.pack("<II", pointer, selector))


_SEGMENTS: dict[str, Change] = {
    f"{name} {what}": change
    for selector, name, access in (
        (code_selector(0), "code", CODE),
        (data_selector(0), "stack", DATA),
        (code_selector(3), "user code", CODE | 0x60),
        (data_selector(3), "user stack", DATA | 0x60),
    )
    for what, change in {
        "not accessed": _describe(selector, access=access & ~NOT_ACCESSED),
        "not present": _describe(selector, access=access & ~0x80),
        "conforming or down": _describe(selector, access=access | CONFORMING),
        "neither read nor written": _describe(selector, access=access & ~2),
        "of level 1": _describe(selector, access=access & ~0x60 | 0x20),
        "of the other kind": _describe(selector, access=access ^ 8),
        "with a base": _describe(selector, base=0x10, access=access),
        "with a limit": _describe(selector, limit=0xFFFFE, access=access),
        "in bytes": _describe(selector, access=access, flags=4),
        "of 16 bits": _describe(selector, access=access, flags=8),
        "available": _describe(selector, access=access, flags=0xD),
    }.items()
}
DEVIATIONS: dict[str, Change] = {
    "none": lambda _: None,
    "trap gate": _gate(access=INTERRUPT_32 | ALL_LEVELS | 1),
    "16-bit gate": _gate(access=0xE6),
    "task gate": _gate(TASK_SELECTOR, 0xE5),
    "gate of level 0": _gate(access=INTERRUPT_32),
    "gate of level 2": _gate(access=INTERRUPT_32 | 0x40),
    "gate not present": _gate(access=0x6E),
    "call gate": _gate(access=0xEC),
    "null selector": _gate(0),
    "null selector with level": _gate(3),
    "selector with level": _gate(code_selector(0) | 3),
    "selector of the LDT": _ldt_code,
    "selector beyond the GDT": _gate(0x1000),
    "data behind the gate": _gate(data_selector(0)),
    "outer code": _gate(code_selector(3)),
    "short IDT": _put("idtr_limit", 8 * VECTOR + 6),
    "short GDT": _put("gdtr_limit", data_selector(0) + 6),
    "inner stack null": _inner_stack(STACKS[0], 0),
    "inner stack of level 3": _inner_stack(STACKS[0], data_selector(3)),
    "inner stack across pages": _inner_stack(STACKS[0] + 8, data_selector(0)),
    "inner stack wraps": _inner_stack(4, data_selector(0)),
    "inner stack where nothing is": _inner_stack(0xD000_0000, data_selector(0)),
    "16-bit TSS": lambda processor: segment_cache.fill(
        processor.cpu, TR, selector=TASK_SELECTOR, base=TSS, limit=0x7FF, access=0x83, big=False
    ),
    "short TSS": lambda processor: segment_cache.fill(
        processor.cpu, TR, selector=TASK_SELECTOR, base=TSS, limit=8, access=0x8B, big=False
    ),
    "stack across pages": _register(ESP, STACKS[0] + 8),
    "stack wraps": _register(ESP, 8),
    "nested task": _eflags(flags.NT),
    "all flags": _eflags(0x3F_0000 & ~flags.VM | 0xFD5),
    "alignment checked": lambda processor: (_put("cr0", 0x11 | CR0_AM)(processor), _eflags(flags.AC)(processor)),
    "breakpoints": lambda processor: processor.cpu.__setitem__(("dr", 7), 0x2),
    "16-bit code": _segment(CS, CODE, big=False),
    "16-bit stack": _segment(SS, big=False),
    "stack with a limit": _segment(SS, limit=0xFFFFF),
    "stack with a base": _segment(SS, base=0x100),
    **{f"{name} of the kernel": _segment(number) for number, name in ((DS, "DS"), (ES, "ES"), (FS, "FS"), (GS, "GS"))},
    "DS null": lambda processor: processor.call("set_null_segment", DS, 0),
    "DS conforming code": _segment(DS, CODE | CONFORMING),
    "popped: virtual 8086": _frame(2, flags.VM | 2),
    "popped: resume flag": _frame(2, flags.RF | flags.IF | flags.TF | 3),
    "popped: all flags": _frame(2, 0x3F_0000 & ~flags.VM | 0x7FD5),
    "popped: alignment": lambda processor: (_put("cr0", 0x11 | CR0_AM)(processor), _frame(2, flags.AC | 2)(processor)),
    "popped: null code": _frame(1, 3),
    "popped: dirty upper half": _frame(1, 0xDEAD_0000 | code_selector(3)),
    "popped: code of level 1": _frame(1, code_selector(1)),
    "popped: null stack": _frame(4, 3),
    "popped: stack of level 0": _frame(4, data_selector(0)),
    "popped: stack beyond the GDT": _frame(4, 0x1003),
    **_SEGMENTS,
}


@dataclass(frozen=True)
class Transfer:
    """A runtime function, the level it begins at, and whether it begins with a frame."""

    name: str
    arguments: tuple[int, ...]
    level: int
    frame_of: int | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.arguments} at {self.level}"


TRANSFERS = (
    *(
        Transfer("deliver_event", (VECTOR, kind, RETURN, has_error, ERROR, pushed), level)
        for kind, (has_error, pushed), level in itertools.product(
            (INT_EXTERNAL, INT_SOFTWARE, INT_EXCEPTION), ((0, 0), (1, flags.RF)), (0, 1, 3)
        )
    ),
    *(Transfer("interrupt_return", (width, RETURN), 0, frame) for width in (16, 32) for frame in (0, 3)),
    Transfer("interrupt_return", (32, RETURN), 3, 3),
    Transfer("system_call_enter", (), 3),
    Transfer("system_call_enter", (), 0),
    Transfer("system_call_exit", (), 0),
    Transfer("system_call_exit", (), 3),
)


def _prepare(processor: Processor, transfer: Transfer, change: Change) -> None:
    processor.start()
    processor.enter_level(transfer.level)
    for segment in (DS, ES, FS, GS) if transfer.level == 0 else ():
        _segment(segment, DATA | 0x60)(processor)
    processor.cpu["cr0"], processor.cpu["dr", 7] = 0x11, 0
    for number in range(8):
        processor.cpu["gpr", number] = 0x1111_1111 * number
    processor.cpu["gpr", ESP] = STACKS[transfer.level] - 0x40
    processor.cpu["gpr", ECX], processor.cpu["gpr", EDX] = 0x55_0000, 0x66_0000
    processor.cpu["sysenter_cs"], processor.cpu["sysenter_eip"] = code_selector(0), HANDLER
    processor.cpu["sysenter_esp"] = STACKS[1]
    write_eflags(processor.cpu, 0x2 | flags.IF | flags.TF | flags.ZF | flags.CF)
    _gate()(processor)
    if transfer.frame_of is not None:
        level = transfer.frame_of
        for place, item in enumerate((RETURN, code_selector(level), 0x202, 0x7777_0000, data_selector(level))):
            _frame(place, item)(processor)
    change(processor)
    processor.vcpu.flush()


def _warm(processor: Processor, touched: list[int]) -> None:
    for linear in touched:
        for write in (0, 1):
            processor.status("resolve", linear, write, ACCESS_SYSTEM)
            processor.status("resolve", linear, write, 0)


def _outcome(processor: Processor, status: int) -> dict[str, object]:
    """All that anybody could find out."""
    cpu = processor.cpu
    found: dict[str, object] = {"status": status, "eflags": read_eflags(cpu), "ram": processor.ram.read(0, CODE_AREA)}
    found |= {name: cpu["gpr", number] for number, name in enumerate(GPR_NAMES)}
    names = ["eip", "cpl", "inhibit", "resume_at", "step_trap", "loaded_resume_flag", "mode", "tlb", "tlb_system"]
    if status == FAULT:
        names += ["fault_vector", "fault_error", "fault_has_error", "cr2"]
    found |= {name: cpu[name] for name in names}
    found["tag"] = cpu["code_tag"] >> 32 & (1 << mode.MODE_BITS) - 1
    for number, name in enumerate(SEGMENT_NAMES):
        found |= {f"{name}.{part}": cpu.segment(number, part) for part in SEGMENT_FIELDS}
    return found


def _long_way(processor: Processor, transfer: Transfer) -> int:
    """Status; whatever the mode is for, it is right afterwards."""
    right = processor.cpu["mode"]
    wrong = processor.cpu["mode"] = right & ~mode.BREAKPOINT_FREE
    status = processor.status(transfer.name, *transfer.arguments)
    if processor.cpu["mode"] == wrong:  # as it was
        processor.cpu["mode"] = right
    return status


def _outcomes(processor: Processor, transfer: Transfer, change: Change) -> Iterator[dict[str, object]]:
    """By the long way, and with everything that is there in the TLB."""
    _prepare(processor, transfer, change)
    yield _outcome(processor, _long_way(processor, transfer))
    _prepare(processor, transfer, change)
    _warm(processor, [*range(0, CODE_AREA, _PAGE), 0xFFFF_F000])
    yield _outcome(processor, processor.status(transfer.name, *transfer.arguments))


@pytest.mark.parametrize("transfer", TRANSFERS, ids=str)
def test_each_deviation_is_the_long_way(processor: Processor, transfer: Transfer) -> None:
    for name, change in DEVIATIONS.items():
        long, short = _outcomes(processor, transfer, change)
        assert {key: (long[key], short[key]) for key in long if long[key] != short[key]} == {}, name


@pytest.mark.parametrize("level", [0, 3])
@pytest.mark.parametrize("kind", [INT_EXTERNAL, INT_SOFTWARE])
def test_the_short_way_in_is_taken(processor: Processor, level: int, kind: int) -> None:
    arguments = (VECTOR, kind, RETURN, 1, ERROR, 0)
    _prepare(processor, Transfer("enter_flat", arguments, level), DEVIATIONS["none"])
    assert processor.status("enter_flat", *arguments) != TAKEN, "nothing is in the TLB"
    _warm(processor, [GDT, IDT, TSS, LDT, *(stack - 1 for stack in STACKS)])
    assert processor.status("enter_flat", *arguments) == TAKEN
    assert processor.cpu["eip"] == HANDLER


@pytest.mark.parametrize("level", [0, 3])
def test_the_short_way_out_is_taken(processor: Processor, level: int) -> None:
    _prepare(processor, Transfer("return_flat", (), 0, level), DEVIATIONS["none"])
    assert processor.status("return_flat") != TAKEN, "nothing is in the TLB"
    _warm(processor, [GDT, IDT, TSS, LDT, *(stack - 1 for stack in STACKS)])
    assert processor.status("return_flat") == TAKEN
    assert (processor.cpu["eip"], processor.cpu["cpl"]) == (RETURN, level)
