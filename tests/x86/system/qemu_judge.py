"""QEMU as judge of one-line cases in 16-bit modes: the same memory and registers, one step, the same result."""

from __future__ import annotations

import struct

from bt.inspect.compare.qemu_stub import QemuStub
from bt.x86.state import CS, GPR_NAMES, SEGMENT_NAMES, SS
from guest_images.assembler import assemble
from tests.x86.system.lines import Line
from tests.x86.system.processor import (
    CODE,
    DATA,
    GDT,
    IDT,
    TASK_SELECTOR,
    Processor,
    code_selector,
    data_selector,
    descriptor,
)
from tests.x86.system.sixteen_bit import HANDLERS, SELECTORS, STACK_TOP

_TABLES = 0x6000  # bytes of memory with the tables of a Processor
_STARTUP, _OPERANDS = 0x7000, 0x7100
_PROTECTED_HANDLERS = 0x4_0000  # the handler of vector n is n bytes further on
_CLEAN = ((0x1FF00, 0x200), (0x10000, 0x200), (0x20000, 0x200), (0x28000, 0x200), (0x2FF00, 0x200), (0x37F00, 0x200))
_INTERRUPT_GATE_32, _BUSY = 0x8E, 2
# What the stub cannot set, or shows otherwise
_BEYOND_THE_STUB = frozenset(("a20", "cr0", "cr4", "tsc_offset", "icount_base"))


def can_judge(line: Line) -> bool:
    """Whether the stub can set and see all that a case names."""
    return not (line.setup.keys() | line.result.keys()) & _BEYOND_THE_STUB and "exit" not in line.result


class Judge:
    """One QEMU for the cases of one mode."""

    def __init__(self, stub: QemuStub, mode: str, processor: Processor) -> None:
        self._stub, self._mode = stub, mode
        if mode == "real":
            self._tables = b"".join(struct.pack("<HH", vector, HANDLERS) for vector in range(256))
            return
        for vector in range(256):
            processor.gate(vector, code_selector(0), _PROTECTED_HANDLERS + vector, _INTERRUPT_GATE_32)
        self._tables = processor.ram.read(0, _TABLES)

    def _enter_protected_mode(self) -> None:
        """By the processor's own instructions, as far as the stub has no register for it."""
        stub = self._stub
        available = bytearray(self._tables[GDT + TASK_SELECTOR :][:8])
        available[5] &= ~_BUSY
        stub.write(GDT + TASK_SELECTOR, bytes(available))
        stub.write(_OPERANDS, struct.pack("<HIHHI", 0xFFF, GDT, 0, 0x7FF, IDT))
        code = assemble(f"lgdt [{_OPERANDS}]\nlidt [{_OPERANDS + 8}]", 16, _STARTUP)
        stub.write(_STARTUP, code + assemble("ltr ax", 32, _STARTUP + len(code)))
        stub.set_registers({"cr0": 0x10, "eflags": 2})
        for selector in (1, 0):  # the stub takes no notice of a selector that is there already
            stub.set_registers({"cs": selector, "ds": selector})
        stub.set_registers({"eip": _STARTUP})
        stub.step()
        stub.step()
        stub.set_registers({"cr0": 0x11, "cs": code_selector(0), "ss": data_selector(0), "eax": TASK_SELECTOR})
        stub.step()

    def check(self, line: Line) -> None:
        """AssertionError says what QEMU does otherwise."""
        stub = self._stub
        setup = {name: value for name, value in line.setup.items() if name not in ("mode", "deliver")}
        at, level = int(setup.pop("at", "0"), 16), int(setup.pop("cpl", "0"))
        for address, size in _CLEAN:
            stub.write(address, bytes(size))
        stub.write(0, self._tables)
        if self._mode != "real":
            self._enter_protected_mode()
        start = dict.fromkeys(GPR_NAMES, 0) | {
            "esp": STACK_TOP,
            "eip": at,
            "eflags": 0x20002 if self._mode == "v86" else 2,
        }
        start |= {name: int(value, 16) for name, value in setup.items() if name in start}
        stub.set_registers({"eflags": start["eflags"]})  # before segments: it says what selectors are
        self._load_segments(level)
        stub.set_registers(start | {name: int(value, 16) for name, value in setup.items() if name in SEGMENT_NAMES})
        for name, value in setup.items():
            if name.startswith("["):
                stub.write(int(name.strip("[]"), 16), bytes.fromhex(value))
        code = assemble(line.code, 16, at)
        stub.write((SELECTORS[CS] << 4) + at, code)
        stub.step()
        found = stub.registers()
        if line.fault is not None:
            self._check_fault(line.fault, found)
            return
        expected = {name: start[name] for name in GPR_NAMES} | {"eip": at + len(code)}
        expected |= {name: int(value, 16) for name, value in line.result.items() if name in found}
        assert {name: found[name] for name in expected} == expected
        for name, value in line.result.items():
            if name.startswith("["):
                assert stub.read(int(name.strip("[]"), 16), len(value) // 2).hex() == value

    def _load_segments(self, level: int) -> None:
        if self._mode != "protected16":
            self._stub.set_registers({SEGMENT_NAMES[number]: selector for number, selector in SELECTORS.items()})
            return
        # each register's descriptor lies in the table while it is loaded
        for number in sorted(SELECTORS, key=(CS, SS).__contains__):
            selector = code_selector(level) if number == CS else data_selector(level)
            access = (CODE if number == CS else DATA) | level << 5
            entry = descriptor(SELECTORS[number] << 4, 0xFFFF, access, 0)
            self._stub.write(GDT + (selector & ~7), entry)
            self._stub.set_registers({SEGMENT_NAMES[number]: 0})
            self._stub.set_registers({SEGMENT_NAMES[number]: selector})
        self._stub.write(0, self._tables)

    def _check_fault(self, fault: tuple[int, int | None], found: dict[str, int]) -> None:
        vector, error = fault
        if self._mode == "real":
            assert (found["cs"], found["eip"]) == (HANDLERS, vector)
            return
        assert (found["cs"], found["eip"]) == (code_selector(0), _PROTECTED_HANDLERS + vector)
        if error is not None:
            top = found["ss.base"] + found["esp"]
            assert struct.unpack("<I", self._stub.read(top, 4)) == (error,)
