"""A processor's registers as QEMU's `info registers` and logs show them: other people's scripts read it."""

from __future__ import annotations

from collections.abc import Iterator

from bt.x86 import flags, reset
from bt.x86.mode import CODE_64
from bt.x86.state import (
    ATTR_BIG,
    ATTR_CODE_OR_DATA,
    ATTR_DPL_SHIFT,
    ATTR_GRANULAR,
    ATTR_LONG,
    ATTR_PRESENT,
    EAX,
    EBP,
    EBX,
    ECX,
    EDI,
    EDX,
    ESI,
    ESP,
    GPR_NAMES,
    GPR_NAMES_64,
    SEGMENT_NAMES,
    CpuState,
)
from bt.x86.system.registers.control_registers import CR0_PE, EFER_LMA

_FLAG_LETTERS = (
    (flags.DF, "D"), (flags.OF, "O"), (flags.SF, "S"), (flags.ZF, "Z"), (flags.AF, "A"), (flags.PF, "P"),
    (flags.CF, "C"),
)  # fmt: skip
_GENERAL = ((EAX, EBX, ECX, EDX), (ESI, EDI, EBP, ESP))
_SEGMENTS = tuple(zip(SEGMENT_NAMES, ("ES ", "CS ", "SS ", "DS ", "FS ", "GS ", "LDT", "TR "), strict=True))
_SYSTEM_TYPES = (
    "Reserved", "TSS16-avl", "LDT", "TSS16-busy", "CallGate16", "TaskGate", "IntGate16", "TrapGate16",
    "Reserved", "TSS32-avl", "Reserved", "TSS32-busy", "CallGate32", "Reserved", "IntGate32", "TrapGate32",
)  # fmt: skip
_LONG_SYSTEM_TYPES = (
    "<hiword>", "Reserved", "LDT", "Reserved", "Reserved", "Reserved", "Reserved", "Reserved",
    "Reserved", "TSS64-avl", "Reserved", "TSS64-busy", "CallGate64", "Reserved", "IntGate64", "TrapGate64",
)  # fmt: skip
_CODE, _SECOND, _THIRD, _ACCESSED = 8, 4, 2, 1  # of a segment's type: conforming or down, readable or writable
_ST_SLOT, _XMM_SLOT = 4, 20  # of an FXSAVE image, in 64 bits


def dump(state: CpuState, *, halted: bool = False, flag_source: bool = False, fpu: bool = True) -> list[str]:
    """Lines without line ends. `flag_source`: with the lines of QEMU's lazy flags, which are never lazy here."""
    lines = list(_integer(state, halted))
    if flag_source:
        lines.append("CCS=00000000 CCD=00000000 CCO=EFLAGS  ")
    lines.append(f"EFER={state['efer']:016x}")
    if fpu:
        lines += _floating_point(state)
    return lines


def _integer(state: CpuState, halted: bool) -> Iterator[str]:
    """With 64 bits in 64-bit mode."""
    wide = bool(state["mode"] & CODE_64)
    digits, instruction_pointer, eflags_name = (16, "RIP", "RFL") if wide else (8, "EIP", "EFL")
    if wide:
        names = [f"{name.upper():<3}" for name in GPR_NAMES_64]
        for row in (*_GENERAL, *((n, n + 1, n + 2, n + 3) for n in (8, 12))):
            yield " ".join(f"{names[number]}={state['gpr', number]:016x}" for number in row)
    else:
        for row in _GENERAL:
            yield " ".join(f"{GPR_NAMES[number].upper()}={state['gpr', number]:08x}" for number in row)
    eflags = reset.read_eflags(state)
    shown = "".join(letter if eflags & mask else "-" for mask, letter in _FLAG_LETTERS)
    inhibited = int(state["inhibit"] == state["icount_base"])
    yield (
        f"{instruction_pointer}={state['eip']:0{digits}x} {eflags_name}={eflags:08x} [{shown}] CPL={state['cpl']} "
        f"II={inhibited} A20={state['a20_mask'] >> 20 & 1} SMM=0 HLT={int(halted)}"
    )
    for number, (_, name) in enumerate(_SEGMENTS):
        yield f"{name}={_segment(state, number, digits)}"
    for name in ("gdt", "idt"):
        yield f"{name.upper()}=     {state[f'{name}r_base']:0{digits}x} {state[f'{name}r_limit']:08x}"
    widths = {"cr0": 8, "cr2": digits, "cr3": digits, "cr4": 8}
    yield " ".join(f"{name.upper()}={state[name]:0{width}x}" for name, width in widths.items())
    yield "".join(f"DR{number}={state['dr', number]:0{digits}x} " for number in range(4))
    yield f"DR6={state['dr', 6]:0{digits}x} DR7={state['dr', 7]:0{digits}x}"


def _segment(state: CpuState, number: int, digits: int) -> str:
    selector, base, limit, attributes = (
        state.segment(number, part) for part in ("selector", "base", "limit", "attributes")
    )
    field = limit >> 12 if attributes & ATTR_GRANULAR else limit
    high = (attributes & 0xF0FF) << 8 | field & 0xF_0000
    text = f"{selector:04x} {base:0{digits}x} {limit:08x} {high:08x}"
    if not state["cr0"] & CR0_PE or not attributes & ATTR_PRESENT:
        return text
    text += f" DPL={attributes >> ATTR_DPL_SHIFT & 3} "
    kind = attributes & 0xF
    if not attributes & ATTR_CODE_OR_DATA:
        return text + (_LONG_SYSTEM_TYPES if state["efer"] & EFER_LMA else _SYSTEM_TYPES)[kind]
    letters, big, small = ("CR", "CS32", "CS16") if kind & _CODE else ("EW", "DS  ", "DS16")
    name = big if attributes & ATTR_BIG else small
    if kind & _CODE and attributes & ATTR_LONG:
        name = "CS64"
    shown = "".join(
        letter if kind & bit else "-" for letter, bit in zip(f"{letters}A", (_SECOND, _THIRD, _ACCESSED), strict=True)
    )
    return f"{text}{name} [{shown}]"


def _floating_point(state: CpuState) -> Iterator[str]:
    status, tags = state["fp_image", 0] >> 16 & 0xFFFF, state["fp_image", 0] >> 32 & 0xFF
    top = status >> 11 & 7
    mxcsr = state["fp_image", 3] & 0xFFFF & ~0x1F80 | state["mxcsr_masks"]
    yield f"FCW={state['fpu_control']:04x} FSW={status:04x} [ST={top}] FTW={tags:02x} MXCSR={mxcsr:08x}"
    registers = []
    for number in range(8):
        slot = _ST_SLOT + 2 * ((number - top) & 7)
        significand, exponent = state["fp_image", slot], state["fp_image", slot + 1] & 0xFFFF
        registers.append(f"FPR{number}={significand:016x} {exponent:04x}")
    yield from _pairs(registers)
    yield from _pairs(
        [
            f"XMM{number:02}={state['fp_image', _XMM_SLOT + 2 * number + 1]:016x} "
            f"{state['fp_image', _XMM_SLOT + 2 * number]:016x}"
            for number in range(16 if state["mode"] & CODE_64 else 8)
        ]
    )


def _pairs(texts: list[str]) -> Iterator[str]:
    for at in range(0, len(texts), 2):
        yield " ".join(texts[at : at + 2])
