"""The exact decoder: bytes -> Instruction, driven by the opcode table (SDM vol. 2 chapter 2 and appendix A).

The engines decode in generated code (bt/engine/decode.py); this decoder serves everything that may take microseconds:
`bt explain`, `bt diff`, tests.

Register numbers are the hardware's (0 eax ... 7 edi, 8 r8 ... 15 r15; segments 0 es ... 5 gs). Unsigned values are
masked to their width; only `Instruction.relative` is signed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from .opcodes import PREFIXES, UNDEFINED, Form, Method, Width, lookup, needs_modrm, undefined_form
from .opcodes.encoding import ESCAPES

LENGTH_LIMIT: Final = 15  # bytes; one more is #GP(0), SDM vol. 2 2.3.11

_SEGMENT_PREFIXES: Final = {0x26: 0, 0x2E: 1, 0x36: 2, 0x3E: 3, 0x64: 4, 0x65: 5}
_SS, _DS = 2, 3
_ESP, _EBP = 4, 5
RIP: Final = 16  # as a base register: the next instruction's address
_REX_W, _REX_R, _REX_X, _REX_B = 8, 4, 2, 1
# 16-bit addressing by ModRM.rm: base, index (SDM vol. 2 table 2-1): BX+SI BX+DI BP+SI BP+DI SI DI BP BX.
_ADDRESSING_16: Final = ((3, 6), (3, 7), (5, 6), (5, 7), (6, None), (7, None), (5, None), (3, None))


class DecodeError(Exception):
    """No instruction can be made of the bytes."""


class InvalidInstruction(DecodeError):
    """The processor would raise #UD: reserved encoding, or LOCK where it is not allowed; `length` bytes are fetched."""

    def __init__(self, message: str, length: int) -> None:
        super().__init__(message)
        self.length = length


class InstructionTooLong(DecodeError):
    """The processor would raise #GP(0): the instruction does not end within 15 bytes."""


class TruncatedInstruction(DecodeError):
    """The bytes given, fewer than 15, end before the instruction does: the processor would fetch more."""


@dataclass(frozen=True, slots=True)
class MemoryOperand:
    """Effective address = (base + index * scale + displacement) modulo 2**address_size, in `segment`."""

    base: int | None
    index: int | None
    scale: int  # 1, 2, 4 or 8
    displacement: int  # masked to the address size
    segment: int  # the override if there is one, else SS for addresses based on (E)SP or (E)BP, else DS


@dataclass(frozen=True, slots=True)
class Instruction:
    """One decoded instruction. `form` says what it means, the rest says on what."""

    form: Form
    length: int  # bytes
    opcode: int  # last opcode byte: holds the register number of Z operands in its low three bits
    operand_size: int  # bits: 8, 16, 32 or 64
    address_size: int  # bits: 16, 32 or 64
    segment: int | None  # segment override prefix; also applies to string sources and xlat
    lock: bool
    rep: Literal[None, "repz", "repnz"]  # F3 or F2, whether or not the form repeats
    operand_size_override: bool
    address_size_override: bool
    modrm: int | None
    memory: MemoryOperand | None  # of ModRM (mod 0-2) or of an offset operand (A0-A3)
    immediates: tuple[int, ...]  # in operand order, masked to operand size after any sign extension
    relative: int | None  # signed displacement of a direct near branch
    far: tuple[int, int] | None  # selector, offset of a direct far branch
    rex: int = 0  # the REX prefix that counts, 40-4F; 0: none

    @property
    def reg(self) -> int:
        """ModRM.reg, or 0 without ModRM."""
        return (self.modrm or 0) >> 3 & 7 | (8 if self.rex & _REX_R else 0)

    @property
    def rm(self) -> int:
        """ModRM.rm, or 0 without ModRM."""
        return (self.modrm or 0) & 7 | (8 if self.rex & _REX_B else 0)

    @property
    def opcode_register(self) -> int:
        """The register that the opcode names."""
        return self.opcode & 7 | (8 if self.rex & _REX_B else 0)

    def target(self, next_eip: int) -> int:
        """Where a direct near branch goes; with 16-bit operand size EIP wraps to 16 bits (SDM vol. 2, Jcc).

        next_eip: offset of the following instruction. Raises ValueError for other instructions.
        """
        if self.relative is None:
            raise ValueError(f"{self.form.name} is not a direct near branch")
        return (next_eip + self.relative) & ((1 << self.operand_size) - 1)


