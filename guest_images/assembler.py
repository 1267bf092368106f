"""The assembler of the guest images: labels, sections, macros and includes around the checked encoder.

    name:                 label; `.name:` is local to the label before it
    name = expression     constant
    .byte .word .long     integers of 1, 2, 4 bytes; .byte also takes "text"
    .align N              up to the next multiple of N (NOPs in text, zeros elsewhere)
    .space N [, VALUE]    N bytes
    .section text|data|bss
    .include "file"       looked up along the include path, once per program
    .macro name a, b      text up to .endm; \\a stands for an argument, \\@ for a number unique to the expansion
    ; comment

Sections follow each other in the order text, data, bss, each on a page of its own. Branches are short where they
reach. Needs keystone, which only rebuilding the images and the tests do; the built images are packaged.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from guest_images.encoder import Encoder
from guest_images.operands import AssemblyError, FarPointer, Operand, evaluate, local_name, parse, split

PAGE: Final = 4096
SECTIONS: Final = ("text", "data", "bss")
INTEGER_SIZES: Final = {".byte": 1, ".word": 2, ".long": 4}
MAX_PASSES: Final = 30
LABEL = re.compile(r"(\.?[A-Za-z_]\w*):\s*(.*)")
CONSTANT = re.compile(r"([A-Za-z_]\w*)\s*=\s*(.+)")
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
NOP: Final = 0x90


@dataclass(frozen=True)
class Program:
    """An assembled program: initialised bytes from `origin`, zeros up to `end`, and the address of every label."""

    origin: int
    image: bytes
    end: int
    symbols: Mapping[str, int]


@dataclass(frozen=True)
class Statement:
    """One directive or instruction, with the section and the global label it stands under."""

    where: str
    text: str
    section: str
    scope: str


@dataclass
class Layout:
    """State of one pass: where each section stands and what the symbols were in this and the previous pass."""

    bases: Mapping[str, int]
    known: dict[str, int]
    symbols: dict[str, int] = field(default_factory=dict)
    code: dict[str, bytearray] = field(default_factory=lambda: {name: bytearray() for name in SECTIONS})

    def here(self, section: str) -> int:
        return self.bases[section] + len(self.code[section])


def assemble(text: str, bits: int, origin: int) -> bytes:
    """Machine code of `text` for code of `bits` (16, 32, 64) at linear address `origin`.

    Raises AssemblyError naming the line, and for forms that keystone cannot be trusted with says what to write.
    """
    return assemble_program(text, bits, origin).image


def assemble_program(
    text: str, bits: int, origin: int, include_path: Sequence[Path] = (), name: str = "line"
) -> Program:
    """Assemble a whole program; `name` is what errors call the main file."""
    statements = list(_Reader(include_path).read(text, name))
    encoder = Encoder(bits)
    bases = dict.fromkeys(SECTIONS, origin)
    # Until a label's address is known it is assumed out of a short branch's reach.
    layout = Layout(bases, {})
    for last in range(MAX_PASSES):
        layout = _run_pass(statements, encoder, Layout(bases, layout.symbols), complete=last > 0)
        ends = {section: layout.here(section) for section in SECTIONS}
        new_bases, address = {}, origin
        for section in SECTIONS:
            new_bases[section] = address
            size = len(layout.code[section])
            address += size if section == SECTIONS[-1] else 0
            if size and any(layout.code[later] for later in SECTIONS[SECTIONS.index(section) + 1 :]):
                address += -(-size // PAGE) * PAGE
        if last and layout.symbols == layout.known and new_bases == bases:
            break
        bases = new_bases
    else:
        raise AssemblyError(f"{name}: sizes of branches do not settle in {MAX_PASSES} passes; give one `near`")
    image = bytearray()
    for section in ("text", "data"):
        if layout.code[section]:
            image += bytes(bases[section] - origin - len(image)) + layout.code[section]
    return Program(origin, bytes(image), max(ends.values()), dict(layout.symbols))


def _run_pass(statements: Iterable[Statement], encoder: Encoder, layout: Layout, complete: bool) -> Layout:
    for statement in statements:
        try:
            _place(statement, encoder, layout, complete)
        except AssemblyError as error:
            raise AssemblyError(f"{statement.where}: {error}") from None
    return layout


def _place(statement: Statement, encoder: Encoder, layout: Layout, complete: bool) -> None:
    """Append one statement's bytes to its section, or enter its symbol."""
    text, section = statement.text, statement.section
    code, here = layout.code[section], layout.here(section)
    symbols = _Symbols(layout, here, provisional=None if complete else here + 0x1000000)
    if text.endswith(":") and " " not in text:
        _define(layout, text[:-1], here)
    elif match := CONSTANT.fullmatch(text):
        _define(layout, match[1], evaluate(match[2], symbols, statement.scope))
    elif text.startswith("."):
        code += _directive(text, section, here, symbols, statement.scope, complete)
    else:
        try:
            code += _instruction(text, encoder, here, symbols, statement.scope)
        except AssemblyError:
            # A provisional value may not fit (`mov al, DEFINED_BELOW`): the next pass sees the real one.
            if complete:
                raise


