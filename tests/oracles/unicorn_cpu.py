"""Unicorn (QEMU's translator as a library) as a second oracle: where there is no x86 host, and to settle disputes.

Where it is wrong or silent is known from running every case file on it: `deviation`.  It reports no error codes: #GP
and #SS get 0 here, those of #PF are made from the access and the layout.
"""

# unicorn's Python files are found by mypy but bear no types
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import unicorn
from unicorn import x86_const as x86
from unicorn.unicorn_py3.unicorn import Uc, UcError

from bt.x86 import cpu_model
from bt.x86.decode import DecodeError, decode
from bt.x86.opcodes import Form, InstructionClass, Method
from tests.cases import layout
from tests.cases.instruction import beyond_the_processor, form_of, split
from tests.cases.model import (
    EFLAGS_FIXED,
    ERROR_CODE_VECTORS,
    VISIBLE_FLAGS,
    Case,
    ExecutorError,
    Outcome,
    State,
    Trap,
)
from tests.oracles.host_child import CODE_16_SELECTOR, STACK_16_SELECTOR

INSTRUCTION_LIMIT = 100_000
"""A case that has not ended after so many does not end."""

_GPRS = (
    x86.UC_X86_REG_EAX,
    x86.UC_X86_REG_ECX,
    x86.UC_X86_REG_EDX,
    x86.UC_X86_REG_EBX,
    x86.UC_X86_REG_ESP,
    x86.UC_X86_REG_EBP,
    x86.UC_X86_REG_ESI,
    x86.UC_X86_REG_EDI,
)
_DATA_SEGMENTS = (x86.UC_X86_REG_DS, x86.UC_X86_REG_ES, x86.UC_X86_REG_FS, x86.UC_X86_REG_GS)

# One page of our own, out of the way: descriptors, an IRET into the case, and what it pops.
_PAGE = 0xFFFF_E000
_IRET, _FRAME = _PAGE + 0x100, _PAGE + 0x200
_NOWHERE = 0xFFFF_FFFF
"""Where Unicorn would stop by itself."""
_KERNEL_CODE, _KERNEL_DATA, _LDT_SELECTOR, _LDT_RIGHTS = 0x08, 0x10, 0x40, 0x8200

_WRITES = (unicorn.UC_MEM_WRITE_UNMAPPED, unicorn.UC_MEM_WRITE_PROT)
_USER, _WRITE, _PRESENT = 4, 2, 1
_PAGE_FAULT, _PROTECTION, _UNDEFINED, _ALIGNMENT = 14, 13, 6, 17
_LONGEST = 15


def _descriptor(access: int, default_32: bool) -> bytes:
    """A flat segment of 4 GiB; `access` is the type byte with P and DPL."""
    return struct.pack("<HHBBBB", 0xFFFF, 0, 0, access, 0xCF if default_32 else 0x8F, 0)


_GDT = b"".join(
    (
        bytes(8),
        _descriptor(0x9B, True),
        _descriptor(0x93, True),
        bytes(8),
        _descriptor(0xFB, True),
        _descriptor(0xF3, True),
    )
)
_LDT = _descriptor(0xFB, False) + _descriptor(0xF3, False)