class _Bytes:
    """The instruction's bytes, read front to back."""

    def __init__(self, code: bytes) -> None:
        self.code = code
        self.at = 0

    def unsigned(self, size: int) -> int:
        end = self.at + size
        if end > len(self.code) < LENGTH_LIMIT:
            raise TruncatedInstruction(f"{self.code.hex(' ')}: needs at least {end} bytes, has {len(self.code)}")
        if end > LENGTH_LIMIT:
            raise InstructionTooLong(f"{self.code[:LENGTH_LIMIT].hex(' ')}: longer than {LENGTH_LIMIT} bytes")
        value = int.from_bytes(self.code[self.at : end], "little")
        self.at = end
        return value

    def signed(self, size: int) -> int:
        value = self.unsigned(size)
        return value - (value >> (8 * size - 1) << 8 * size)


@dataclass(slots=True)
class _Prefixes:
    segment: int | None = None
    lock: bool = False
    rep: Literal[None, "repz", "repnz"] = None
    operand_size: bool = False
    address_size: bool = False
    rex: int = 0

    @property
    def mandatory(self) -> int:
        if self.rep:
            return 0xF3 if self.rep == "repz" else 0xF2
        return 0x66 if self.operand_size else 0


def _prefixes(stream: _Bytes, *, long: bool) -> tuple[_Prefixes, int]:
    """Prefixes in any order and number, the last of a group counts; and the byte after them.

    A REX prefix counts only right before the opcode (SDM vol. 2 2.2.1).
    """
    found = _Prefixes()
    while True:
        byte = stream.unsigned(1)
        if long and byte & 0xF0 == 0x40:
            found.rex = byte
            continue
        if byte not in PREFIXES or byte == 0x0F:
            return found, byte
        found.rex = 0
        match byte:
            case 0xF0:
                found.lock = True
            case 0xF3:
                found.rep = "repz"
            case 0xF2:
                found.rep = "repnz"
            case 0x66:
                found.operand_size = True
            case 0x67:
                found.address_size = True
            case 0x64 | 0x65:
                found.segment = _SEGMENT_PREFIXES[byte]
            case _ if not long:  # in 64-bit mode the others have no effect
                found.segment = _SEGMENT_PREFIXES[byte]


def _memory_16(stream: _Bytes, mod: int, rm: int, override: int | None) -> MemoryOperand:
    base: int | None
    base, index = _ADDRESSING_16[rm]
    if mod == 0 and rm == 6:
        base, displacement = None, stream.unsigned(2)
    else:
        displacement = 0 if mod == 0 else stream.signed(mod)
    segment = _SS if base == _EBP else _DS
    return MemoryOperand(base, index, 1, displacement & 0xFFFF, segment if override is None else override)


def _memory_32(stream: _Bytes, mod: int, rm: int, override: int | None, rex: int | None = None) -> MemoryOperand:
    """32-bit addressing, and with `rex`, 0 if there is none, that of 64-bit mode."""
    base: int | None
    number = rm
    index, scale = None, 1
    long, rex = rex is not None, rex or 0
    has_sib = rm == 4
    if has_sib:
        sib = stream.unsigned(1)
        number, scale = sib & 7, 1 << (sib >> 6)
        index = sib >> 3 & 7 | (8 if rex & _REX_X else 0)
        if index == _ESP:
            index, scale = None, 1
    if mod == 0 and number == _EBP:
        base, displacement = RIP if long and not has_sib else None, stream.signed(4)
    else:
        base = number | (8 if rex & _REX_B else 0)
        displacement = 0 if mod == 0 else stream.signed(1 if mod == 1 else 4)
    segment = _SS if base in (_ESP, _EBP) else _DS
    mask = (1 << (64 if long else 32)) - 1
    return MemoryOperand(base, index, scale, displacement & mask, segment if override is None else override)


def _sizes(prefixes: _Prefixes, bits: int) -> tuple[int, int]:
    """Operand and address size by prefixes."""
    if bits != 64:
        return bits ^ 48 if prefixes.operand_size else bits, bits ^ 48 if prefixes.address_size else bits
    operand_size = 64 if prefixes.rex & _REX_W else 16 if prefixes.operand_size else 32
    return operand_size, 32 if prefixes.address_size else 64


