"""A triple fault in words: each exception on the way to it, where it came from and why, and the registers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bt.end import End
from bt.engine.linear import read_linear
from bt.engine.protocol import Engine
from bt.engine.vcpu import Vcpu, own_vcpu
from bt.inspect.code import SELECTOR_INDEX, code_bits, fetch
from bt.inspect.compare.registers import describe, read_registers
from bt.inspect.modes import describe_mode, operating_mode
from bt.symbols.elf_symbols import Symbols
from bt.x86.fault_chain import Failure
from bt.x86.mode import CODE_64
from bt.x86.state import CS, GPR_NAMES, GPR_NAMES_64, SEGMENT_NAMES
from bt.x86.system.interrupts.interrupt_delivery import (
    ERROR_IDT,
    GATE_TYPE,
    GATE_TYPE_MASK,
)
from bt.x86.system.interrupts.real_mode import ENTRY_BYTES
from bt.x86.system.paging.paging import (
    ERROR_FETCH,
    ERROR_PRESENT,
    ERROR_RESERVED,
    ERROR_USER,
    ERROR_WRITE,
)
from bt.x86.system.registers.control_registers import CR0_PG, EFER_LMA
from bt.x86.system.segmentation.descriptor_table import TASK_GATE
from bt.x86.vectors import Vector, vector_name

_GATE_BYTES, _LONG_GATE_BYTES = 8, 16
_TYPE_AND_S, _PRESENT = 0x1F, 1 << 15  # of a gate: from bit 8 of its high dword, and in it
_PLAIN = (GPR_NAMES[:4], GPR_NAMES[4:], ("eip", "cr0", "cr2", "cr3", "cr4"), SEGMENT_NAMES)
_WIDE = (
    *(GPR_NAMES_64[at : at + 4] for at in range(0, len(GPR_NAMES_64), 4)),
    ("rip", "cr2", "cr3"),
    ("cr0", "cr4", "efer"),
    SEGMENT_NAMES,
)
_WIDE_DIGITS, _32_BITS = 16, 0xFFFF_FFFF


def describe_triple_fault(cpu: Engine, chain: Sequence[Failure], symbols: Symbols) -> list[str]:
    """Lines for the user. `cpu` is as it stopped, `chain` the result's, `symbols` those of the image."""
    report = _Report(own_vcpu(cpu), symbols)
    return [
        f"{End.TRIPLE_FAULT.sentence} at {report.here()} after {cpu.instructions:,} instructions",
        *(f"  {line}" for line in (*report.chain(chain), *report.registers())),
    ]