def _define(layout: Layout, name: str, value: int) -> None:
    if name in layout.symbols:
        raise AssemblyError(f"symbol {name!r} is defined twice")
    layout.symbols[name] = value


class _Symbols(dict[str, int]):
    """Symbols as seen from one address; in the first pass unknown ones have a provisional value far away."""

    def __init__(self, layout: Layout, here: int, provisional: int | None) -> None:
        super().__init__(layout.known | layout.symbols | {"_here_": here})
        self.provisional = provisional

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or self.provisional is not None

    def __missing__(self, name: str) -> int:
        assert self.provisional is not None
        return self.provisional


def _directive(text: str, section: str, here: int, symbols: Mapping[str, int], scope: str, complete: bool) -> bytes:
    name, _, rest = text.partition(" ")
    if name in INTEGER_SIZES:
        return b"".join(_integers(part, INTEGER_SIZES[name], symbols, scope, complete) for part in _items(rest))
    values = [evaluate(part, symbols, scope) for part in split(rest)]
    if name == ".align" and len(values) == 1:
        return bytes([NOP if section == "text" else 0]) * (-here % values[0])
    if name == ".space" and len(values) in (1, 2) and values[0] >= 0:
        return bytes([values[1] if len(values) == 2 else 0]) * values[0]
    raise AssemblyError(f"{text!r}: directives are .byte .word .long .align .space .section .include .macro")


def _items(text: str) -> list[str]:
    return [item.strip() for item in re.findall(r'(?:"(?:[^"\\]|\\.)*"|\'[^\']*\'|[^,])+', text)]


def _integers(item: str, size: int, symbols: Mapping[str, int], scope: str, complete: bool) -> bytes:
    if match := STRING.fullmatch(item):
        return match[1].encode("ascii").decode("unicode_escape").encode("latin-1")
    if not complete:
        return bytes(size)  # provisional addresses would not fit
    value = evaluate(item, symbols, scope)
    limit = 1 << 8 * size
    if not -limit // 2 <= value < limit:
        raise AssemblyError(f"{item} = {value:#x} does not fit {size} bytes")
    return (value % limit).to_bytes(size, "little")


def _instruction(text: str, encoder: Encoder, here: int, symbols: Mapping[str, int], scope: str) -> bytes:
    words, rest = [], text
    while True:
        word, _, rest = rest.partition(" ")
        words.append(word)
        rest = rest.strip()
        if word.lower() not in ("rep", "repe", "repz", "repne", "repnz", "lock"):
            break
    short = None
    for hint, value in (("short ", True), ("near ", False)):
        if rest.startswith(hint):
            rest, short = rest.removeprefix(hint), value
    operands: list[Operand] = [parse(part, symbols, scope) for part in split(rest)]
    far = any(isinstance(operand, FarPointer) for operand in operands)
    if far and words[-1] not in ("jmp", "call", "ljmp", "lcall"):
        raise AssemblyError(f"{text!r}: selector:offset goes with jmp and call only")
    return encoder.encode(" ".join(words), operands, here, short)


