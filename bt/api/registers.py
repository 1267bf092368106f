"""The registers of a processor by name, to be read and written between two instructions."""

from __future__ import annotations

from typing import NamedTuple

from bt import arguments
from bt.engine.linear import Processor, read_linear
from bt.engine.protocol import Engine
from bt.engine.vcpu import own_vcpu
from bt.errors import BadUsage
from bt.x86 import flags, reset
from bt.x86.state import (
    ATTR_BIG,
    ATTR_CODE_OR_DATA,
    ATTR_LONG,
    ATTR_PRESENT,
    CS,
    GPR_NAMES,
    GPR_NAMES_64,
    LDTR,
    SEGMENT_NAMES,
)
from bt.x86.system.registers.control_registers import CR0_PE, CR0_PG, CR4_PAE, EFER_LMA
from bt.x86.system.segmentation import segment_cache

_BYTES = ("al", "cl", "dl", "bl", "ah", "ch", "dh", "bh")
# name: general register, shift, bits
_PARTS = (
    {name: (number, 0, 32) for number, name in enumerate(GPR_NAMES)}
    | {name[1:]: (number, 0, 16) for number, name in enumerate(GPR_NAMES)}
    | {name: (number % 4, 8 * (number // 4), 8) for number, name in enumerate(_BYTES)}
    | {name: (number, 0, 64) for number, name in enumerate(GPR_NAMES_64)}
    | {name: (number, 0, 8) for number, name in enumerate(("spl", "bpl", "sil", "dil"), 4)}
    | {
        f"{GPR_NAMES_64[number]}{letter}": (number, 0, bits)
        for number in range(len(GPR_NAMES), len(GPR_NAMES_64))
        for letter, bits in (("d", 32), ("w", 16), ("b", 8))
    }
)
_CONTROL = ("cr0", "cr2", "cr3", "cr4")
_POINTERS = {"eip": 32, "rip": 64}  # of the next instruction, with their bits
_DEBUG = {f"dr{number}": number for number in (0, 1, 2, 3, 6, 7)}
_TABLES = ("gdtr", "idtr")
_SELECTOR_INDEX, _IN_LDT = 0xFFF8, 4
_GRANULAR, _BIG, _LONG = 0x80, 0x40, 0x20  # in byte 6 of a descriptor
_DIRECTORY_POINTERS = 4


class _Descriptor(NamedTuple):
    base: int
    limit: int  # bytes, the last valid offset
    access: int  # byte 5
    big: bool
    long: bool


class Registers:
    """`reg.eax`, `reg.al`, `reg.eip`, `reg.eflags`, `reg.cr3`, `reg.dr7`, `reg.cs`: numbers, to be read and assigned.

    General registers have 64 (`reg.rax`, `reg.r8`), 32, 16 or 8 bits as their name says, RIP has 64; EIP, EFLAGS, CR0,
    CR2, CR3, CR4, DR0 to DR3, DR6, DR7 have 32, in long mode all but EIP and EFLAGS have 64. `reg.cs` and the other
    segment registers (es cs ss ds fs gs ldtr tr) are selectors of 16 bits: assigning one loads what belongs to it, in
    real and virtual-8086 mode the base, in protected mode the descriptor, without checks of privilege. `reg["cs"]` is a
    segment register with its hidden part, `reg["gdtr"]` and `reg["idtr"]` have base and limit.

    To be used between two runs, or from what was posted: whatever has to be derived from what is assigned is. BadUsage
    for names and values that there are not, and for assignments in the middle of an instruction that waits for a
    device.
    """

    __slots__ = ("_cpu",)
    _cpu: Engine

    def __init__(self, cpu: Engine) -> None:
        object.__setattr__(self, "_cpu", cpu)

    def __getattr__(self, name: str) -> int:
        state = self._cpu.state
        if (part := _PARTS.get(name)) is not None:
            number, shift, bits = part
            return state["gpr", number] >> shift & ((1 << bits) - 1)
        if name == "eflags":
            return reset.read_eflags(state)
        if name in _POINTERS:
            return state["eip"] & ((1 << _POINTERS[name]) - 1)
        if name in _CONTROL:
            return state[name]
        if name in _DEBUG:
            return state["dr", _DEBUG[name]]
        return self._segment(name).selector

    def __setattr__(self, name: str, value: int) -> None:
        state = self._cpu.state
        if (part := _PARTS.get(name)) is not None:
            number, shift, bits = part
            mask = _checked(name, (1 << bits) - 1, bits)
            old = state["gpr", number]
            state["gpr", number] = old & ~(mask << shift) | _checked(name, value, bits) << shift
            return
        if name in SEGMENT_NAMES:
            self._segment(name).selector = value
            return
        self._require_boundary()
        if name in _POINTERS:
            state["eip"] = _checked(name, value, _POINTERS[name])
            return
        width = 64 if state["efer"] & EFER_LMA else 32
        if name == "eflags":
            reset.write_eflags(state, _checked(name, value, 32))
        elif name in _CONTROL:
            state[name] = _checked(name, value, width)
            self._load_directory_pointers()
        elif name in _DEBUG:
            state["dr", _DEBUG[name]] = _checked(name, value, width)
        else:
            raise _unknown(name)
        self._cpu.flush()

    def __getitem__(self, name: str) -> SegmentRegister:
        """A segment register with its hidden part, or "gdtr" or "idtr", which have base and limit only."""
        if name in dir(self) and name not in SEGMENT_NAMES:
            raise BadUsage(f"register {name!r} has no parts: its value is reg.{name}")
        return TableRegister(self._cpu, name) if name in _TABLES else self._segment(name)

    def __dir__(self) -> list[str]:
        return [*_PARTS, *_POINTERS, "eflags", *_CONTROL, *_DEBUG, *SEGMENT_NAMES]

    def _segment(self, name: str) -> SegmentRegister:
        if name not in SEGMENT_NAMES:
            raise _unknown(name)
        return SegmentRegister(self._cpu, name)

    def _require_boundary(self) -> None:
        require_boundary(self._cpu)

    def _load_directory_pointers(self) -> None:
        """With PAE paging a processor reads these when CR0, CR3 or CR4 is written (SDM vol. 3A 4.4.1)."""
        state = self._cpu.state
        if state["cr0"] & CR0_PG and state["cr4"] & CR4_PAE and not state["efer"] & EFER_LMA:
            memory = own_vcpu(self._cpu).memory
            table = memory.read(state["cr3"] & ~0x1F, 8 * _DIRECTORY_POINTERS)
            for number in range(_DIRECTORY_POINTERS):
                state["pdpte", number] = int.from_bytes(table[8 * number : 8 * number + 8], "little")


class SegmentRegister:
    """One segment register: `selector` (16 bits), `base` (64), `limit` (bytes, the last valid offset), `attributes`.

    `attributes` are bits 8 to 23 of the descriptor's high dword: type, S, DPL, P at 0 to 7, AVL, L, D, G at 12 to 15.
    Assigning `base`, `limit` or `attributes` changes the hidden part alone, as a debugger may.
    """

    def __init__(self, cpu: Engine, name: str) -> None:
        self._cpu, self.name = cpu, name
        self._number = SEGMENT_NAMES.index(name) if name in SEGMENT_NAMES else -1

    @property
    def selector(self) -> int:
        return self._part("selector")

    @selector.setter
    def selector(self, value: int) -> None:
        selector = _checked(self.name, value, 16)
        require_boundary(self._cpu)
        state = self._cpu.state
        if not state["cr0"] & CR0_PE or state["eflags_system"] & flags.VM:
            self._fill(selector=selector, base=selector << 4)
            return
        cpl = state["cpl"]
        if self._number == CS:
            state["cpl"] = selector & 3
        try:
            found = _descriptor(own_vcpu(self._cpu), selector)
            self._fill(selector=selector, **found._asdict())
        except BadUsage:
            state["cpl"] = cpl
            raise

    @property
    def base(self) -> int:
        return self._part("base")

    @base.setter
    def base(self, value: int) -> None:
        self._fill(base=_checked(f"{self.name}.base", value, 64))

    @property
    def limit(self) -> int:
        return self._part("limit")

    @limit.setter
    def limit(self, value: int) -> None:
        self._fill(limit=_checked(f"{self.name}.limit", value, 32))

    @property
    def attributes(self) -> int:
        return self._part("attributes")

    @attributes.setter
    def attributes(self, value: int) -> None:
        value = _checked(f"{self.name}.attributes", value, 16)
        self._fill(access=value & 0xFF, big=bool(value & ATTR_BIG), long=bool(value & ATTR_LONG))

    def _part(self, part: str) -> int:
        return self._cpu.state.segment(self._number, part)

    def _fill(
        self,
        *,
        selector: int | None = None,
        base: int | None = None,
        limit: int | None = None,
        access: int | None = None,
        big: bool | None = None,
        long: bool | None = None,
    ) -> None:
        """Load the register, what is None as it is."""
        require_boundary(self._cpu)
        attributes = self.attributes
        segment_cache.fill(
            self._cpu.state,
            self._number,
            selector=self.selector if selector is None else selector,
            base=self.base if base is None else base,
            limit=self.limit if limit is None else limit,
            access=attributes & 0xFF if access is None else access,
            big=bool(attributes & ATTR_BIG) if big is None else big,
            long=bool(attributes & ATTR_LONG) if long is None else long,
        )
        self._cpu.flush()

    def __repr__(self) -> str:
        return f"{self.name} {self.selector:04x} base {self.base:08x} limit {self.limit:08x} {self.attributes:04x}"


class TableRegister(SegmentRegister):
    """GDTR or IDTR: `base` (32 bits) and `limit` (16); there is nothing else in them."""

    def _part(self, part: str) -> int:
        if part not in ("base", "limit"):
            raise BadUsage(f"{self.name}: it has base and limit, and no {part}")
        return self._cpu.state[f"{self.name}_{part}"]

    def _fill(
        self,
        *,
        selector: int | None = None,
        base: int | None = None,
        limit: int | None = None,
        access: int | None = None,
        big: bool | None = None,
        long: bool | None = None,
    ) -> None:
        require_boundary(self._cpu)
        if base is not None:
            self._cpu.state[f"{self.name}_base"] = base
        elif limit is not None:
            self._cpu.state[f"{self.name}_limit"] = _checked(f"{self.name}.limit", limit, 16)
        else:
            self._part("attributes")

    def __repr__(self) -> str:
        return f"{self.name} base {self.base:08x} limit {self.limit:04x}"


def require_boundary(cpu: Engine) -> None:
    """Raise BadUsage in the middle of an instruction or of an event, which go on with what they have begun."""
    state = cpu.state
    if state["mmio_count"] or state["delivering"]:
        raise BadUsage("registers: an instruction waits for a device; run(max_insns=1) finishes it first")


def _descriptor(cpu: Processor, selector: int) -> _Descriptor:
    """What a descriptor table has for a selector. Raises BadUsage unless that is a segment that is present."""
    state = cpu.state
    base, limit = state["gdtr_base"], state["gdtr_limit"]
    if selector & _IN_LDT:
        base, limit = state.segment(LDTR, "base"), state.segment(LDTR, "limit")
    index = selector & _SELECTOR_INDEX
    found = read_linear(cpu, base + index, 8) if index + 7 <= limit and selector & ~3 else b""
    if len(found) < 8 or not found[5] & ATTR_PRESENT or not found[5] & ATTR_CODE_OR_DATA:
        raise BadUsage(f"selector {selector:04x}: no descriptor of a segment that is present")
    bytes_or_pages = int.from_bytes(found[:2], "little") | (found[6] & 0xF) << 16
    return _Descriptor(
        base=int.from_bytes(found[2:5], "little") | found[7] << 24,
        limit=bytes_or_pages << 12 | 0xFFF if found[6] & _GRANULAR else bytes_or_pages,
        access=found[5],
        big=bool(found[6] & _BIG),
        long=bool(found[6] & _LONG),
    )


def _checked(name: str, value: int, bits: int) -> int:
    arguments.whole_number(name, value, f"a number of {bits} bits is wanted", least=0, most=(1 << bits) - 1)
    return value


def _unknown(name: str) -> BadUsage:
    return BadUsage(f"register {name!r}: there are eax to edi and their parts, eip, eflags, cr0 to cr4, dr0 to dr7, "
                    "es cs ss ds fs gs ldtr tr, gdtr and idtr")  # fmt: skip
