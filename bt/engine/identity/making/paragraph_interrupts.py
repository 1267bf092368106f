"""INT n, IRET, PUSHF, POPF, CLI, CLD and STD of real mode in units, in the order that the interpreter has.

Whatever is special traps and is the interpreter's: a vector beyond the table, a frame that wraps, and where IRET loads
TF or somebody waits who may interrupt behind it. The system flags are made while EFLAGS are out of the way, and wait in
`host_flags` until nothing can fault any more.
"""

from __future__ import annotations

from bt.codegen.host_bytes import move, rex
from bt.engine.identity.crossing import LOAD_FLAGS, SAVE_FLAGS, slot, wide
from bt.engine.identity.making.offsets import (
    EBX,
    FREE,
    LEA,
    MOV_LOAD,
    MOV_STORE,
    MOVZX_BYTE,
    Parts,
    Place,
    T,
    plain,
    zero_extended,
)
from bt.engine.identity.making.operand_forms import VIEW
from bt.engine.identity.making.paragraph_segments import SELECTOR, enter_code, rotated, selector_of
from bt.engine.reencode.decoded import Decoded
from bt.x86 import flags
from bt.x86.state import CS, LIMIT_8086
from bt.x86.system.interrupts.real_mode import CLEARED, ENTRY_BYTES
from bt.x86.system.registers.eflags import LOADED_ALWAYS, LOADED_AT_CPL_0, LOADED_WITH_IOPL

FRAME_BYTES = 6
_LOADED = (LOADED_ALWAYS | LOADED_WITH_IOPL | LOADED_AT_CPL_0) & LIMIT_8086 & ~flags.ARITHMETIC
_MOV_IMMEDIATE = b"\xc7"
_AND, _OR, _SHL, _SHR, _NOT = 4, 1, 4, 5, 2  # extensions of 81, of C1, of F7
_OVERFLOW_SHIFT = flags.OF.bit_length() - 1
_EAX = 0
_CHANGES = {
    "flags.cli": (_AND, ~flags.IF),
    "flags.cld": (_AND, ~flags.DF),
    "flags.std": (_OR, flags.DF),
}


def software_interrupt(i: Decoded, top: Place) -> Parts:
    """INT n. `top`: FRAME_BYTES below SP, with EBX = SP behind it."""
    vector = (i.immediate & 0xFF) * ENTRY_BYTES
    entry = (
        (wide(MOV_LOAD, EBX, "offset_probe"), False),
        (slot(MOV_LOAD, T, "idtr_limit"), False),
        (_extended(b"\xf7", _NOT, T), False),
        (zero_extended(T, T), False),  # so much is missing from 64 KiB
        (plain(MOVZX_BYTE, EBX, EBX, T, vector + ENTRY_BYTES - 1), True),
        (slot(MOV_LOAD, EBX, "idtr_base"), False),
        (VIEW + plain(MOV_LOAD, SELECTOR, EBX, displacement=vector), True),
    )
    code, faults = top.access(_MOV_IMMEDIATE, 0, size=2)
    back = code + (i.next_eip & LIMIT_8086).to_bytes(2, "little"), faults
    pushed = (top.store_at(FREE, 4), selector_of(CS), top.store_at(FREE, 2), back)
    left = _masked(T, ~CLEARED) + wide(MOV_STORE, T, "host_flags")
    return (*entry, flags_image(left), *top.before, *pushed)


def flags_image(more: bytes = b"") -> tuple[bytes, bool]:
    """The lower half of FREE = FLAGS, and T = the system flags, for `more`, which may change EFLAGS."""
    image = (
        SAVE_FLAGS
        + zero_extended(FREE, _EAX)
        + move(T, FREE)
        + _shift(_SHR, T, 8)
        + _masked(FREE, 1)
        + _shift(_SHL, FREE, _OVERFLOW_SHIFT)
        + _or(FREE, T)
        + slot(MOV_LOAD, T, "eflags_system")
        + _or(FREE, T)
    )
    return image + more + LOAD_FLAGS, False


def changed(meaning: str) -> Parts:
    """CLI, CLD and STD: one system flag, nobody notices."""
    extension, mask = _CHANGES[meaning]
    change = slot(b"\x81", extension, "eflags_system") + (mask & 0xFFFF_FFFF).to_bytes(4, "little")
    return ((SAVE_FLAGS + change + LOAD_FLAGS, False),)