class _Reader:
    """Turns source text into statements: comments off, includes in, macros expanded."""

    def __init__(self, include_path: Sequence[Path]) -> None:
        self._include_path = include_path
        self._included: set[Path] = set()
        self._macros: dict[str, tuple[list[str], list[tuple[str, str]]]] = {}
        self._expansions = 0
        self._section = SECTIONS[0]
        self._scope = ""

    def read(self, text: str, name: str) -> Iterator[Statement]:
        lines = ((f"{name}:{number}", line) for number, line in enumerate(text.splitlines(), 1))
        yield from self._statements(lines)

    def _statements(self, lines: Iterator[tuple[str, str]]) -> Iterator[Statement]:
        for where, line in lines:
            text = _without_comment(line)
            while match := LABEL.fullmatch(text):
                label, text = match[1], match[2]
                if label.startswith("."):
                    label = local_name(self._scope, label[1:])
                else:
                    self._scope = label
                yield Statement(where, f"{label}:", self._section, self._scope)
            if text:
                try:
                    yield from self._statement(where, text, lines)
                except AssemblyError as error:
                    raise AssemblyError(f"{where}: {error}") from None

    def _statement(self, where: str, text: str, lines: Iterator[tuple[str, str]]) -> Iterator[Statement]:
        word, _, rest = text.partition(" ")
        if word == ".include":
            path = self._find(rest.strip().strip('"'))
            if path not in self._included:
                self._included.add(path)
                yield from self.read(path.read_text(encoding="ascii"), path.name)
        elif word == ".section":
            if rest.strip() not in SECTIONS:
                raise AssemblyError(f"section {rest!r}: sections are {' '.join(SECTIONS)}")
            self._section = rest.strip()
        elif word == ".macro":
            self._define_macro(rest, lines)
        elif word in self._macros:
            yield from self._statements(self._expand(where, word, _items(rest)))
        else:
            yield Statement(where, text, self._section, self._scope)

    def _find(self, name: str) -> Path:
        for folder in self._include_path:
            if (folder / name).is_file():
                return folder / name
        folders = ", ".join(map(str, self._include_path)) or "any folder"
        raise AssemblyError(f"include file {name!r} not found in {folders}")

    def _define_macro(self, header: str, lines: Iterator[tuple[str, str]]) -> None:
        name, _, parameters = header.strip().partition(" ")
        body: list[tuple[str, str]] = []
        for where, line in lines:
            if _without_comment(line) == ".endm":
                self._macros[name] = (split(parameters), body)
                return
            body.append((where, line))
        raise AssemblyError(f"macro {name!r} has no .endm")

    def _expand(self, where: str, name: str, arguments: list[str]) -> Iterator[tuple[str, str]]:
        parameters, body = self._macros[name]
        if len(arguments) != len(parameters):
            raise AssemblyError(f"macro {name} takes {len(parameters)} arguments, not {len(arguments)}")
        self._expansions += 1
        values = {"@": str(self._expansions), **dict(zip(parameters, arguments, strict=True))}
        for inner, line in body:
            expanded = re.sub(r"\\(@|\w+)", lambda match: values.get(match[1], match[0]), line)
            yield f"{where} ({name}, {inner})", expanded


def _without_comment(line: str) -> str:
    match = re.match(r"""((?:"(?:[^"\\]|\\.)*"|'[^']*'|[^;])*)""", line)
    assert match is not None
    return " ".join(re.findall(r""""(?:[^"\\]|\\.)*"|'[^']*'|\S+""", match[1].strip()))
