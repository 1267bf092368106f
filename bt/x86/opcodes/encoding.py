"""The notation of the table's `encoding` column.

    [F3|F2|66] [0F [38|3A]] OPCODE [+r | -LAST] [MODRM [-LAST]] [/r | /DIGIT [-LAST]] [mem | mod=3]

Numbers are hexadecimal except DIGIT. "+r": a register number is added to the opcode, eight opcodes in all. "-LAST"
makes a range. A bare MODRM byte fixes the whole byte ("DB E3"), "/DIGIT" only its reg field, "/r" nothing. Immediates
and displacements are not written: the operands say what follows.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

# Rows of one opcode map in the dispatch table. F2/F3 win over 66 as mandatory prefixes (SDM vol. 2, 2.1.2).
MANDATORY_PREFIXES = {0: 0, 0x66: 1, 0xF3: 2, 0xF2: 3}


class OpcodeMap(NamedTuple):
    """One table of 256 opcodes (SDM vol. 2 appendix A), found behind `escape`."""

    escape: bytes
    immediate: bool = False  # a byte follows ModRM and displacement, whatever the opcode

    def spell(self, opcode: int) -> str:
        """An opcode of the map in the SDM's notation."""
        return bytes((*self.escape, opcode)).hex(" ").upper()


OPCODE_MAPS: Final = (
    OpcodeMap(b""),
    OpcodeMap(b"\x0f"),
    OpcodeMap(b"\x0f\x38"),
    OpcodeMap(b"\x0f\x3a", immediate=True),
)
_NUMBERS: Final = {opcode_map.escape: number for number, opcode_map in enumerate(OPCODE_MAPS)}
# A map, and a byte there that is no opcode but leads on to another map.
ESCAPES: Final = {(_NUMBERS[escape[:-1]], escape[-1]): number for escape, number in _NUMBERS.items() if escape}
_ESCAPE_WORDS: Final = {(opcode_map, f"{byte:02X}"): longer for (opcode_map, byte), longer in ESCAPES.items()}


class Encoding(NamedTuple):
    """A set of encodings: opcode bytes x ModRM bytes of one map under one mandatory prefix (0 = any prefix)."""

    prefix: int
    opcode_map: int  # in OPCODE_MAPS
    opcodes: range
    modrm: bool  # a ModRM byte follows
    regs: range  # ModRM.reg values
    rms: range  # ModRM.rm values
    mods: tuple[bool, ...]  # False: memory (mod 0-2), True: mod = 3

    @property
    def escape(self) -> bytes:
        """What stands before the opcode, behind the prefixes."""
        return OPCODE_MAPS[self.opcode_map].escape

    @property
    def any_modrm(self) -> bool:
        """True if the opcode alone decides: no ModRM byte, or every value of it."""
        return len(self.regs) == len(self.rms) == 8 and len(self.mods) == 2


def opcode_of(code: bytes) -> tuple[int, int]:
    """The opcode map of an instruction without its prefixes, and where in `code` the opcode is, there or not."""
    opcode_map, at = 0, 0
    while at < len(code) and (opcode_map, code[at]) in ESCAPES:
        opcode_map, at = ESCAPES[opcode_map, code[at]], at + 1
    return opcode_map, at


def _range(text: str, base: int) -> range:
    first, _, last = text.partition("-")
    return range(int(first, base), int(last or first, base) + 1)


@cache
def parse_encoding(text: str) -> Encoding:
    """Read the notation above. Raises ValueError for anything else."""
    prefix, opcode_map, modrm = 0, 0, False
    opcodes, regs, rms = range(0), range(8), range(8)
    mods: tuple[bool, ...] = (False, True)
    for word in text.split():
        if not opcodes:
            if (opcode_map, word) in _ESCAPE_WORDS:
                opcode_map = _ESCAPE_WORDS[opcode_map, word]
            elif not opcode_map and not prefix and word in ("66", "F2", "F3"):
                prefix = int(word, 16)
            elif word.endswith("+r"):
                opcodes = range(int(word[:-2], 16), int(word[:-2], 16) + 8)
            else:
                opcodes = _range(word, 16)
        elif word == "/r":
            modrm = True
        elif word.startswith("/"):
            modrm, regs = True, _range(word[1:], 8)
        elif word == "mod=3" and modrm:
            mods = (True,)
        elif word == "mem" and modrm:
            mods = (False,)
        elif not modrm:
            fixed = _range(word, 16)
            modrm, mods = True, (True,)
            regs, rms = range(fixed[0] >> 3 & 7, (fixed[-1] >> 3 & 7) + 1), range(fixed[0] & 7, (fixed[-1] & 7) + 1)
            if fixed[0] < 0xC0 or (len(regs) > 1 and len(rms) < 8):
                raise ValueError(f"encoding {text!r}: a ModRM range is within one row or whole rows of mod 3")
        else:
            raise ValueError(f"encoding {text!r}: what is {word!r}?")
    if not opcodes or opcodes[-1] > 0xFF or regs[-1] > 7:
        raise ValueError(f"encoding {text!r}: no opcode, or a number out of range")
    return Encoding(prefix, opcode_map, opcodes, modrm, regs, rms, mods)
