"""What may differ between bt and QEMU because somebody says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bt.engine.linear import translate
from bt.engine.vcpu import Vcpu
from bt.inspect.code import stack_top
from bt.inspect.compare.qemu_memory import QemuMemory
from bt.inspect.compare.qemu_state import REGISTERS
from bt.inspect.compare.registers import FLAGS
from bt.x86.page import PAGE
from bt.x86.state import LDTR

ACCESSED = "accessed"
NAMES = REGISTERS | FLAGS.keys() | {ACCESSED}
_DESCRIPTOR_BYTES, _ACCESS_BYTE, _ACCESSED_SEGMENT = 8, 5, 1
_ENTRY_BYTES, _PRESENT, _ACCESSED_PAGE = 4, 1, 1 << 5
_RESUME_FLAG_BYTES, _RESUME_FLAG = (10, 14), 1  # from the top of a 32-bit stack: EFLAGS behind CS:EIP, or an error code


class Ignored:
    """Registers, flags, physical addresses of bytes; RF also as exceptions push it, and accessed bits in memory."""

    def __init__(self, names: Iterable[str]) -> None:
        """`names`: of NAMES, and addresses in hexadecimal with 0x."""
        chosen = set(names)
        self._flags = sum(FLAGS[name] for name in chosen & FLAGS.keys())
        self._addresses = frozenset(int(name, 16) for name in chosen if name.startswith("0x"))
        self._names = chosen

    def admits(self, name: str, ours: int, theirs: int) -> bool:
        """Whether a difference in a register is of no interest."""
        return name in self._names or (name == "eflags" and (ours ^ theirs) & ~self._flags == 0)

    def bytes_of(self, cpu: Vcpu, memory: QemuMemory) -> Iterator[int]:
        """Physical addresses of bytes that differ, and may."""
        if not self._addresses and not self._names & {ACCESSED, "rf"}:
            return
        descriptors = set(_access_bytes(cpu)) if ACCESSED in self._names else set()
        frames = set(_resume_flags(cpu)) if "rf" in self._names else set()
        for page in memory.unlike():
            mine, other = memory.ours.read(page, PAGE), memory.ram.read(page, PAGE)
            for at in (at for at in range(PAGE) if mine[at] != other[at]):
                change, address = mine[at] ^ other[at], page + at
                entry = ACCESSED in self._names and at % _ENTRY_BYTES == 0 and bool(mine[at] & _PRESENT)
                if (
                    address in self._addresses
                    or (change == _ACCESSED_SEGMENT and address in descriptors)
                    or (change == _ACCESSED_PAGE and entry)
                    or (change == _RESUME_FLAG and address in frames)
                ):
                    yield address


def _access_bytes(cpu: Vcpu) -> Iterator[int]:
    """Where the descriptors of GDT and LDT have their accessed bits."""
    state = cpu.state
    tables = ((state["gdtr_base"], state["gdtr_limit"]), (state.segment(LDTR, "base"), state.segment(LDTR, "limit")))
    for base, limit in tables:
        for at in range(_ACCESS_BYTE, min(limit, 0xFFFF) + 1, _DESCRIPTOR_BYTES):
            if (physical := translate(cpu, base + at).physical) is not None:
                yield physical


def _resume_flags(cpu: Vcpu) -> Iterator[int]:
    """Where an exception that was delivered just now may have pushed RF."""
    for at in _RESUME_FLAG_BYTES:
        if (physical := translate(cpu, stack_top(cpu) + at).physical) is not None:
            yield physical
