"""One instruction to machine code: keystone, fenced in.

keystone 0.9.2 now and then emits wrong bytes without a word: a 66 prefix it should not (`lgdt`, `push ds`), 32-bit
branches in 16-bit code, nothing at all. So the forms known to be bad are encoded here or refused, and every result is
disassembled by capstone and compared, operand by operand, with what was asked for.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import capstone
import keystone

from guest_images.operands import (
    REGISTER_BYTES,
    AssemblyError,
    FarPointer,
    Immediate,
    Memory,
    Operand,
    Register,
    parse,
    split,
)


def _pairs(text: str) -> dict[str, str]:
    """`"a=b c=d"` as a dictionary."""
    return {key: value for key, _, value in (pair.partition("=") for pair in text.split())}


CONDITIONS: Final = ("o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g")
CONDITION_SYNONYMS: Final = _pairs("c=b nae=b nc=ae nb=ae z=e nz=ne na=be nbe=a pe=p po=np nge=l nl=ge ng=le nle=g")
SYNONYMS: Final = {
    **_pairs("sal=shl xlat=xlatb retn=ret repz=repe repnz=repne loopz=loope loopnz=loopne movabs=mov"),
    **{f"{kind}{old}": f"{kind}{new}" for kind in ("j", "set", "cmov") for old, new in CONDITION_SYNONYMS.items()},
}
# Mnemonics whose operand size is in the name alone (movsw, movsd); without a letter it is the mode's default.
STRINGS: Final = {
    "movs": 0xA5,
    "cmps": 0xA7,
    "stos": 0xAB,
    "lods": 0xAD,
    "scas": 0xAF,
    "ins": 0x6D,
    "outs": 0x6F,
}
SIZED_BY_NAME: Final = {"pushf": 0x9C, "popf": 0x9D, "iret": 0xCF, "pusha": 0x60, "popa": 0x61, **STRINGS}
STRING_BYTE: Final = {f"{name}b": opcode - 1 for name, opcode in STRINGS.items()}
CONVERSIONS: Final = {"cbw": (0x98, 2), "cwde": (0x98, 4), "cwd": (0x99, 2), "cdq": (0x99, 4)}
SEGMENT_STACK: Final = {
    "push": {"es": "06", "cs": "0e", "ss": "16", "ds": "1e", "fs": "0fa0", "gs": "0fa8"},
    "pop": {"es": "07", "ss": "17", "ds": "1f", "fs": "0fa1", "gs": "0fa9"},
}
RETURNS: Final = {"ret": (0xC3, 0xC2), "retf": (0xCB, 0xCA)}
REPEATS: Final = {"rep": 0xF3, "repe": 0xF3, "repne": 0xF2}
LOOPS: Final = {"loopne": 0xE0, "loope": 0xE1, "loop": 0xE2, "jcxz": 0xE3, "jecxz": 0xE3}
DESCRIPTOR_TABLES: Final = ("lgdt", "lidt", "sgdt", "sidt")
FAR: Final = ("ljmp", "lcall")
COMMUTATIVE: Final = ("test", "xchg")
SIZE_LETTERS: Final = {"w": 2, "d": 4, "l": 4, "q": 8}
_MARK: Final = 0x1234_5678
MODES: Final = {
    16: (keystone.KS_MODE_16, capstone.CS_MODE_16),
    32: (keystone.KS_MODE_32, capstone.CS_MODE_32),
    64: (keystone.KS_MODE_64, capstone.CS_MODE_64),
}


def _name_and_size(name: str, bare_size: int) -> tuple[str, int]:
    """`pushfd` -> (pushf, 4): the operand size where the name alone tells it, else 0."""
    if name in SIZED_BY_NAME:
        return name, bare_size
    if name[:-1] in SIZED_BY_NAME and name[-1] in SIZE_LETTERS:
        return name[:-1], SIZE_LETTERS[name[-1]]
    # capstone calls the F3 prefix "rep" before movs, stos... and "repe" before cmps and scas.
    return {"repe": "rep", "ljmp": "jmp", "lcall": "call"}.get(name, name), 0


def has_short_form(mnemonic: str, operands: Sequence[Operand]) -> bool:
    """Whether the instruction is a direct JMP or Jcc, which has a form with an 8-bit displacement and a longer one."""
    name = SYNONYMS.get(mnemonic, mnemonic)
    direct = len(operands) == 1 and isinstance(operands[0], Immediate)
    return direct and (name == "jmp" or (name[:1] == "j" and name[1:] in CONDITIONS))


class Encoder:
    """Encodes and verifies instructions for code of `bits` (16, 32 or 64)."""

    def __init__(self, bits: int) -> None:
        if bits not in MODES:
            raise AssemblyError(f"code of {bits} bits does not exist: 16, 32 or 64")
        self.bits = bits
        self._default = 2 if bits == 16 else 4
        self._keystone = keystone.Ks(keystone.KS_ARCH_X86, MODES[bits][0])
        self._capstone = capstone.Cs(capstone.CS_ARCH_X86, MODES[bits][1])
        self._cache: dict[tuple[str, tuple[Operand, ...]], bytes] = {}

    def encode(self, mnemonic: str, operands: Sequence[Operand], address: int, short: bool | None = None) -> bytes:
        """Machine code of one instruction at linear `address` (relative branches depend on it).

        `mnemonic` may carry prefixes (`lock xadd`, `rep movsd`). `short` forces a near branch's form, None picks it.
        Raises AssemblyError if the instruction does not exist or its encoding cannot be trusted.
        """
        words = [SYNONYMS.get(word, word) for word in mnemonic.lower().split()]
        name = words[-1]
        if name == "imul" and len(operands) == 2 and isinstance(operands[1], Immediate):
            operands = (operands[0], *operands)
        if isinstance(operands[0] if operands else None, Immediate | FarPointer):
            branch = self._branch(name, operands[0], address, short)
            if branch is not None:
                target = operands[0]
                if isinstance(target, Immediate):  # of 16-bit code: within 64 KiB, wherever they lie
                    target = Immediate(target.value % (1 << self.bits))
                self._verify(words, [target], branch, address)
                return branch
        key = (" ".join(words), tuple(operands))
        if key not in self._cache:
            code = self._fixed(words, operands)
            if code is None:
                code = self._ask_keystone(words, operands, address)
            self._verify(words, operands, code, address)
            self._cache[key] = code
        return self._cache[key]

    def _branch(self, name: str, target: Operand, address: int, short: bool | None) -> bytes | None:
        """Relative and direct far branches; None for anything else."""
        width = self._default
        if isinstance(target, FarPointer):
            opcode = {"jmp": 0xEA, "ljmp": 0xEA, "call": 0x9A, "lcall": 0x9A}.get(name)
            if opcode is None or self.bits == 64:
                return None
            if not (0 <= target.offset < 1 << 8 * width and 0 <= target.selector < 0x10000):
                raise AssemblyError(f"{name} {target}: does not fit a far pointer of 16:{8 * width} bits")
            return bytes([opcode]) + target.offset.to_bytes(width, "little") + target.selector.to_bytes(2, "little")
        assert isinstance(target, Immediate)
        if name in LOOPS:
            # JCXZ and JECXZ differ by the address-size prefix (SDM vol. 2A, Jcc).
            other_size = (name == "jcxz" and self.bits != 16) or (name == "jecxz" and self.bits != 32)
            head, long_head, short = (b"\x67" if other_size else b"") + bytes([LOOPS[name]]), b"", True
        elif name == "jmp":
            head, long_head = b"\xeb", b"\xe9"
        elif name == "call":
            head, long_head, short = b"", b"\xe8", False
        elif has_short_form(name, (target,)):
            condition = CONDITIONS.index(name[1:])
            head, long_head = bytes([0x70 + condition]), bytes([0x0F, 0x80 + condition])
        else:
            return None
        distance = self._wrap(target.value - address - len(head) - 1)
        fits = -0x80 <= distance < 0x80
        if short and not fits:
            raise AssemblyError(f"{name} {target}: {distance} bytes away, a short branch reaches -128 to 127")
        if fits and short is not False:
            return head + distance.to_bytes(1, "little", signed=True)
        distance = self._wrap(target.value - address - len(long_head) - width)
        return long_head + distance.to_bytes(width, "little", signed=True)

    def _wrap(self, distance: int) -> int:
        """`distance` as a signed displacement of this mode's instruction pointer."""
        half = 1 << (self.bits - 1)
        return (distance + half) % (2 * half) - half

    def _fixed(self, words: Sequence[str], operands: Sequence[Operand]) -> bytes | None:
        """Encodings keystone gets wrong or does not know; None for the rest."""
        name, prefixes = words[-1], b"".join(bytes([REPEATS[word]]) for word in words[:-1] if word in REPEATS)
        if name in SEGMENT_STACK and operands and str(operands[0]) in SEGMENT_STACK[name]:
            return bytes.fromhex(SEGMENT_STACK[name][str(operands[0])])
        if name == "push" and self.bits == 16 and isinstance(operands[0], Immediate) and operands[0].size != 4:
            value = operands[0].value  # keystone pushes 32 bits
            short = -0x80 <= value < 0x80
            return bytes([0x6A if short else 0x68]) + (value & (0xFF if short else 0xFFFF)).to_bytes(
                2 - short, "little"
            )
        if name == "push" and isinstance(operands[0], Immediate) and operands[0].size == self._default:
            return self._keystone_bytes(f"push {operands[0].value:#x}")
        if name in RETURNS and all(isinstance(operand, Immediate) for operand in operands):
            plain, with_count = RETURNS[name]
            count = operands[0].value if operands and isinstance(operands[0], Immediate) else None
            return bytes([plain]) if count is None else bytes([with_count]) + (count & 0xFFFF).to_bytes(2, "little")
        if operands:
            return None
        if name in STRING_BYTE:
            return prefixes + bytes([STRING_BYTE[name]])
        if name in CONVERSIONS:
            opcode, size = CONVERSIONS[name]
            return self._size_prefix(size) + bytes([opcode])
        if name in SIZED_BY_NAME:
            return prefixes + bytes([SIZED_BY_NAME[name]])
        if name[:-1] in SIZED_BY_NAME and name[-1] in SIZE_LETTERS:
            return prefixes + self._size_prefix(SIZE_LETTERS[name[-1]]) + bytes([SIZED_BY_NAME[name[:-1]]])
        return None

    def _size_prefix(self, size: int) -> bytes:
        if size == 8:
            return b"\x48"
        return b"" if size == self._default else b"\x66"

    def _ask_keystone(self, words: Sequence[str], operands: Sequence[Operand], address: int) -> bytes:
        text = f"{' '.join(words)} {', '.join(map(str, operands))}".strip()
        names = {operand.name for operand in operands if isinstance(operand, Register)}
        extended = any(self._needs_rex(operand) for operand in operands)
        if names & {"ah", "bh", "ch", "dh"} and extended:
            raise AssemblyError(f"{text}: ah bh ch dh cannot go with a REX prefix (keystone would crash); use .byte")
        if self.bits == 64 and any(isinstance(operand, Memory) and not operand.terms for operand in operands):
            code = self._absolute(words, operands)
        else:
            code = self._keystone_bytes(text, address)
        if words[-1] in DESCRIPTOR_TABLES and self.bits != 64:
            # keystone's 66 prefix would load a base of 24 bits from 32-bit code.
            code = code.removeprefix(b"\x66")
        if code[:1] == b"\x66" and not self._wants_size_prefix(operands):
            raise AssemblyError(f"{text}: keystone adds an operand-size prefix ({code.hex()}); write it with .byte")
        return code

    def _absolute(self, words: Sequence[str], operands: Sequence[Operand]) -> bytes:
        """64-bit code with an operand at a fixed address, which keystone would make relative to RIP: it is asked for
        [rbp + displacement], of which ModRM is made one with a SIB byte of no base and no index (SDM vol. 2 2.2.1.3).
        """
        shown, address = [], 0
        for operand in operands:
            if isinstance(operand, Memory) and not operand.terms:
                address = operand.displacement
                operand = replace(operand, terms=(("rbp", 1),), displacement=_MARK)
            shown.append(str(operand))
        code = self._keystone_bytes(f"{' '.join(words)} {', '.join(shown)}")
        at = code.index(_MARK.to_bytes(4, "little"))
        modrm = code[at - 1] & 0x38 | 4
        return code[: at - 1] + bytes((modrm, 0x25)) + (address & 0xFFFF_FFFF).to_bytes(4, "little") + code[at + 4 :]

    @staticmethod
    def _needs_rex(operand: Operand) -> bool:
        match operand:
            case Register():
                return operand.name[0] == "r" or operand.name in ("sil", "dil", "spl", "bpl")
            case Memory(terms=terms):
                return any(name[0] == "r" and name[1].isdigit() for name, _ in terms)
        return False

    def _wants_size_prefix(self, operands: Sequence[Operand]) -> bool:
        other = {2} if self._default == 4 else {4}
        sizes = {operand.size for operand in operands if not isinstance(operand, FarPointer)}
        return bool(sizes & (other | {16}))  # 16: an XMM operand, where 66 may be part of the opcode

    def _keystone_bytes(self, text: str, address: int = 0) -> bytes:
        try:
            code, _ = self._keystone.asm(text, address, as_bytes=True)
        except keystone.KsError as error:
            raise AssemblyError(f"{text}: keystone refuses ({error}); check the spelling or write .byte") from None
        if not code:
            raise AssemblyError(f"{text}: keystone returns nothing; write it with .byte")
        return bytes(code)

    def _verify(self, words: Sequence[str], operands: Sequence[Operand], code: bytes, address: int) -> None:
        """Disassemble `code` and compare it with what was asked for."""
        text = f"{' '.join(words)} {', '.join(map(str, operands))}".strip()
        decoded = list(self._capstone.disasm(code, address))
        if len(decoded) != 1 or decoded[0].size != len(code):
            raise AssemblyError(f"{text}: {code.hex()} is not one instruction for capstone; write it with .byte")
        found = decoded[0]
        found_words = [SYNONYMS.get(word, word) for word in found.mnemonic.split()]
        if not self._same_name(words, found_words) or not self._same_operands(words[-1], operands, found.op_str):
            raise AssemblyError(
                f"{text}: {code.hex()} reads back as {found.mnemonic} {found.op_str}; write it with .byte"
            )

    def _same_name(self, asked: Sequence[str], found: Sequence[str]) -> bool:
        # capstone's bare pushf, popf and iret are the 16-bit ones; ours follow the mode.
        return [_name_and_size(word, self._default) for word in asked] == [_name_and_size(word, 2) for word in found]

    def _same_operands(self, name: str, asked: Sequence[Operand], found_text: str) -> bool:
        found = [parse(part, {"_here_": 0}) for part in split(found_text)]
        if not asked and (name in STRING_BYTE or name in SIZED_BY_NAME or name[:-1] in SIZED_BY_NAME):
            return True  # capstone spells out the implied [esi] and es:[edi]
        if name in ("aam", "aad") and not asked:
            asked = [Immediate(10)]
        if asked and isinstance(asked[0], FarPointer) and len(found) == 2:
            found = [
                parse(found_text.replace(",", ":"), {})
            ]  # capstone writes far calls with a comma, jumps with a colon
        if len(asked) != len(found):
            return False
        sizes = [operand.size for operand in (*asked, *found) if isinstance(operand, Register | Memory)]
        width = min((size for size in sizes if size), default=self.bits // 8)
        if name in FAR and not all(isinstance(operand, FarPointer) or operand.size is None for operand in found):
            return False  # only the far forms read back without an operand size: capstone calls both jmp and call
        if name in COMMUTATIVE and not self._all_same(asked, found, width):
            found.reverse()
        return self._all_same(asked, found, width)

    def _all_same(self, asked: Sequence[Operand], found: Sequence[Operand], width: int) -> bool:
        return all(self._same(a, b, width) for a, b in zip(asked, found, strict=True))

    def _same(self, asked: Operand, found: Operand, width: int) -> bool:
        match asked, found:
            case Immediate(value=a), Immediate(value=b):
                limit = 1 << 8 * width
                return -limit // 2 <= a < limit and (a - b) % limit == 0
            case Memory(), Memory():
                address_bits = 8 * REGISTER_BYTES[asked.terms[0][0]] if asked.terms else self.bits
                either_order = address_bits == 16 or any(name in ("esp", "rsp") for name, _ in asked.terms)
                order = sorted if either_order else list
                return (
                    asked.size in (None, found.size)
                    and asked.segment in (None, found.segment)
                    and order(asked.terms) == order(found.terms)
                    and (asked.displacement - found.displacement) % (1 << address_bits) == 0
                )
        return asked == found
