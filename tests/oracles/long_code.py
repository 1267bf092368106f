"""Random instructions of 64-bit code, one a case: every form, with prefixes, REX and addresses of all kinds.

What they do, faults included, is compared with the host's processor, but for what the opcode table calls undefined. FP
forms lie between an FXRSTOR64 and an FXSAVE64, so that their registers are memory of the case.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from random import Random

from bt.x86.opcodes import FORMS, Form, Method, Width
from bt.x86.opcodes.encoding import Encoding, parse_encoding
from bt.x86.opcodes.fp import is_fp
from tests.cases import layout
from tests.cases.instruction import split
from tests.cases.model import (
    EFLAGS_FIXED,
    FLAG_BITS,
    LONG_CPU,
    STATUS_FLAGS,
    Case,
    Outcome,
    State,
    with_every_instruction,
)
from tests.cases.undefined import undefined_flags
from tests.oracles.bulk.states import States

_RAX, _RCX, _RDX, _RBX, _RSP, _RBP, _RSI, _RDI = range(8)
_CONTROL, _STRINGS = "control.", "string."
# Not at CPL 3, not the same on two processors, or the end of the host's program.
_LEFT_OUT_MEANINGS = (
    *("cpuid.", "timestamp.", "msr.", "descriptor.", "segment.", "interrupts.", "processor.", "bases."),
    *("x87.", "sse.fx", "io."),
)
_PREFIX_BYTES = {"lock": 0xF0, "size": 0x66, "address": 0x67}
_SEGMENTS = (0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65)
_FIRST, _LAST = layout.DATA.start + 0x400, layout.DATA.start + 0x2C00  # of operands
# Borders of pages, of what is there, and of what may be written.
_EDGES: tuple[int, ...] = (
    *range(layout.DATA.start + layout.PAGE_BYTES, layout.DATA.end - layout.PAGE_BYTES, layout.PAGE_BYTES),
    *(layout.DATA.end, layout.READ_ONLY.start, layout.READ_ONLY.end, layout.READ_ONLY.start + 0x100),
)
_FX_BEFORE, _FX_AFTER = layout.DATA.start + 0x3000, layout.DATA.start + 0x3400
_FX_BYTES, _FX_REGISTERS, _FX_XMM_8, _LANE = 512, 32, 288, 16
# Of the image: opcode, instruction and operand pointers, which processors of today only keep in part.
_POINTERS = (_FX_AFTER + 6, 18)
_STACK = range(layout.STACK.start + 0x200, layout.STACK.end - 0x200, 8)
_MASK = (1 << 64) - 1


def forms() -> list[Form]:
    """Those that can be tried so."""
    return [form for form in FORMS[1:] if form.long != "gone" and not form.meaning.startswith(_LEFT_OUT_MEANINGS)]


def is_intel_s_choice(case: Case, form: Form) -> bool:
    """Whether AMD's processors may do something else (tests/cases/long_intel.case), and are no judges."""
    prefixes, _ = split(bytes.fromhex(case.text.removeprefix("hex: ")), 64)
    if form.meaning in ("bits.bsf", "bits.bsr", "arith.cmpxchg", "arith.cmpxchg8b"):
        return True
    if form.meaning.startswith(_STRINGS):
        return _PREFIX_BYTES["address"] in prefixes
    return form.meaning.startswith(_CONTROL)


def is_unstored(form: Form, host: Outcome, ours: Outcome) -> bool:
    """Whether an x87 store was kept from storing by an exception that is not masked, at memory that faults.

    Intel's processors leave the memory alone then, and the exception is pending; bt asks for the memory before it has
    the host execute the store (docs/testing.md).
    """
    is_x87 = form.name.startswith(("fst", "fist", "fbst"))
    return is_x87 and form.meaning == "fp.store" and host.trap is None and ours.trap is not None


def _values(random: Random) -> list[int]:
    """Values of general registers: boundaries of all widths, and others."""
    powers = [1 << bit for bit in (7, 8, 15, 16, 31, 32, 47, 63)]
    edges = [value + delta & _MASK for value in powers for delta in (-1, 0, 1)]
    edges += [-value & _MASK for value in edges]
    return [0, 0, 1, _MASK, *edges, *(random.getrandbits(64) for _ in range(40))]


