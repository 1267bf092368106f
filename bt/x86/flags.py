"""EFLAGS: bit names, and the lazy arithmetic flags all engines share.

The six arithmetic flags are not computed when an instruction sets them but when somebody asks. Two 64-bit slots are
enough, whatever the instruction was (after an idea of Mihocka and Shwartsman, ISCA 2008 AMAS-BT, recast for 64 bits):

    R = flag_result   the result, sign-extended to 32 bits, with the carry-out of the operation above it
    X = flag_aux      chosen so that C = R ^ X is the vector of carries *into* each bit

    CF = C[32]    OF = C[32] ^ C[31]    AF = C[4]    ZF = R[31:0] == 0    SF = R[31] ^ X[40]    PF = even(R[7:0])^X[41]

Results of 64 bits do not fit and are folded into 32 that have the same flags: bits 0-7 and the sign as they are, and
bit 8 set if any of the others is; carry and overflow are worked out and put where C has them.

For a 32-bit addition or subtraction R is the 64-bit sum or difference and X is a ^ b: two operations and two stores.
X[40] and X[41] are zero except after POPF, IRET or SAHF loaded a combination no result can have (ZF with SF...).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt.codegen.value import Value

if TYPE_CHECKING:
    from bt.x86.context import Context

CF, PF, AF, ZF, SF, TF, IF, DF, OF = (1 << n for n in (0, 2, 4, 6, 7, 8, 9, 10, 11))
IOPL, NT, RF, VM, AC, VIF, VIP, ID = 3 << 12, 1 << 14, 1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 20, 1 << 21
IOPL_SHIFT = 12
ARITHMETIC = CF | PF | AF | ZF | SF | OF
ALWAYS_ONE = 1 << 1
DEFINED = ARITHMETIC | TF | IF | DF | IOPL | NT | RF | VM | AC | VIF | VIP | ID

_SIGN_FLIP, _PARITY_FLIP = 40, 41
_CARRY_BYTE, _FLIPS_BYTE = 4, 5  # the bytes of R and X with bit 32, the byte of X with the flips
_BOTH_CARRIES = 3 << 31  # flipping both changes CF and leaves OF alone

# Condition codes as the low nibble of Jcc, SETcc and CMOVcc encodes them (SDM vol. 1 appendix B); odd = negated.
CONDITION_NAMES = ("o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g")


def _commit(b: Context, result: Value, aux: Value) -> None:
    b.put("flag_result", result)
    b.put("flag_aux", aux)


def _commit_but_carry(b: Context, result: Value, aux: Value) -> None:
    """All flags but CF, whose byte is neither written nor waited for: a loop that counts down by DEC would otherwise
    take as long as its own stores take to come back."""
    change = _carry_byte(b).zext(32) ^ ((result ^ aux) >> 32).trunc(32)
    b.store(b.slot("flag_aux"), aux.trunc(32) ^ (change << 31))
    b.store(b.slot("flag_result"), result.trunc(32))
    b.store(b.slot("flag_aux") + _FLIPS_BYTE, b.const(0, 8))


def _widen(value: Value) -> Value:
    """Sign-extend a result to 32 bits, or fold it into as many, zero-extend to a slot."""
    if value.width == 64:
        return (value & 0xFF) | ((value >> 8 != 0).zext(64) << 8) | (value >> 63 << 31)
    return value.sext(32).zext(64) if value.width < 32 else value.zext(64)


def _carry_chain(b: Context, a: Value, c: Value, wide: Value, *, keep_carry: bool) -> None:
    """Commit flags of an addition or subtraction `wide` of the zero-extended operands a and c."""
    if not b.flags_live:
        return
    width = a.width
    if width == 64:
        carries = a.zext(128) ^ c.zext(128) ^ wide  # into bits 0 to 64
        result = _widen(wide.trunc(64))
        aux = result ^ (((carries >> 32).trunc(64) & _BOTH_CARRIES) | (carries.trunc(64) & AF))
        (_commit_but_carry if keep_carry else _commit)(b, result, aux)
        return
    aux = a.zext(64) ^ c.zext(64)
    if width < 32:
        carries = aux ^ wide
        result = _widen(wide.trunc(width))
        aux = result ^ (((carries << (32 - width)) & _BOTH_CARRIES) | (carries & AF))
    else:
        result = wide
    if keep_carry:
        _commit_but_carry(b, result, aux)
    else:
        _commit(b, result, aux)


def _wide(value: Value) -> int:
    """A width that has room for a carry-out."""
    return 128 if value.width == 64 else 64


def add(b: Context, a: Value, c: Value, carry_in: Value | None = None, *, keep_carry: bool = False) -> Value:
    """a + c (+ carry_in, an i1), setting all six flags (not CF with `keep_carry`); returns the sum."""
    wide = a.zext(_wide(a)) + c.zext(_wide(a))
    if carry_in is not None:
        wide = wide + carry_in.zext(_wide(a))
    _carry_chain(b, a, c, wide, keep_carry=keep_carry)
    result = wide.trunc(a.width)
    b.captured = None if carry_in is not None or keep_carry else ("add", a, c, result)
    if keep_carry:
        b.captured = ("result", a, c, result)
    return result


def sub(b: Context, a: Value, c: Value, borrow_in: Value | None = None, *, keep_carry: bool = False) -> Value:
    """a - c (- borrow_in, an i1), setting all six flags (not CF with `keep_carry`); returns the difference."""
    wide = a.zext(_wide(a)) - c.zext(_wide(a))
    if borrow_in is not None:
        wide = wide - borrow_in.zext(_wide(a))
    _carry_chain(b, a, c, wide, keep_carry=keep_carry)
    result = wide.trunc(a.width)
    b.captured = None if borrow_in is not None else ("result" if keep_carry else "sub", a, c, result)
    return result


def logic(b: Context, result: Value) -> None:
    """Flags of AND OR XOR TEST: CF = OF = AF = 0 (AF is undefined; every known CPU clears it)."""
    if b.flags_live:
        wide = _widen(result)
        _commit(b, wide, wide)
    b.captured = ("logic", result, result, result)


def result_with(b: Context, result: Value, carry_out: Value, overflow: Value, adjust: Value | None = None) -> None:
    """SF ZF PF from `result`; CF, OF and AF (default 0) as given (i1 each)."""
    b.captured = None
    if not b.flags_live:
        return
    wide = _widen(result)
    carries = (carry_out.zext(64) << 32) | ((carry_out ^ overflow).zext(64) << 31)
    if adjust is not None:
        carries = carries | (adjust.zext(64) << 4)
    _commit(b, wide, wide ^ carries)


def set_carry(b: Context, value: Value) -> None:
    """CF = value (i1); the other flags stay."""
    b.captured = None
    if b.flags_live:
        change = carry(b) ^ value
        b.put("flag_aux", b.get("flag_aux") ^ (change.zext(64) * _BOTH_CARRIES))


def set_carry_and_overflow(b: Context, carry_out: Value, overflow_out: Value) -> None:
    """CF and OF as given (i1 each); the other four stay (rotates, multiplication)."""
    b.captured = None
    if b.flags_live:
        wanted = (carry_out.zext(64) << 32) | ((carry_out ^ overflow_out).zext(64) << 31)
        change = (_carries(b) & _BOTH_CARRIES) ^ wanted
        b.put("flag_aux", b.get("flag_aux") ^ change)


def set_zero(b: Context, value: Value) -> None:
    """ZF = value (i1); the other five stay (CMPXCHG8B, VERR, LAR...)."""
    b.captured = None
    if b.flags_live:
        image = read_arithmetic(b)
        write_arithmetic(b, b.select(value, image | ZF, image & ~ZF))


def only_zero(b: Context, value: Value) -> None:
    """ZF = value (i1); the other five are cleared."""
    b.captured = None
    if b.flags_live:
        # 0 has even parity, 1 has odd; no sign and no carries
        _commit(b, (~value).zext(64), b.select(value, b.const(1 << _PARITY_FLIP, 64), 1))


def _carries(b: Context) -> Value:
    return b.get("flag_result") ^ b.get("flag_aux")


def _carry_byte(b: Context) -> Value:
    """Bits 39-32 of C; CF is bit 0."""
    return b.load(b.slot("flag_result") + _CARRY_BYTE, 8) ^ b.load(b.slot("flag_aux") + _CARRY_BYTE, 8)


def carry(b: Context) -> Value:
    return _carry_byte(b).bit(0)


def overflow(b: Context) -> Value:
    c = _carries(b)
    return (c ^ (c >> 1)).bit(31)


def adjust(b: Context) -> Value:
    return _carries(b).bit(4)


def zero(b: Context) -> Value:
    return b.get("flag_result", width=32) == 0


def sign(b: Context) -> Value:
    return b.get("flag_result").bit(31) ^ b.get("flag_aux").bit(_SIGN_FLIP)


def parity_of(b: Context, value: Value) -> Value:
    """True when the low byte has an even number of ones."""
    byte = value.trunc(8)
    folded = byte ^ (byte >> 4)
    # 0x6996 holds the parity of each nibble (0x9669 its complement)
    return (b.const(0x9669, 16) >> (folded & 15).zext(16)).trunc(1)


def parity(b: Context) -> Value:
    return parity_of(b, b.get("flag_result")) ^ b.get("flag_aux").bit(_PARITY_FLIP)


def _captured_condition(b: Context, code: int) -> Value | None:
    """The condition straight from the operands of the compare in the same stencil, when that is possible."""
    if b.captured is None:
        return None
    kind, x, y, result = b.captured
    base = code & ~1
    if base == 4:
        return result == 0
    if base == 8:
        return result.slt(0)
    if base == 10:
        return parity_of(b, result)
    if kind == "sub":
        table = {2: x.ult, 6: x.ule, 12: x.slt, 14: x.sle}
        return table[base](y) if base in table else None
    if kind == "logic":
        false = b.const(0, 1)
        table2 = {0: false, 2: false, 6: result == 0, 12: result.slt(0), 14: result.sle(0)}
        return table2[base]
    if kind == "add" and base == 2:
        return result.ult(x)
    return None


def condition(b: Context, code: int) -> Value:
    """Condition code 0-15 as an i1."""
    found = _captured_condition(b, code)
    if found is None:
        match code & ~1:
            case 0:
                found = overflow(b)
            case 2:
                found = carry(b)
            case 4:
                found = zero(b)
            case 6:
                found = carry(b) | zero(b)
            case 8:
                found = sign(b)
            case 10:
                found = parity(b)
            case 12:
                found = sign(b) ^ overflow(b)
            case _:
                found = (sign(b) ^ overflow(b)) | zero(b)
    return ~found if code & 1 else found


def read_arithmetic(b: Context) -> Value:
    """The six arithmetic flags at their EFLAGS positions, i32."""
    image = carry(b).zext(32)
    for value, mask in ((parity(b), PF), (adjust(b), AF), (zero(b), ZF), (sign(b), SF), (overflow(b), OF)):
        image = image | (value.zext(32) << (mask.bit_length() - 1))
    return image


def read_eflags(b: Context) -> Value:
    """The whole EFLAGS image, i32."""
    return read_arithmetic(b) | b.get("eflags_system", width=32) | ALWAYS_ONE


# flag_result and flag_aux after a floating-point comparison: equal, unordered, greater, less. The vCPU has them in its
# state (`comparison_flags`), because two loads and stores are cheaper than working them out.
COMPARISON_FLAGS = (0, 1 << _PARITY_FLIP, 0, _BOTH_CARRIES, 1, 1, 1, 1 ^ _BOTH_CARRIES)


def write_comparison(b: Context, image: Value) -> None:
    """Load ZF, PF and CF from an EFLAGS image (i64) and clear the other three, as floating-point comparisons do."""
    b.captured = None
    # ZF, PF and CF are 000, 001, 100 or 111, and bit 1 is always set
    pair = b.slot("comparison_flags") + (((image ^ image >> 5) & 3) << 4)
    _commit(b, b.load(pair, 64), b.load(pair + 8, 64))


def write_arithmetic(b: Context, image: Value) -> None:
    """Load the six arithmetic flags from an EFLAGS image (i32 or wider)."""
    b.captured = None
    image = image.zext(64)
    zf, sf, pf = image.bit(6), image.bit(7), image.bit(2)
    # with ZF the result must be 0 (SF = 0, PF = 1); X[40], X[41] flip what the image has otherwise
    sign_bit = sf.zext(64)
    parity_bit = (~pf).zext(64)
    plain = (sign_bit << 31) | 0x100 | parity_bit
    result = b.select(zf, b.const(0, 64), plain)
    flips = b.select(zf, (sign_bit << _SIGN_FLIP) | (parity_bit << _PARITY_FLIP), b.const(0, 64))
    cf, of, af = image.bit(0), image.bit(11), image.bit(4)
    carries = (cf.zext(64) << 32) | ((cf ^ of).zext(64) << 31) | (af.zext(64) << 4)
    _commit(b, result, result ^ carries ^ flips)
