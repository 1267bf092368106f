"""Instructions that become several of the host's, because those of the same name do not do quite the same."""

from __future__ import annotations

from bt.codegen.host_bytes import based, move, move_immediate, on_registers
from bt.engine.identity.crossing import VIEW_BASE
from bt.engine.identity.making.offsets import (
    EBX,
    FREE,
    LEA,
    MOV_LOAD,
    MOV_STORE,
    MOVZX_BYTE,
    MOVZX_WORD,
    STATE,
    Parts,
    T,
    plain,
    set_word,
)
from bt.engine.identity.making.offsets import zero_extended as extended
from bt.engine.identity.making.strings import require_host
from bt.engine.reencode.decoded import Decoded
from bt.engine.reencode.integer import IntegerEncoder
from bt.memory.host_mmu.layout import PROBE, PROBE_BYTES
from bt.x86 import state
from bt.x86.flags import DF
from bt.x86.fp.control import CONTROL_FIXED, CONTROL_WRITABLE, MXCSR_DEFINED, MXCSR_MASKS, X87_MASKS
from bt.x86.opcodes import Form, Width

_WHOLE = 0xFFFF_FFFF
_NOT, _NOT_DIGIT = b"\xf7", 2  # opcode, and its extension
_CMP_BYTE, _CMP_DIGIT = b"\x83", 7
_CMPXCHG8B, _CMPXCHG8B_DIGIT = b"\x0f\xc7", 1
_FLDCW, _FLDCW_DIGIT = b"\xd9", 5
_LDMXCSR, _LDMXCSR_DIGIT = b"\x0f\xae", 2
_CMOVZ, _CMOVNZ = b"\x0f\x44", b"\x0f\x45"
_SCANS = {"bits.bsf": b"\x0f\xbc", "bits.bsr": b"\x0f\xbd"}
_PEXT, _PDEP = 2, 3  # the prefix that VEX stands for; neither changes a flag
_WORD = b"\x66"
_FOUND = 0x100  # beside an index: not zero, and no part of what PF is made of


def sequence(encoder: IntegerEncoder, form: Form, i: Decoded) -> Parts | None:
    """Host instructions, those that can fault with True; None for what is itself. Raises NotEncodable."""
    match meaning := form.meaning:
        case "bits.bsf" | "bits.bsr":
            return _scan(encoder, _SCANS[meaning], i)
        case "arith.cmpxchg8b" if i.is_memory:
            compare = encoder.at_operand(_CMPXCHG8B, _CMPXCHG8B_DIGIT, i)
            return (move(EBX, encoder.host(state.EBX)), False), (compare, True)
        case "move.xchg" if i.is_memory and form.operands[0].width is not Width.B:
            return exchange(encoder, i, T)
        case "flags.cld" | "flags.std":
            return _direction(meaning == "flags.std")
        case "x87.fldcw":
            return _load_control(encoder, i)
        case "sse.ldmxcsr":
            return _load_mxcsr(encoder, i)
    return None


def _scan(encoder: IntegerEncoder, opcode: bytes, i: Decoded) -> Parts:
    """The flags that are undefined are those of the index, as `_finish_scan` in bt/x86/semantics/bits.py has them."""
    is_word = i.operand_size == 16
    if i.is_memory:
        source = encoder.at_operand(MOVZX_WORD if is_word else MOV_LOAD, T, i)
    else:
        source = (extended if is_word else move)(T, encoder.host(i.rm_number))
    code = on_registers(opcode, T, T)  # a zero stays what it is
    code += plain(LEA, FREE, T, displacement=_FOUND)
    code += on_registers(_CMOVZ, FREE, T)
    code += (_WORD if is_word else b"") + on_registers(_CMOVNZ, encoder.host(i.reg_number), T)
    code += on_registers(_CMP_BYTE, _CMP_DIGIT, FREE) + b"\0"
    return (source, i.is_memory), (code, False)


def exchange(encoder: IntegerEncoder, i: Decoded, scratch: int) -> Parts:
    """XCHG of a word or more. The host's own would lock its bus: for 20 cycles, and where the operand crosses a cache
    line many hosts have such a process wait for milliseconds. Nobody else accesses the guest's memory meanwhile."""
    register, is_word = encoder.host(i.reg_number), i.operand_size == 16
    load = encoder.at_operand(MOVZX_WORD if is_word else MOV_LOAD, scratch, i)
    prefixes, rex, address = encoder.operand(register, i)
    store = prefixes + (_WORD if is_word else b"") + rex + MOV_STORE + address
    return (load, True), (store, True), ((set_word if is_word else move)(register, scratch), False)


def _direction(down: bool) -> Parts:
    """DF is in the state."""
    require_host()
    offset = state.offset("eflags_system")
    code = based(MOV_LOAD, T, STATE, offset) + _only(_WHOLE & ~DF)
    if down:
        code += plain(LEA, T, T, displacement=DF)
    return ((code + based(MOV_STORE, T, STATE, offset), False),)


def _load_control(encoder: IntegerEncoder, i: Decoded) -> Parts:
    """As `set_control` in bt/x86/fp/fp_state.py has it. Where an exception is unmasked, that does it."""
    require_host()
    offset = state.offset("fpu_control")
    code = _only(CONTROL_WRITABLE) + plain(LEA, T, T, displacement=CONTROL_FIXED) + based(MOV_STORE, T, STATE, offset)
    code += based(_FLDCW, _FLDCW_DIGIT, STATE, offset)
    return (encoder.at_operand(MOVZX_WORD, T, i), True), *_all_set(X87_MASKS), (code, False)


def _load_mxcsr(encoder: IntegerEncoder, i: Decoded) -> Parts:
    """The same for MXCSR, whose bits that not every processor has trap, too."""
    require_host()
    offset = state.offset("fp_scratch")
    code = based(MOV_STORE, T, STATE, offset) + based(_LDMXCSR, _LDMXCSR_DIGIT, STATE, offset)
    load = (encoder.load(T, i), True)
    return load, *_all_set(MXCSR_MASKS), *_all_clear(_WHOLE & ~(MXCSR_DEFINED | MXCSR_MASKS)), (code, False)


def _all_set(mask: int) -> Parts:
    """Trap unless all these bits of T are set."""
    return _zero(move(EBX, T) + on_registers(_NOT, _NOT_DIGIT, EBX), EBX, mask)


def _all_clear(mask: int) -> Parts:
    """Trap unless none of these bits of T is set."""
    return _zero(b"", T, mask)


def _zero(before: bytes, register: int, mask: int) -> Parts:
    """Trap if a host register has one of these bits, at the byte that many further on than the last one there is."""
    code = before + _load_mask(mask) + _bits(_PEXT, EBX, register, FREE)
    look = plain(MOVZX_BYTE, EBX, VIEW_BASE, EBX, PROBE + PROBE_BYTES - 1)
    return (code, False), (look, True)


def _only(mask: int) -> bytes:
    """T &= mask. Destroys the free register."""
    return _load_mask(mask) + _bits(_PEXT, T, T, FREE) + _bits(_PDEP, T, T, FREE)


def _load_mask(mask: int) -> bytes:
    return move_immediate(FREE) + mask.to_bytes(4, "little")


def _bits(prefix: int, target: int, source: int, mask: int) -> bytes:
    """pext or pdep target, source, mask: 32 bits"""
    inverted = (~target >> 3 & 1) << 7 | 1 << 6 | (~mask >> 3 & 1) << 5
    return bytes((0xC4, inverted | 2, (~source & 15) << 3 | prefix, 0xF5, 0xC0 | (target & 7) << 3 | mask & 7))