@dataclass
class _Draft:
    """An instruction in the making, and the state it wants."""

    random: Random
    values: list[int]
    form: Form
    encoding: Encoding
    registers: list[int]
    memory: dict[int, bytes]
    rex: int = 0
    size: bool = False  # prefix 66
    address_32: bool = False
    locked: bool = False
    start: int = layout.CODE.start

    @property
    def operand_bits(self) -> int:
        """Operand size, as the manual has it (SDM vol. 2 table 3-4)."""
        if self.form.long == "forced 64":
            return 64
        if self.rex & 8:
            return 64
        if self.size:
            return 16
        return 64 if self.form.long == "default 64" else 32


class Maker:
    """Makes cases, the same ones for the same seed; values are drawn from pools made once."""

    def __init__(self, seed: str) -> None:
        self._random = Random(seed)
        self._values = _values(self._random)
        self._states = States(self._random)

    def case(self, form: Form) -> Case:
        """One case of a form."""
        random = self._random
        registers = random.choices(self._values, k=16)
        draft = _Draft(random, self._values, form, parse_encoding(form.encoding), registers, {})
        registers[_RSP] = random.choice(_STACK)
        start = layout.CODE.start
        before = after = b""
        if is_fp(form):
            before, after = _fx_code(1, _FX_BEFORE), _fx_code(0, _FX_AFTER)
            draft.memory[_FX_BEFORE] = self._image()
            draft.start = start + len(before)
        else:
            self._fill(draft)
        code = _encode(draft)
        _arrange(draft)
        flags = EFLAGS_FIXED | sum(FLAG_BITS[name] for name in (*STATUS_FLAGS, "df") if random.getrandbits(1))
        made = Case(
            before + code + after,
            State(tuple(registers), start, flags, draft.memory),
            bits=64,
            cpu=with_every_instruction(LONG_CPU),
            text=f"hex: {code.hex(' ')}",
            where=form.name,
        )
        return replace(made, ignored_flags=_undefined(made, draft, code), ignored_memory=(_POINTERS,) if before else ())

    def _image(self) -> bytes:
        """Of FXSAVE64, with sixteen XMM registers."""
        one, other = self._states.images(2)
        head = bytearray(one[:_FX_REGISTERS])
        head[6:24] = bytes(18)
        if self._random.random() < 0.3:  # exceptions that are not masked
            head[0] &= self._random.randrange(256) | 0xC0
            head[24:26] = (int.from_bytes(head[24:26], "little") & ~(self._random.getrandbits(6) << 7)).to_bytes(
                2, "little"
            )
        registers = one[_FX_REGISTERS:] + other[_FX_XMM_8 - 8 * _LANE : _FX_XMM_8]
        return (bytes(head) + registers).ljust(_FX_BYTES, b"\0")

    def _fill(self, draft: _Draft) -> None:
        """Something in memory where operands may be."""
        random = self._random
        pool = [value.to_bytes(8, "little") for value in random.choices(self._values, k=8)]
        draft.memory[_FIRST - 0x200] = b"".join(random.choices(pool, k=(_LAST - _FIRST + 0x400) // 8))
        draft.memory[_STACK.start] = b"".join(random.choices(pool, k=len(_STACK)))


def _undefined(made: Case, draft: _Draft, code: bytes) -> int:
    """Of the one instruction."""
    alone = replace(made, code=code)
    undefined = undefined_flags(alone)
    if draft.form.meaning in ("shift.shld", "shift.shrd", "move.bswap") and draft.operand_bits == 16:
        return undefined | sum(FLAG_BITS[name] for name in STATUS_FLAGS)
    return undefined


def _fx_code(digit: int, address: int) -> bytes:
    return bytes((0x48, 0x0F, 0xAE, digit << 3 | 4, 0x25)) + struct.pack("<I", address)


# -- encoding ---------------------------------------------------------------------------------------------------------


def _encode(draft: _Draft) -> bytes:
    random, form, encoding = draft.random, draft.form, draft.encoding
    draft.rex = 0x40 | random.getrandbits(4) if random.random() < 0.75 else 0
    sized = not encoding.prefix or any(operand.width is Width.V for operand in form.operands)
    free = not form.chosen_by_prefix and sized and form.name != "clflush"  # 66 makes it CLFLUSHOPT
    draft.size = random.random() < 0.2 and free
    draft.address_32 = random.random() < 0.15
    mod3 = random.choice(encoding.mods)
    if form.memory_only:
        mod3 = False
    prefixes = [_PREFIX_BYTES["size"]] * draft.size + [_PREFIX_BYTES["address"]] * draft.address_32
    if random.random() < 0.1:
        prefixes.append(random.choice(_SEGMENTS))
    if form.rep and random.random() < 0.6:
        prefixes.append(random.choice((0xF2, 0xF3)))
    draft.locked = form.lock and not mod3 and random.random() < 0.2
    if draft.locked:
        prefixes.append(_PREFIX_BYTES["lock"])
    random.shuffle(prefixes)
    if encoding.prefix:
        prefixes.append(encoding.prefix)
    head = bytes(prefixes) + (bytes((draft.rex,)) if draft.rex else b"") + encoding.escape
    head += bytes((random.choice(encoding.opcodes),))
    immediate = _immediate(draft)
    if not encoding.modrm:
        offset = any(operand.method is Method.OFFSET for operand in form.operands)
        return head + (_offset(draft) if offset else b"") + immediate
    reg = random.choice(encoding.regs) << 3
    if mod3:
        rm = random.choice(encoding.rms)
        if rm == _RSP and form.meaning.startswith(_CONTROL):
            rm = _RAX  # the stack cannot be executed on the host
        return head + bytes((0xC0 | reg | rm,)) + immediate
    return head + _memory_operand(draft, reg, len(head), len(immediate)) + immediate


def _target(draft: _Draft) -> int:
    """Where an operand in memory is."""
    if draft.locked or draft.form.name == "xchg":  # across two cache lines it would take the host's kernel seconds
        return draft.random.randrange(_FIRST, _LAST, 16)
    if draft.random.random() < 0.1:
        return draft.random.choice(_EDGES) + draft.random.randrange(-20, 20)
    aligned = any(operand.width in (Width.X, Width.QX) for operand in draft.form.operands)
    return draft.random.randrange(_FIRST, _LAST, 16 if aligned and draft.random.random() < 0.95 else 1)


def _offset(draft: _Draft) -> bytes:
    return _target(draft).to_bytes(4 if draft.address_32 else 8, "little")


def _memory_operand(draft: _Draft, reg: int, before: int, behind: int) -> bytes:
    """ModRM, SIB and displacement; registers are set so that they lead to the target."""
    random, target = draft.random, _target(draft)
    mod, rm = random.randrange(3), random.randrange(8)
    size = (0, 1, 4)[mod]
    sib, base, index, scale = b"", rm | (draft.rex & 1) << 3, None, 0
    if rm == 4:
        number, scale, low = random.randrange(8) | (draft.rex & 2) << 2, random.randrange(4), random.randrange(8)
        sib = bytes((scale << 6 | (number & 7) << 3 | low,))
        base, index = low | (draft.rex & 1) << 3, number if number != _RSP else None
    relative = mod == 0 and rm == _RBP
    nowhere = mod == 0 and base & 7 == _RBP
    if nowhere:
        size = 4
    modrm = bytes((mod << 6 | reg | rm,)) + sib
    if relative:
        end = draft.start + before + len(modrm) + 4 + behind
        return modrm + struct.pack("<i", target - end)
    displacement = random.randrange(-1 << 8 * size - 1, 1 << 8 * size - 1) if size else 0
    if nowhere:
        displacement = target
        if index is not None:
            displacement = target & ~7
            _point(draft, index, (target - displacement) >> scale if scale < 3 else 0)
    else:  # where both are the same register it goes where it goes
        _point(draft, base, target - displacement - (0 if index is None else draft.registers[index] << scale))
    return modrm + displacement.to_bytes(size, "little", signed=displacement < 0)


def _point(draft: _Draft, register: int, value: int) -> None:
    """Give a register a value; where 32 bits count, the upper half is anything."""
    if register == _RSP and draft.random.random() < 0.5:
        return
    value &= _MASK
    if draft.address_32:
        value = value & 0xFFFFFFFF | draft.random.getrandbits(32) << 32
    draft.registers[register] = value


def _immediate(draft: _Draft) -> bytes:
    random, result = draft.random, b""
    for operand in draft.form.operands:
        wide = draft.operand_bits // 8
        if operand.method is Method.RELATIVE:
            size = 1 if operand.width is Width.B else 4
            # not to itself, for ever
            distance = random.choice((random.randrange(-40, -20), random.randrange(128 if size == 1 else 0x1F00)))
            result += distance.to_bytes(size, "little", signed=True)
        elif operand.method is Method.IMMEDIATE and draft.form.meaning in ("shift.shld", "shift.shrd"):
            result += bytes((random.randrange(16 if draft.operand_bits == 16 else 256),))
        elif operand.method is Method.IMMEDIATE:
            sizes = {Width.B: 1, Width.BS: 1, Width.W: 2, Width.Z: min(wide, 4), Width.V: wide}
            result += random.choice(draft.values).to_bytes(8, "little")[: sizes[operand.width]]
    return result


# -- what makes them do something -------------------------------------------------------------------------------------


def _arrange(draft: _Draft) -> None:
    random, form, registers = draft.random, draft.form, draft.registers
    if form.meaning.startswith(_STRINGS):
        for register in (_RSI, _RDI):
            registers[register] = _index(draft, random.randrange(_FIRST, _LAST))
        registers[_RCX] = _index(draft, random.randrange(20))
    elif form.meaning in ("control.call_indirect", "control.jmp_indirect"):
        for register in range(16):
            if register != _RSP and not _leads_to_data(registers[register]):
                registers[register] = _code_address(draft)
        draft.memory[_FIRST - 0x200] = _code_addresses(draft, (_LAST - _FIRST + 0x400) // 8)
    elif form.meaning == "control.ret":
        draft.memory[_STACK.start] = _code_addresses(draft, len(_STACK))
    elif form.meaning in ("control.loop", "control.loope", "control.loopne", "control.jcxz"):
        registers[_RCX] = _index(draft, random.choice((0, 1, 2, 1 << 31)))
    elif form.meaning == "move.xlat":
        registers[_RBX] = _index(draft, random.randrange(_FIRST, _LAST))
    elif form.meaning in ("stack.leave", "stack.enter"):
        registers[_RBP] = random.choice(_STACK)
    elif form.meaning == "fp.masked_store":
        registers[_RDI] = _index(draft, random.randrange(_FIRST, _LAST))
    elif form.meaning.startswith("fp.test_lengths"):
        for register in (_RAX, _RDX):
            registers[register] = random.choice((*range(-18, 19), 1 << 32, -1 << 63, registers[register])) & _MASK
    elif form.meaning in ("shift.shld", "shift.shrd"):
        if draft.operand_bits == 16:  # by more than 16 the result is undefined
            registers[_RCX] &= ~0x10
    elif form.meaning in ("bits.bt", "bits.bts", "bits.btr", "bits.btc"):
        for register in range(16):  # offsets that stay in reach
            if registers[register] >> 16 and register != _RSP and not _leads_to_data(registers[register]):
                registers[register] = random.randrange(-0x1000, 0x1000) & _MASK
    elif form.meaning in ("arith.div", "arith.idiv") and random.random() < 0.8:
        registers[_RDX] = random.choice((0, 1, 2, registers[_RDX] >> 40))


def _leads_to_data(value: int) -> bool:
    return abs((value & 0xFFFFFFFF) - layout.DATA.start) < 0x10000


def _index(draft: _Draft, value: int) -> int:
    if draft.address_32:
        return value | draft.random.getrandbits(32) << 32
    return value


def _code_address(draft: _Draft) -> int:
    """Where a branch may lead: to code, or where nothing is."""
    other = draft.random.choice(draft.values)
    if other >> 20 and draft.random.random() < 0.2:
        return other
    return draft.random.randrange(layout.CODE.start + 32, layout.CODE.end)


def _code_addresses(draft: _Draft, count: int) -> bytes:
    return b"".join(_code_address(draft).to_bytes(8, "little") for _ in range(count))
