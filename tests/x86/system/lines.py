"""One-line cases for system instructions.

    INSTRUCTION | SETUP => RESULT

SETUP and RESULT are words NAME=HEX. A name is a general register, a segment register (its selector), `eflags`, `dr0`
to `dr7`, any slot of the state (`cpl`, `cr0`, `sysenter_cs`...) or `[ADDRESS]`, whose value is bytes in memory order.
`cpl=` comes with the flat segments and the stack of that level; `0x10000` is where the instruction is. A result may
also be `#GP(0)`, `#UD` or `exit=NAME`. General registers that a result does not name must not have changed; EIP must
have moved to the next instruction, or must not have moved if there was an exception.

`mode=real`, `mode=v86` and `mode=protected16` have 16-bit code in CS 1000 (or what has the same base and limit), DS,
FS and GS 2000, ES 2800, SS:SP 3000:8000, other registers 0; the interrupt table of real mode leads to 4000:VECTOR.
There `at=` is the offset of the instruction (0), `a20=0` shuts the gate, `ds.limit=` and the like are hidden parts,
real mode has no error codes, and `deliver=1` has exceptions delivered instead of shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bt.x86.exits import ExitReason
from bt.x86.reset import read_eflags, write_eflags
from bt.x86.state import ATTR_BIG, GPR_NAMES, SEGMENT_NAMES
from bt.x86.system.segmentation import segment_cache
from guest_images.assembler import assemble
from tests.cases.model import VECTORS
from tests.x86.system import sixteen_bit
from tests.x86.system.processor import Processor

ORIGIN = 0x10000
_STAY = b"\xeb\xfe"  # a jump to itself: EIP is where the instruction left it
_MEMORY = re.compile(r"\[(\w+)\]")
_HIDDEN = re.compile(r"(\w\w)\.(base|limit)")
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
    if match := _HIDDEN.fullmatch(name):
        return cpu.segment(SEGMENT_NAMES.index(match[1]), match[2])
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
    elif name == "a20":
        cpu["a20_mask"] &= ~(1 << 20)
    elif match := _HIDDEN.fullmatch(name):
        _set_hidden(processor, SEGMENT_NAMES.index(match[1]), match[2], int(value, 16))
    elif name in SEGMENT_NAMES:
        assert processor.call("load_segment", SEGMENT_NAMES.index(name), int(value, 16)) is None
    else:
        cpu[name] = int(value, 16)


def _set_hidden(processor: Processor, number: int, part: str, value: int) -> None:
    """Base or limit of a segment register, all else as it is."""
    cpu = processor.cpu
    parts = {name: cpu.segment(number, name) for name in ("selector", "base", "limit", "attributes")} | {part: value}
    segment_cache.fill(
        cpu,
        number,
        selector=parts["selector"],
        base=parts["base"],
        limit=parts["limit"],
        access=parts["attributes"] & 0xFF,
        big=bool(parts["attributes"] & ATTR_BIG),
    )


def run_line(processor: Processor, text: str) -> None:
    """Run one case; AssertionError says what differs."""
    line = Line.parse(text)
    setup = dict(line.setup)
    mode, level = setup.pop("mode", "flat"), int(setup.pop("cpl", "0"))
    if mode == "flat":
        processor.enter_level(level)
        base, bits, start = 0, 32, ORIGIN
    else:
        base, bits, start = sixteen_bit.enter(processor, mode, level), 16, int(setup.pop("at", "0"), 16)
    deliver = bool(setup.pop("deliver", ""))
    for name, value in setup.items():
        _set(processor, name, value)
    code = assemble(line.code, bits, start)
    processor.ram.write(base + start, code + _STAY)
    cpu = processor.cpu
    cpu["eip"] = start
    cpu["trap_vectors"] = 0 if deliver else (1 << 32) - 1
    processor.status("update_mode")
    processor.vcpu.flush()
    before = [cpu["gpr", number] for number in range(8)]
    # a block of two instructions is translated if both may run
    leave = processor.vcpu.run(1 if bits == 16 or line.result.keys() & {"eip", "eflags"} else 2)
    has_error_code = leave.extra & 1 and mode != "real"
    _check_ending(processor, line, leave.reason, leave.address, leave.value if has_error_code else None)
    expected = {"eip": start if line.fault else start + len(code)}
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
