"""The processor as GDB sees it: `org.gnu.gdb.i386.core`, its registers in that order."""

from __future__ import annotations

from bt.machine import Machine

SEGMENTS = ("cs", "ss", "ds", "es", "fs", "gs")
INTEGERS = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip", "eflags", *SEGMENTS)
FLOATING = tuple(f"st{n}" for n in range(8))
CONTROL = ("fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop")
INTEGER_BYTES, FLOATING_BYTES = 4, 10
_POINTERS = {"eip": "code_ptr", "esp": "data_ptr", "ebp": "data_ptr"}


def description() -> str:
    """target.xml."""
    lines = [f'<reg name="{name}" bitsize="32" type="{_POINTERS.get(name, "int32")}"/>' for name in INTEGERS]
    lines += [f'<reg name="{name}" bitsize="80" type="i387_ext"/>' for name in FLOATING]
    lines += [f'<reg name="{name}" bitsize="32" type="int" group="float"/>' for name in CONTROL]
    return (
        '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target><architecture>i386</architecture>'
        f'<feature name="org.gnu.gdb.i386.core">{"".join(lines)}</feature></target>'
    )


def read(machine: Machine, number: int) -> str:
    """A register's bytes in hexadecimal; of those of the FPU GDB hears that they are not to be had."""
    if number < len(INTEGERS):
        value: int = getattr(machine.reg, INTEGERS[number])
        return value.to_bytes(INTEGER_BYTES, "little").hex()
    is_floating = number < len(INTEGERS) + len(FLOATING)
    return "xx" * (FLOATING_BYTES if is_floating else INTEGER_BYTES)


def read_all(machine: Machine) -> str:
    return "".join(read(machine, number) for number in range(len(INTEGERS) + len(FLOATING) + len(CONTROL)))


def write(machine: Machine, number: int, text: str) -> None:
    """Set a register, unless that is its value: a segment register would be loaded anew. Raises BadUsage."""
    if number < len(INTEGERS) and text != read(machine, number):
        value = int.from_bytes(bytes.fromhex(text), "little")
        setattr(machine.reg, INTEGERS[number], value & (0xFFFF if INTEGERS[number] in SEGMENTS else 0xFFFF_FFFF))


def write_all(machine: Machine, text: str) -> None:
    """As `read_all` has them; what is behind the integers is left alone."""
    digits = 2 * INTEGER_BYTES
    for number in range(len(INTEGERS)):
        write(machine, number, text[number * digits : (number + 1) * digits])
