"""Where processors of the family may differ, so that comparing with one of them proves nothing."""

from __future__ import annotations

from dataclasses import replace

from bt.x86.opcodes import InstructionClass, eflags_mask
from tests.cases.instruction import form_of, instructions, split
from tests.cases.model import FLAG_BITS, STATUS_MASK, TRAP_VECTORS, Case, Outcome

_STACK_SEGMENT, _PROTECTION = 12, 13
_LONGEST_INSTRUCTION = 15
_FRAME_BYTES = 33 * 4
"""What ENTER with 31 levels stores before it can fault: more than PUSHA."""
_TEN_BYTES = 10
_POPA_LOADS = (0, 1, 2, 3, 5, 6, 7)
_PAGE_FAULT, _ALIGNMENT_CHECK = 14, 17
_SHOW_SELECTORS = frozenset(("fnstenv", "fnsave", "fxsave"))
_UNALIGNED = frozenset(("movups", "movupd", "movdqu", "lddqu", "pcmpestri", "pcmpestrm", "pcmpistri", "pcmpistrm"))
_PRESENT = 1 << 0
_ANY_WORD_FIRST = frozenset(("fldenv", "fnsave", "fnstenv", "frstor", "fxrstor", "fxsave", "iret", "popa", "ret far"))
"""Which word comes first, and whether POPA reads the one it skips, shows in CR2 and the error code."""


def comparable(case: Case, outcome: Outcome) -> Case | None:
    """The case with everything ignored that `outcome`, an oracle's, shows to be a processor's own choice.

    None where the whole case is: an access that wraps around 4 GiB in a segment without a limit may or may not raise
    #GP or #SS (SDM vol. 3A, 5.3); CMPS may read either string first; a return into data runs whatever instructions a
    later processor has.
    """
    eip, trap = outcome.state.eip, outcome.trap
    if trap is None and eip == case.end:
        return case
    case = replace(case, ignored_flags=case.ignored_flags | _ever_undefined(case))
    if trap is None or trap.vector in TRAP_VECTORS:
        return case
    if not case.origin <= eip < case.end:
        return case if trap.cr2 == eip else None
    code = case.code[eip - case.origin :]
    form = form_of(code)
    if _wraps(code, trap.vector) or form.name == "cmps":
        return None
    if (
        form.name in ("fstp", "fbstp") and trap.cr2 is not None
    ):  # how much of ten bytes was stored before the second page
        return replace(case, ignored_memory=((trap.cr2 - _TEN_BYTES, _TEN_BYTES),))
    if form.name in ("pusha", "enter"):
        return replace(case, ignored_memory=((outcome.state.registers[4] - _FRAME_BYTES, _FRAME_BYTES),))
    if form.name == "popa":
        return replace(case, ignored_registers=_POPA_LOADS)
    if form.rep == "repz":
        # Intel restores the flags from before the instruction (SDM vol. 2B, REP), AMD leaves the last iteration's.
        return replace(case, ignored_flags=STATUS_MASK)
    return case


def is_free(case: Case) -> bool:
    """Whether what a case expects is a choice that other processors than its oracle have made otherwise.

    The selectors in x87 environments, which many no longer keep (CPUID.(7,0):EBX[13]; SDM vol. 1, 8.1.8); whether
    moves of unaligned 128 bits raise #AC (SDM vol. 2A, table 2-21); whether POP of a segment register reads two bytes
    or four.
    """
    forms = [form_of(code) for code in instructions(case)]
    names, meanings = {form.name for form in forms}, {form.meaning for form in forms}
    trap = case.expected.trap if case.expected is not None else None
    if names & _SHOW_SELECTORS:
        return True
    if trap is None:
        return False
    return bool(trap.vector == _ALIGNMENT_CHECK and names & _UNALIGNED) or "segment.pop" in meanings


def is_intel_s(case: Case) -> bool:
    """Whether what a case expects is a choice of Intel's processors, which bt has in 64-bit mode."""
    return case.where.startswith("long_intel")


def _ever_undefined(case: Case) -> int:
    """Flags undefined after any of the instructions: all, where capstone cannot tell where they begin."""
    codes = list(instructions(case))
    if sum(map(len, codes)) != len(case.code):
        return STATUS_MASK
    mask = 0
    for code in codes:
        form = form_of(code)
        mask |= eflags_mask(form.undefines) | (FLAG_BITS["cf"] if form.name in ("shl", "shr") else 0)
    return mask


def _wraps(code: bytes, vector: int) -> bool:
    """Whether #SS or #GP came from the end of the address space, the only limit there is."""
    if vector == _STACK_SEGMENT:
        return True
    if vector != _PROTECTION or form_of(code).cls is InstructionClass.PRIVILEGED:
        return False
    prefixes, _ = split(code)
    return 0x2E not in prefixes and len(prefixes) < _LONGEST_INSTRUCTION - 1


def settled(case: Case, outcome: Outcome) -> Outcome:
    """The outcome with that of a page fault removed which is a processor's own choice: compare these."""
    trap, eip = outcome.trap, outcome.state.eip
    if trap is None or trap.vector != _PAGE_FAULT or not case.origin <= eip < case.end:
        return outcome
    name = form_of(case.code[eip - case.origin :]).name
    assert trap.error_code is not None
    if name in _ANY_WORD_FIRST:  # the words may lie in a page that is not there and in one that is read-only
        return replace(outcome, trap=replace(trap, cr2=None, error_code=trap.error_code & ~_PRESENT))
    return outcome