def settled() -> Parts:
    """What is left to do behind the frame of INT n, but for SP."""
    loaded = wide(MOV_LOAD, FREE, "host_flags") + wide(MOV_STORE, FREE, "eflags_system")
    return ((loaded + _put("inhibit", 0) + _put("resume_at", -1) + _put("loaded_resume_flag", 0), False), *_target())


def interrupt_return(top: Place) -> Parts:
    """IRET up to where SP is moved; `top`: FRAME_BYTES from SP on."""
    return (*top.before, top.load(SELECTOR, 4), top.load(FREE, 2, further=4), *_loadable())


def _loadable() -> Parts:
    """Trap where loading FLAGS from FREE is not all that there is to do. EBX and T are destroyed."""
    # T = TF, and who waits: nobody may
    trap_flag = _constant(T, flags.TF) + _pext(T, FREE, T)
    waiting = b"".join(slot(MOV_LOAD, EBX, name) + plain(LEA, T, T, EBX) for name in ("intr_pending", "nmi_pending"))
    read = wide(MOV_LOAD, EBX, "offset_probe"), plain(MOVZX_BYTE, EBX, EBX, T, LIMIT_8086)
    return (trap_flag + waiting + read[0], False), (read[1], True)


def pop_flags(top: Place) -> Parts:
    """POPF up to where SP is moved; `top`: two bytes from SP on."""
    return (*top.before, top.load(FREE, 2), *_loadable())


def returned() -> Parts:
    """What is left to do behind IRET."""
    return (load_flags(), (_put("nmi_blocked", 0) + _put("loaded_resume_flag", 0), False), *_target())


def load_flags() -> tuple[bytes, bool]:
    """FLAGS = FREE, where nothing can fault any more."""
    system = (
        slot(MOV_LOAD, EBX, "eflags_system")
        + _masked(EBX, ~_LOADED)
        + move(T, FREE)
        + _masked(T, _LOADED)
        + _or(EBX, T)
        + wide(MOV_STORE, EBX, "eflags_system")
    )
    arithmetic = (
        move(T, FREE)
        + _masked(T, 0xFF)
        + _shift(_SHL, T, 8)
        + _shift(_SHR, FREE, _OVERFLOW_SHIFT)
        + _masked(FREE, 1)
        + _or(T, FREE)
        + bytes.fromhex("4889c3")  # mov rbx, rax
        + move(_EAX, T)
        + LOAD_FLAGS
    )
    return system + arithmetic, False


def _target() -> Parts:
    """CS:IP = the two halves of SELECTOR."""
    halves = zero_extended(FREE, SELECTOR) + rotated(SELECTOR, SELECTOR, 16) + zero_extended(SELECTOR, SELECTOR)
    return ((halves, False), *enter_code())


def _put(name: str, value: int) -> bytes:
    return wide(_MOV_IMMEDIATE, 0, name) + (value & 0xFFFF_FFFF).to_bytes(4, "little")


def _constant(target: int, value: int) -> bytes:
    return bytes((rex(base=target), 0xB8 | target & 7)) + value.to_bytes(4, "little")


def _extended(opcode: bytes, extension: int, register: int) -> bytes:
    """An instruction with an opcode extension on a host register (32 bits)."""
    prefix = rex(base=register)
    return (bytes((prefix,)) if prefix != 0x40 else b"") + opcode + bytes((0xC0 | extension << 3 | register & 7,))


def _masked(register: int, mask: int) -> bytes:
    return _extended(b"\x81", _AND, register) + (mask & 0xFFFF_FFFF).to_bytes(4, "little")


def _shift(extension: int, register: int, count: int) -> bytes:
    return _extended(b"\xc1", extension, register) + bytes((count,))


def _or(target: int, source: int) -> bytes:
    prefix = rex(source, base=target)
    code = bytes((0x09, 0xC0 | (source & 7) << 3 | target & 7))
    return (bytes((prefix,)) if prefix != 0x40 else b"") + code


def _pext(target: int, source: int, mask: int) -> bytes:
    """pext target, source, mask (BMI2): no flag changes"""
    vex = bytes((0xC4, (~target >> 3 & 1) << 7 | 0x40 | (~mask >> 3 & 1) << 5 | 2, (~source & 15) << 3 | 2, 0xF5))
    return vex + bytes((0xC0 | (target & 7) << 3 | mask & 7,))