def _long_operand_size(form: Form, prefixes: _Prefixes, size: int) -> int:
    """Operand size in 64-bit mode, where some forms have another default (SDM vol. 2 2.2.1.7)."""
    match form.long:
        case "forced 64":
            return 64
        case "default 64" if not prefixes.operand_size:
            return 64
    return size


def decode(code: bytes, *, bits: int) -> Instruction:
    """Decode the instruction at the start of `code`, which may go on after it.

    bits: default operand and address size, 16 or 32 (CS.D), or 64 for 64-bit mode. Raises InvalidInstruction (#UD),
    InstructionTooLong (#GP(0)) or TruncatedInstruction (more bytes needed).
    """
    stream, long = _Bytes(code), bits == 64
    prefixes, opcode = _prefixes(stream, long=long)
    opcode_map = 0
    while (opcode_map, opcode) in ESCAPES:
        opcode_map, opcode = ESCAPES[opcode_map, opcode], stream.unsigned(1)
    operand_size, address_size = _sizes(prefixes, bits)

    # 90 is NOP only where it names no other register than EAX; but PAUSE looks at none
    names_register = prefixes.rex & _REX_B and prefixes.rep != "repz"
    looked_up = 0x91 if (opcode_map, opcode) == (0, 0x90) and names_register else opcode
    modrm = stream.unsigned(1) if needs_modrm(opcode_map, looked_up, prefixes.mandatory, long=long) else None
    form = lookup(opcode_map, looked_up, modrm or 0, prefixes.mandatory, long=long)
    undefined = form is UNDEFINED
    if undefined:
        form = undefined_form(opcode_map, opcode)
    if form.has_modrm and modrm is None:
        modrm = stream.unsigned(1)
    operand_size = form.fixed_operand_size or operand_size
    if long:
        operand_size = _long_operand_size(form, prefixes, operand_size)

    memory, relative, far = None, None, None
    immediates: list[int] = []
    if modrm is not None and modrm < 0xC0 and not any(o.method is Method.REGISTER_RM for o in form.operands):
        if address_size == 16:
            memory = _memory_16(stream, modrm >> 6, modrm & 7, prefixes.segment)
        else:
            memory = _memory_32(stream, modrm >> 6, modrm & 7, prefixes.segment, prefixes.rex if long else None)
    for operand in form.operands:
        match operand.method:
            case Method.IMMEDIATE if operand.width is Width.BS:
                immediates.append(stream.signed(1) & ((1 << operand_size) - 1))
            case Method.IMMEDIATE if operand.width is Width.Z:
                immediates.append(stream.signed(min(operand_size // 8, 4)) & ((1 << operand_size) - 1))
            case Method.IMMEDIATE:
                immediates.append(stream.unsigned({Width.B: 1, Width.W: 2}.get(operand.width, operand_size // 8)))
            case Method.RELATIVE:
                relative = stream.signed(1 if operand.width is Width.B else min(operand_size // 8, 4))
            case Method.FAR_POINTER:
                offset = stream.unsigned(min(operand_size // 8, 4))
                far = (stream.unsigned(2), offset)
            case Method.OFFSET:
                segment = _DS if prefixes.segment is None else prefixes.segment
                memory = MemoryOperand(None, None, 1, stream.unsigned(address_size // 8), segment)
    if undefined:
        raise InvalidInstruction(f"{code[: stream.at].hex(' ')}: reserved encoding", stream.at)
    if prefixes.lock and not (form.lock and memory is not None):
        raise InvalidInstruction(f"{code[: stream.at].hex(' ')}: LOCK is not allowed with {form!r}", stream.at)
    return Instruction(
        form=form,
        length=stream.at,
        opcode=opcode,
        operand_size=operand_size,
        address_size=address_size,
        segment=prefixes.segment,
        lock=prefixes.lock,
        rep=prefixes.rep,
        operand_size_override=prefixes.operand_size,
        address_size_override=prefixes.address_size,
        modrm=modrm,
        memory=memory,
        immediates=tuple(immediates),
        relative=relative,
        far=far,
        rex=prefixes.rex,
    )
