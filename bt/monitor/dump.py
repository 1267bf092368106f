"""`x`, `xp`, `print`: memory and expressions in a format."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bt.engine.linear import read_linear
from bt.engine.vcpu import own_vcpu
from bt.errors import BtError
from bt.inspect.code import LONGEST_INSTRUCTION, code_bits, text_of
from bt.machine import Machine
from bt.monitor.command import Command, CommandError, lines
from bt.monitor.expression import evaluate
from bt.x86.decode import DecodeError, decode

_SIZES = {"b": 1, "h": 2, "w": 4, "g": 8}
_FORMATS = "oduxic"
_FORMAT = re.compile(r"/(\d*)(\S*)(.*)", re.DOTALL)
_UNREADABLE = " Cannot access memory"


@dataclass(frozen=True)
class Format:
    """`count` items of `size` bytes, shown as octal, decimal, unsigned, hexadecimal, instruction, character."""

    count: int = 1
    kind: str = "x"
    size: int = 4


def _parsed(rest: str) -> tuple[Format, str]:
    """The format in front of an argument, and that."""
    match = _FORMAT.fullmatch(rest)
    if match is None:
        return Format(), rest
    count, letters, argument = match.groups()
    kind, size = "x", 0
    for letter in letters:
        if letter in _FORMATS:
            kind = letter
        elif letter in _SIZES:
            size = _SIZES[letter]
        else:
            raise CommandError(f"invalid char in format: '{letter}'")
    return Format(int(count or 1), kind, 1 if kind == "c" else size or 4), argument


def _item(value: int, size: int, kind: str) -> str:
    bits = 8 * size
    match kind:
        case "o":
            return f"{f'0{value:o}' if value else '0':>{-(-bits // 3)}}"
        case "d" | "u":
            if kind == "d" and size == 8:  # of fewer bytes the monitor shows no sign
                value -= value >> 63 << 64
            return f"{value:{-(-bits * 10 // 33)}}"
        case "c":
            return character(value)
        case _:
            return f"0x{value:0{bits // 4}x}"


def character(value: int) -> str:
    """As C writes it."""
    known = {0x27: "\\'", 0x5C: "\\\\", 0x0A: "\\n", 0x0D: "\\r"}
    value &= 0xFF
    shown = known.get(value) or (chr(value) if 32 <= value < 127 else f"\\x{value:02x}")
    return f"'{shown}'"


def _dump(pc: Machine, rest: str, *, physical: bool) -> str:
    wanted, argument = _parsed(rest)
    address = evaluate(pc, argument)
    if wanted.kind == "i":
        return _instructions(pc, address, wanted.count, physical=physical)
    space = pc.mem.physical if physical else pc.mem.linear
    digits = 16 if physical else 8
    left, found = wanted.count * wanted.size, []
    while left > 0:
        part = min(left, 8 if wanted.size == 1 else 16)
        shown = f"{address:0{digits}x}:"
        try:
            data = space.read(address, part)
        except BtError:
            found.append(shown + _UNREADABLE)
            break
        for at in range(0, part, wanted.size):
            value = int.from_bytes(data[at : at + wanted.size], "little")
            shown += f" {_item(value, wanted.size, wanted.kind)}"
        found.append(shown)
        left -= part
        address = (address + part) & ((1 << 64) - 1 if physical else 0xFFFF_FFFF)
    return lines(found)


def _instructions(pc: Machine, address: int, count: int, *, physical: bool) -> str:
    """Disassembled for the mode the processor is in, in Intel's notation."""
    cpu = own_vcpu(pc.cpu)
    bits = code_bits(cpu.state["mode"])
    found = []
    for _ in range(count):
        code = _some(pc, address) if physical else read_linear(cpu, address, LONGEST_INSTRUCTION)
        if not code:
            found.append(f"0x{address:08x}: {_UNREADABLE.strip()}")
            break
        try:
            code = code[: decode(code, bits=bits).length]
            text = text_of(code, address, bits) or "(bad)"
        except DecodeError:
            code, text = code[:1], "(bad)"
        found.append(f"0x{address:08x}:  {instruction(code, text)}")
        address += len(code)
    return lines(found)


def instruction(code: bytes, text: str) -> str:
    """Bytes and mnemonic in QEMU's columns."""
    mnemonic, _, operands = text.partition(" ")
    return f"{code.hex(' '):<24} {mnemonic:<8} {operands}".rstrip()


def _some(pc: Machine, physical: int) -> bytes:
    for size in range(LONGEST_INSTRUCTION, 0, -1):
        try:
            return pc.mem.physical.read(physical, size)
        except BtError:
            continue
    return b""


def _print(pc: Machine, rest: str) -> str:
    wanted, argument = _parsed(rest)
    value = evaluate(pc, argument)
    match wanted.kind:
        case "o":
            shown = f"0{value:o}" if value else "0"
        case "d":
            shown = str(value - (value >> 63 << 64))
        case "u":
            shown = str(value)
        case "c":
            shown = character(value)
        case _:
            shown = f"{value:#x}" if value else "0"
    return f"{shown}\n"


COMMANDS = (
    Command(("x",), "/fmt addr", "virtual memory dump starting at 'addr'",
            lambda pc, rest: _dump(pc, rest, physical=False)),
    Command(("xp",), "/fmt addr", "physical memory dump starting at 'addr'",
            lambda pc, rest: _dump(pc, rest, physical=True)),
    Command(("print", "p"), "/fmt expr", "print expression value (use $reg for CPU register access)", _print),
)  # fmt: skip