class _Report:
    def __init__(self, cpu: Vcpu, symbols: Symbols) -> None:
        self._cpu, self._state, self._symbols = cpu, cpu.state, symbols
        self._mode = operating_mode(cpu.state)

    def here(self) -> str:
        """Where the processor stopped."""
        state = self._state
        return self._place(state.segment(CS, "selector"), state.segment(CS, "base"), state["eip"])

    def chain(self, failures: Sequence[Failure]) -> Iterator[str]:
        """First what began it, then what each delivery raised; #DF stands for two exceptions together."""
        before: Failure | None = None
        for failure in failures:
            # what was raised last is delivered next, unless it made a double fault
            if before is None or (before.raised, before.raised_error) != (failure.vector, failure.error):
                yield self._event(failure)
            if before is None or (before.cs, before.eip, before.cr3) != (failure.cs, failure.eip, failure.cr3):
                yield f"    at {self._place(failure.cs, failure.cs_base, failure.eip)}: {self._instruction(failure)}"
            yield self._raised(failure)
            before = failure

    def registers(self) -> Iterator[str]:
        values = read_registers(self._state, self._cpu.instructions)
        values |= {name: values[f"{name}.selector"] for name in SEGMENT_NAMES}
        is_wide = bool(self._state["mode"] & CODE_64)
        if is_wide:
            values |= {name: self._state["gpr", number] for number, name in enumerate(GPR_NAMES_64)}
            values["rip"] = values["eip"]
        for names in _WIDE if is_wide else _PLAIN:
            digits = 4 if names is SEGMENT_NAMES else _WIDE_DIGITS if is_wide and "cr0" not in names else 8
            yield " ".join(f"{name}={values[name]:0{digits}x}" for name in names)
        tables = (f"{name}={values[f'{name}_base']:08x}:{values[f'{name}_limit']:04x}" for name in ("gdtr", "idtr"))
        _, _, flags = describe("eflags", values["eflags"]).partition(" ")
        yield f"{' '.join(tables)} eflags={values['eflags']:08x} {flags}".rstrip()
        yield describe_mode(self._state)

    def _event(self, failure: Failure) -> str:
        if failure.is_interrupt and failure.vector != Vector.NMI:
            return f"interrupt {failure.vector:02x}"
        return self._exception(failure.vector, failure.error, failure.cr2)

    def _raised(self, failure: Failure) -> str:
        name = f"interrupt {failure.vector:02x}" if failure.is_interrupt else vector_name(failure.vector)
        raised = self._exception(failure.raised, failure.raised_error, failure.raised_cr2)
        return f"{raised}, while {name} was delivered{self._why(failure)}"

    def _exception(self, vector: int, error: int | None, cr2: int) -> str:
        name = vector_name(vector)
        if error is None or self._mode == "real mode":  # which has no error codes
            return name
        if vector == Vector.PF:
            return f"{name} error {error:04x} ({_page_fault(error)}), cr2={cr2:08x}"
        return f"{name} error {error:04x}"

    def _why(self, failure: Failure) -> str:
        """What is known of the reason for which a delivery failed, behind a colon."""
        state, vector = self._state, failure.vector
        in_real_mode = self._mode == "real mode"
        size = ENTRY_BYTES if in_real_mode else _LONG_GATE_BYTES if state["efer"] & EFER_LMA else _GATE_BYTES
        table = "the interrupt vector table" if in_real_mode else "the IDT"
        if (vector + 1) * size - 1 > state["idtr_limit"]:
            return f": {table} has no entry {vector:02x}, its limit is {state['idtr_limit']:04x}"
        at = state["idtr_base"] + vector * size
        if failure.raised == Vector.PF and at <= failure.raised_cr2 < at + size:
            return f": IDT entry {vector:02x} is on that page"
        gate = read_linear(self._cpu, at, size)
        if in_real_mode or failure.raised == Vector.PF or len(gate) < size:
            return ""
        low, high = (int.from_bytes(gate[half : half + 4], "little") for half in (0, 4))
        error = failure.raised_error or 0
        if error & ERROR_IDT:
            return f": IDT entry {vector:02x} is {_unfit(high)} ({gate.hex(' ')})"
        if not error & SELECTOR_INDEX:
            return ""
        own = error & SELECTOR_INDEX == low >> 16 & SELECTOR_INDEX
        return f": selector {error & SELECTOR_INDEX:04x}{' of its gate' * own}"

    def _place(self, selector: int, base: int, eip: int) -> str:
        symbol = self._symbols.name(eip if eip > _32_BITS else (base + eip) & _32_BITS)
        digits = 4 if self._mode in ("real mode", "virtual-8086 mode") and eip <= 0xFFFF else 8
        return f"{selector:04x}:{eip:0{digits}x}{f' <{symbol}>' if symbol else ''}"

    def _instruction(self, failure: Failure) -> str:
        if self._state["cr0"] & CR0_PG and failure.cr3 != self._state["cr3"]:
            return "(in the address space of another task)"
        return fetch(self._cpu, failure.cs_base, failure.eip, code_bits(failure.mode))[1]


def _page_fault(error: int) -> str:
    """The error code of a page fault in words (SDM vol. 3A figure 4-12)."""
    access = "fetch" if error & ERROR_FETCH else "write" if error & ERROR_WRITE else "read"
    cause = "reserved bit" if error & ERROR_RESERVED else "no right" if error & ERROR_PRESENT else "not present"
    return f"{access}, {'user' if error & ERROR_USER else 'supervisor'}, {cause}"


def _unfit(high: int) -> str:
    """What is wrong with a gate that has been refused, by its high dword (SDM vol. 3A figure 6-2)."""
    if high & GATE_TYPE_MASK != GATE_TYPE and high >> 8 & _TYPE_AND_S != TASK_GATE:
        return "no gate"
    return "a gate for other levels" if high & _PRESENT else "not present"