class UnicornCpu:
    """Executor on Unicorn."""

    def __init__(self) -> None:
        self._trap: Trap | None = None
        self._machine = machine = Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_32)
        for region in layout.REGIONS:
            writable = unicorn.UC_PROT_WRITE if region.writable else 0
            machine.mem_map(region.start, region.size, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC | writable)
        machine.mem_map(_PAGE, layout.PAGE_BYTES)
        machine.mem_write(_PAGE, _GDT)
        machine.mem_write(_IRET, b"\xcf")
        machine.reg_write(x86.UC_X86_REG_GDTR, (0, _PAGE, len(_GDT) - 1, 0))
        machine.mem_write(_PAGE + len(_GDT), _LDT)
        machine.reg_write(x86.UC_X86_REG_LDTR, (_LDT_SELECTOR, _PAGE + len(_GDT), len(_LDT) - 1, _LDT_RIGHTS))
        machine.reg_write(x86.UC_X86_REG_CS, _KERNEL_CODE)
        machine.reg_write(x86.UC_X86_REG_SS, _KERNEL_DATA)
        for segment in _DATA_SEGMENTS:
            machine.reg_write(segment, layout.DATA_SELECTOR)
        self._kernel = machine.context_save()
        machine.hook_add(unicorn.UC_HOOK_INTR, self._on_interrupt)
        machine.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._on_invalid_access)
        machine.hook_add(unicorn.UC_HOOK_INSN_INVALID, self._on_invalid_instruction)

    def _on_interrupt(self, machine: Uc, vector: int, _: object) -> None:
        self._trap = Trap(vector, 0 if vector in ERROR_CODE_VECTORS else None)
        machine.emu_stop()

    def _on_invalid_access(
        self, _machine: Uc, access: int, address: int, size: int, _value: int, _data: object
    ) -> bool:
        # an access that crosses into what is not there is reported where it begins
        last = address + size - 1
        missing = address if layout.region_at(address) is None else last & ~(layout.PAGE_BYTES - 1)
        region = layout.region_at(address) if layout.region_at(last) else None
        error_code = _USER | (_WRITE if access in _WRITES else 0) | (_PRESENT if region else 0)
        self._trap = Trap(_PAGE_FAULT, error_code, address if region else missing)
        return False

    def _on_invalid_instruction(self, _machine: Uc, _: object) -> bool:
        self._trap = Trap(_UNDEFINED)
        return False

    def run(self, case: Case) -> Outcome:
        """Run one case.  ExecutorError if it has not ended after INSTRUCTION_LIMIT instructions."""
        if aborts(case):
            raise ExecutorError(f"{case.where or 'case'}: {case}: Unicorn would abort the process")
        machine = self._machine
        self._trap = None
        machine.context_restore(self._kernel)
        for start, image in case.images().items():
            machine.mem_write(start, image)
        for region in (layout.CODE, layout.LOW_CODE):
            machine.ctl_remove_cache(region.start, region.end)
        for register, value in zip(_GPRS, case.start.registers, strict=True):
            machine.reg_write(register, value)
        machine.mem_write(_FRAME, _iret_frame(case))
        machine.reg_write(x86.UC_X86_REG_ESP, _FRAME)
        try:
            machine.emu_start(_IRET, _NOWHERE, 0, 1)
            # IRET to a 16-bit stack loads SP only
            machine.reg_write(x86.UC_X86_REG_ESP, case.start.registers[4])
            machine.emu_start(case.start.eip, _NOWHERE, 0, case.steps or INSTRUCTION_LIMIT)
        except UcError as error:
            if self._trap is None:
                raise ExecutorError(f"{case.where or 'case'}: {case}: {error} in Unicorn") from None
        state = self._state()
        trap = self._trap
        if trap is None and case.steps is None:
            raise ExecutorError(f"{case.where or 'case'}: {case}: does not end in {INSTRUCTION_LIMIT} instructions")
        if trap and trap.vector == _PROTECTION and case.is_end(state.eip) and state.byte(state.eip) == layout.FILLER:
            trap = None
        return Outcome(state, trap)

    def run_many(self, cases: Iterable[Case]) -> list[Outcome]:
        """Run cases one after another."""
        return [self.run(case) for case in cases]

    def _state(self) -> State:
        read = self._machine.reg_read
        return State(
            registers=tuple(read(register) for register in _GPRS),
            eip=read(x86.UC_X86_REG_EIP),
            eflags=read(x86.UC_X86_REG_EFLAGS) & VISIBLE_FLAGS | EFLAGS_FIXED,
            memory={
                region.start: bytes(self._machine.mem_read(region.start, region.size)) for region in layout.REGIONS
            },
        )


def _iret_frame(case: Case) -> bytes:
    code = layout.CODE_SELECTOR if case.bits == 32 else CODE_16_SELECTOR
    stack = layout.DATA_SELECTOR if case.stack_bits == 32 else STACK_16_SELECTOR
    return struct.pack("<5I", case.start.eip, code, case.start.eflags, case.start.registers[4], stack)


def aborts(case: Case) -> bool:
    """Whether Unicorn takes the process with it: a locked bit test of a register."""
    for prefixes, rest, form in _instructions(case):
        if 0xF0 in prefixes and form.name in ("bt", "bts", "btr", "btc") and rest[2] >= 0xC0:
            return True
    return False


