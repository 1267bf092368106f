"""The assembler of the guest images: labels, sections, macros and includes around the checked encoder.

    name:                 label; `.name:` is local to the label before it
    name = expression     constant
    .byte .word .long     integers of 1, 2, 4 bytes; .byte also takes "text"
    .align N              up to the next multiple of N (NOPs in text, zeros elsewhere)
    .space N [, VALUE]    N bytes
    .section text|data|bss
    .bits 16|32|64        code size of the instructions that follow
    .include "file"       looked up along the include path, once per program
    .macro name a, b      text up to .endm; \\a stands for an argument, \\@ for a number unique to the expansion
    ; comment

Sections follow each other in the order text, data, bss, each on a page of its own. Branches are short where they
reach. Needs keystone, which only rebuilding the images and the tests do; the built images are packaged.
"""

import re
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from guest_images.encoder import Encoder, has_short_form
from guest_images.operands import AssemblyError, FarPointer, Operand, evaluate, parse, split
from guest_images.source_text import SECTIONS, Reader, Statement, list_items

PAGE: Final = 4096
INTEGER_SIZES: Final = {".byte": 1, ".word": 2, ".long": 4}
MAX_PASSES: Final = 50
CONSTANT: Final = re.compile(r"([A-Za-z_]\w*)\s*=\s*(.+)")
STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
PREFIXES: Final = ("rep", "repe", "repz", "repne", "repnz", "lock")
FAR_MNEMONICS: Final = ("jmp", "call", "ljmp", "lcall")
NOP: Final = 0x90


@dataclass(frozen=True)
class Program:
    """An assembled program: initialised bytes from `origin`, zeros up to `end`, and the value of every symbol."""

    origin: int
    image: bytes
    end: int
    symbols: Mapping[str, int]


def assemble(text: str, bits: int, origin: int) -> bytes:
    """Machine code of `text` for code of `bits` (16, 32, 64) at linear address `origin`.

    Raises AssemblyError naming the line, and for forms that keystone cannot be trusted with says what to write.
    """
    return assemble_program(text, bits, origin, name="line").image


def assemble_program(
    text: str, bits: int, origin: int, include_path: Sequence[Path] = (), name: str = "source"
) -> Program:
    """Assemble a whole program; `name` is what errors call the main file.

    Passes repeat until the symbols settle. Branches start short and only ever grow, so they do settle.
    """
    statements = list(Reader(include_path).read(text, name))
    encoders, near = _Encoders(bits), set[int]()
    current = _Pass(encoders, dict.fromkeys(SECTIONS, origin), _Provisional(origin), near)
    current.run(statements)
    for _ in range(MAX_PASSES):
        before, current = current, _Pass(encoders, current.next_bases(origin), current.symbols, near)
        current.run(statements)
        if current.symbols == before.symbols and current.next_bases(origin) == before.next_bases(origin):
            return Program(origin, current.image(origin), current.end(), current.symbols)
    raise AssemblyError(f"{name}: constants and addresses depend on each other in a circle; break it with numbers")


class _Provisional(dict[str, int]):
    """Symbols before the first pass: every name has a value, far away so that nothing relies on it being small."""

    def __init__(self, origin: int) -> None:
        super().__init__()
        self._value = origin + 0x1000000

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> int:
        return self._value


class _Encoders:
    """The encoders of a program, by code size; `default` is the one it begins with."""

    def __init__(self, bits: int) -> None:
        self.default = Encoder(bits)
        self._by_bits = {bits: self.default}

    def of(self, bits: int) -> Encoder:
        if bits not in self._by_bits:
            self._by_bits[bits] = Encoder(bits)
        return self._by_bits[bits]


