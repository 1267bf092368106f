"""The processor as GDB sees it: `org.gnu.gdb.i386.core`, its registers in that order, of 64 bits with long mode."""

from __future__ import annotations

from bt.machine import Machine
from bt.x86 import features

SEGMENTS = ("cs", "ss", "ds", "es", "fs", "gs")
INTEGERS = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip", "eflags", *SEGMENTS)
LONG_INTEGERS = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
    *(f"r{number}" for number in range(8, 16)),
    *("rip", "eflags", *SEGMENTS),
)
FLOATING = tuple(f"st{n}" for n in range(8))
CONTROL = ("fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop")
FLOATING_BYTES = 10
_POINTERS = {"eip": "code_ptr", "esp": "data_ptr", "ebp": "data_ptr", "rip": "code_ptr", "rsp": "data_ptr"}


def _has_long_mode(machine: Machine) -> bool:
    return features.shown_by(machine.cpu.state, "lm")


def _integers(machine: Machine) -> tuple[str, ...]:
    return LONG_INTEGERS if _has_long_mode(machine) else INTEGERS


def _bytes_of(name: str) -> int:
    return 8 if name.startswith("r") else 4


def description(machine: Machine) -> str:
    """target.xml."""
    bits = {name: 8 * _bytes_of(name) for name in _integers(machine)}
    lines = [
        f'<reg name="{name}" bitsize="{size}" type="{_POINTERS.get(name, f"int{size}")}"/>'
        for name, size in bits.items()
    ]
    lines += [f'<reg name="{name}" bitsize="80" type="i387_ext"/>' for name in FLOATING]
    lines += [f'<reg name="{name}" bitsize="32" type="int" group="float"/>' for name in CONTROL]
    architecture = "i386:x86-64" if _has_long_mode(machine) else "i386"
    return (
        '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target>'
        f"<architecture>{architecture}</architecture>"
        f'<feature name="org.gnu.gdb.i386.core">{"".join(lines)}</feature></target>'
    )


def read(machine: Machine, number: int) -> str:
    """A register's bytes in hexadecimal; of those of the FPU GDB hears that they are not to be had."""
    integers = _integers(machine)
    if number < len(integers):
        value: int = getattr(machine.reg, integers[number])
        return value.to_bytes(_bytes_of(integers[number]), "little").hex()
    is_floating = number < len(integers) + len(FLOATING)
    return "xx" * (FLOATING_BYTES if is_floating else 4)


def read_all(machine: Machine) -> str:
    return "".join(read(machine, number) for number in range(len(_integers(machine)) + len(FLOATING) + len(CONTROL)))


def write(machine: Machine, number: int, text: str) -> None:
    """Set a register, unless that is its value: a segment register would be loaded anew. Raises BadUsage."""
    integers = _integers(machine)
    if number < len(integers) and text != read(machine, number):
        name = integers[number]
        value = int.from_bytes(bytes.fromhex(text), "little")
        setattr(machine.reg, name, value & (0xFFFF if name in SEGMENTS else (1 << 8 * _bytes_of(name)) - 1))


def write_all(machine: Machine, text: str) -> None:
    """As `read_all` has them; what is behind the integers is left alone."""
    at = 0
    for number, name in enumerate(_integers(machine)):
        digits = 2 * _bytes_of(name)
        write(machine, number, text[at : at + digits])
        at += digits