def deviation(case: Case, outcome: Outcome) -> str | None:
    """Why Unicorn is not to be believed about a case whose true outcome is this; None if it is.

    Whatever instruction of the case it is about, for Unicorn may go there where nobody else does.
    """
    if beyond_the_processor(case):
        return "has more instructions than the case's processor"
    trap = outcome.trap
    page_fault = trap is not None and trap.vector == _PAGE_FAULT
    for prefixes, rest, form in _instructions(case):
        reasons = {
            "does not check where LOCK is allowed": 0xF0 in prefixes and trap == Trap(_UNDEFINED),
            "does not check I/O permission": form.privilege == "io",
            "takes control registers that do not exist for existing ones": form.cls is InstructionClass.UNDEFINED
            and rest[0] == 0x0F
            and rest[1] in (0x20, 0x22),
            "does not know TEST by its second encoding": rest[0] in (0xF6, 0xF7) and rest[1] >> 3 & 7 == 1,
            "takes the register forms of MOVBE for memory": rest[:2] == b"\x0f\x38"
            and rest[2] in (0xF0, 0xF1)
            and rest[3] >= 0xC0
            and 0xF2 not in prefixes,
            "lets 66 choose where F2 and F3 do": form.cls is InstructionClass.UNDEFINED
            and rest[:2] in (b"\x0f\x38", b"\x0f\x3a")
            and 0x66 in prefixes
            and len(prefixes) > 1,
            "takes the register forms of prefetches for undefined": rest[:2] == b"\x0f\x18" and rest[2] >= 0xC0,
            "lets F2 win over F3 whatever their order": 0xF2 in prefixes and 0xF3 in prefixes,
            "writes through CS": 0x2E in prefixes and trap == Trap(_PROTECTION, 0),
            "does not try the new top of stack in ENTER, and loads all of EBP": form.name == "enter",
            "takes the operand of RET for signed": form.name == "ret"
            and form.operands[:1] != ()
            and form.operands[0].method is Method.IMMEDIATE
            and rest[2] >= 0x80,
            "has FP of its own, without exceptions, alignment and the fields of environments": form.meaning.startswith(
                ("fp.", "x87.", "sse.")
            ),
            "loses flags in CMPXCHG8B, and where LOOPE and LOOPNE end": form.name in ("cmpxchg8b", "loope", "loopne"),
            "has flags of something else after LOCK NEG": form.name == "neg" and 0xF0 in prefixes,
            "writes in ARPL what has not changed": form.name == "arpl" and trap is None,
            "mistakes the operand size of later instructions in 16-bit code": case.bits == 16
            and cpu_model.parse().lacks(form.cpuid),
            "lets null segments be used": form.meaning == "segment.load" and outcome.state.eip != case.origin,
        }
        if reason := next((reason for reason, applies in reasons.items() if applies), None):
            return reason
    at_page_end = outcome.state.eip & 0xFFF >= 0x1000 - _LONGEST and outcome.state.eip != case.origin
    if at_page_end and trap in (Trap(_UNDEFINED), Trap(_PROTECTION, 0)):
        return "wants the page behind an instruction that is undefined or too long at the end of one"
    if page_fault and trap is not None:
        if (trap.error_code or 0) & _WRITE:
            return "reads before it writes, and stores the first half of an access whose second half faults"
        if outcome.state.eip != case.origin:
            return "does not always know the flags from before an instruction that faults"
        if trap.cr2 == layout.CODE.end and outcome.state.eip >= layout.CODE.end - 2:
            return "fetches whole blocks at once from a page that ends"
    elif trap is not None and trap.error_code:
        return "gives no error codes, and has no gates for INT n"
    if trap is not None and trap.vector == _ALIGNMENT:
        return "knows no alignment checks"
    return None


def _instructions(case: Case) -> Iterator[tuple[bytes, bytes, Form]]:
    """Prefixes, the rest and the form of each instruction, as far as they can be told apart."""
    code = case.code
    while code:
        prefixes, rest = split(code + bytes(3))
        yield prefixes, rest, form_of(code)
        try:  # LOCK where it is not allowed is no reason to stop: a jump may pass over it
            unlocked = prefixes.replace(b"\xf0", b"")
            length = decode(unlocked + rest + bytes(_LONGEST), bits=32 if case.bits == 32 else 16).length
        except DecodeError:
            return
        code = code[len(prefixes) - len(unlocked) + length :]