class _Pass:
    """One pass over the program, with the section addresses, symbols and near branches found by the passes before."""

    def __init__(self, encoders: _Encoders, bases: Mapping[str, int], known: dict[str, int], near: set[int]) -> None:
        self.symbols: dict[str, int] = {}
        self._encoders = encoders
        self._encoder = encoders.default
        self._bases = bases
        self._known = known
        self._first = isinstance(known, _Provisional)
        self._near = near
        self._code = {section: bytearray() for section in SECTIONS}

    def run(self, statements: Sequence[Statement]) -> None:
        for index, statement in enumerate(statements):
            try:
                self._place(index, statement)
            except AssemblyError as error:
                raise AssemblyError(f"{statement.where}: {error}") from None

    def next_bases(self, origin: int) -> dict[str, int]:
        """Where the sections go: one after the other, each on a fresh page."""
        bases, address = {}, origin
        for section, code in self._code.items():
            bases[section] = address = -(-address // PAGE) * PAGE if address != origin else origin
            address += len(code)
        return bases

    def image(self, origin: int) -> bytes:
        """The initialised sections as they stand in memory."""
        image = bytearray()
        for section in ("text", "data"):
            if self._code[section]:
                image += bytes(self._bases[section] - origin - len(image)) + self._code[section]
        return bytes(image)

    def end(self) -> int:
        """The address after the last byte of the last section in use."""
        return max(self._bases[section] + len(code) for section, code in self._code.items())

    def _place(self, index: int, statement: Statement) -> None:
        """Append one statement's bytes to its section, or enter its symbol."""
        text, section, scope = statement.text, statement.section, statement.scope
        here = self._bases[section] + len(self._code[section])
        names = ChainMap({"_here_": here}, self.symbols, self._known)
        if text.endswith(":") and " " not in text:
            self._define(text[:-1], here)
        elif match := CONSTANT.fullmatch(text):
            self._define(match[1], evaluate(match[2], names, scope))
        elif text.startswith("."):
            self._code[section] += self._directive(text, section, here, names, scope)
        else:
            self._code[section] += self._instruction(index, text, here, names, scope)

    def _define(self, name: str, value: int) -> None:
        if name in self.symbols:
            raise AssemblyError(f"symbol {name!r} is defined twice")
        self.symbols[name] = value

    def _directive(self, text: str, section: str, here: int, names: Mapping[str, int], scope: str) -> bytes:
        name, _, rest = text.partition(" ")
        if name in INTEGER_SIZES:
            return b"".join(self._integer(item, INTEGER_SIZES[name], names, scope) for item in list_items(rest))
        values = [evaluate(part, names, scope) for part in split(rest)]
        if name == ".bits" and values in ([16], [32], [64]):
            self._encoder = self._encoders.of(values[0])
            return b""
        if name == ".align" and len(values) == 1:
            return bytes([NOP if section == "text" else 0]) * (-here % values[0])
        if name == ".space" and len(values) in (1, 2) and values[0] >= 0:
            return bytes([values[1] if len(values) == 2 else 0]) * values[0]
        raise AssemblyError(f"{text!r}: directives are .byte .word .long .align .space .bits .section .include .macro")

    def _integer(self, item: str, size: int, names: Mapping[str, int], scope: str) -> bytes:
        if match := STRING.fullmatch(item):
            return match[1].encode("ascii").decode("unicode_escape").encode("latin-1")
        if self._first:
            return bytes(size)  # provisional values need not fit
        value = evaluate(item, names, scope)
        limit = 1 << 8 * size
        if not -limit // 2 <= value < limit:
            raise AssemblyError(f"{item} = {value:#x} does not fit {size} bytes")
        return (value % limit).to_bytes(size, "little")

    def _instruction(self, index: int, text: str, here: int, names: Mapping[str, int], scope: str) -> bytes:
        mnemonic, rest = _split_mnemonic(text)
        short = False if index in self._near else None
        for hint, value in (("short ", True), ("near ", False)):
            if rest.startswith(hint):
                rest, short = rest.removeprefix(hint), value
        operands: list[Operand] = [parse(part, names, scope) for part in split(rest)]
        if any(isinstance(operand, FarPointer) for operand in operands) and mnemonic not in FAR_MNEMONICS:
            raise AssemblyError(f"{text!r}: selector:offset goes with jmp and call only")
        flexible = short is None and has_short_form(mnemonic, operands)
        try:
            code = self._encoder.encode(mnemonic, operands, here, short)
        except AssemblyError:
            if self._first:
                return b""  # a provisional value may not fit (`mov al, DEFINED_BELOW`): the next pass has the real one
            raise
        if flexible and self._first:
            return code[:2]
        if flexible and len(code) > 2:
            self._near.add(index)
        return code


def _split_mnemonic(text: str) -> tuple[str, str]:
    """`"lock xadd [ebx], eax"` -> (`"lock xadd"`, `"[ebx], eax"`)."""
    words = []
    while True:
        word, _, text = text.partition(" ")
        words.append(word.lower())
        if word.lower() not in PREFIXES:
            return " ".join(words), text.strip()
