"""One-line cases for system instructions.

    INSTRUCTION | SETUP => RESULT

SETUP and RESULT are words NAME=HEX. A name is a general register, a segment register (its selector), `eflags`, `dr0`
to `dr7`, any slot of the state (`cpl`, `cr0`, `sysenter_cs`...) or `[ADDRESS]`, whose value is bytes in memory order.
`cpl=` comes with the flat segments and the stack of that level; `0x10000` is where the instruction is. A result may
also be `#GP(0)`, `#UD` or `exit=NAME`. General registers that a result does not name must not have changed; EIP must
have moved to the next instruction, or must not have moved if there was an exception.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bt.x86.exits import ExitReason
from bt.x86.reset import read_eflags, write_eflags
from bt.x86.state import GPR_NAMES, SEGMENT_NAMES
from guest_images.assembler import assemble
from tests.cases.model import VECTORS
from tests.x86.system.processor import Processor

ORIGIN = 0x10000
_STAY = b"\xeb\xfe"  # a jump to itself: EIP is where the instruction left it
_MEMORY = re.compile(r"\[(\w+)\]")
_FAULT = re.compile(r"(#\w+)(?:\((\w+)\))?")


@dataclass(frozen=True)
class Line:
    """A case taken apart."""

    code: str
    setup: dict[str, str]
    result: dict[str, str]
    fault: tuple[int, int | None] | None

    @classmethod
    def parse(cls, text: str) -> Line:
        head, _, result = text.partition("=>")
        code, _, setup = head.partition("|")
        fault, words = None, []
        for word in result.split():
            if match := _FAULT.fullmatch(word):
                fault = VECTORS[match[1]], None if match[2] is None else int(match[2], 16)
            else:
                words.append(word)
        return cls(code.strip(), _pairs(setup.split()), _pairs(words), fault)


def _pairs(words: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words)


def _read(processor: Processor, name: str) -> int:
    cpu = processor.cpu
    if name in GPR_NAMES:
        return cpu["gpr", GPR_NAMES.index(name)]
    if name in SEGMENT_NAMES:
        return cpu.segment(SEGMENT_NAMES.index(name), "selector")
    if name == "eflags":
        return read_eflags(cpu)
    return cpu["dr", int(name[2])] if re.fullmatch("dr[0-7]", name) else cpu[name]


def _set(processor: Processor, name: str, value: str) -> None:
    cpu = processor.cpu
    if match := _MEMORY.fullmatch(name):
        processor.ram.write(int(match[1], 16), bytes.fromhex(value))
    elif name in GPR_NAMES:
        cpu["gpr", GPR_NAMES.index(name)] = int(value, 16)
    elif name == "eflags":
        write_eflags(cpu, int(value, 16))
    elif re.fullmatch("dr[0-7]", name):
        cpu["dr", int(name[2])] = int(value, 16)
    elif name in SEGMENT_NAMES:
        assert processor.call("load_segment", SEGMENT_NAMES.index(name), int(value, 16)) is None
    else:
        cpu[name] = int(value, 16)


def run_line(processor: Processor, text: str) -> None:
    """Run one case; AssertionError says what differs."""
    line = Line.parse(text)
    setup = dict(line.setup)
    processor.enter_level(int(setup.pop("cpl", "0")))
    for name, value in setup.items():
        _set(processor, name, value)
    code = assemble(line.code, 32, ORIGIN)
    processor.write_code(ORIGIN, code + _STAY)
    cpu = processor.cpu
    cpu["eip"] = ORIGIN
    cpu["trap_vectors"] = (1 << 32) - 1
    processor.vcpu.flush()
    before = [cpu["gpr", number] for number in range(8)]
    # a block of two instructions is translated if both may run
    leave = processor.vcpu.run(1 if line.result.keys() & {"eip", "eflags"} else 2)
    _check_ending(processor, line, leave.reason, leave.address, leave.value if leave.extra else None)
    expected = {"eip": ORIGIN if line.fault else ORIGIN + len(code)}
    expected |= dict(zip(GPR_NAMES, before, strict=True))
    for name, value in line.result.items():
        if match := _MEMORY.fullmatch(name):
            found = processor.ram.read(int(match[1], 16), len(value) // 2).hex()
            assert found == value.lower(), f"{text}: {name}={found}"
        elif name != "exit":
            expected[name] = int(value, 16)
    got = {name: _read(processor, name) for name in expected}
    wrong = {name: f"{got[name]:x}" for name in expected if got[name] != expected[name]}
    assert not wrong, f"{text}: {wrong}"


def _named(vector: int) -> str:
    return next((name for name, number in VECTORS.items() if number == vector), f"#{vector}")


def _check_ending(processor: Processor, line: Line, reason: ExitReason, address: int, error: int | None) -> None:
    if line.fault is not None:
        assert reason is ExitReason.EXCEPTION, f"{line.code}: no exception but {reason.name}"
        assert (address, error) == line.fault, f"{line.code}: {_named(address)}({error})"
        return
    assert reason is not ExitReason.EXCEPTION, f"{line.code}: {_named(address)}({error})"
    assert reason.name == line.result.get("exit", "BUDGET"), f"{line.code}: {reason.name}"
