"""Reads assembler source: comments off, includes in, macros expanded, each line with its section and label scope."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from guest_images.operands import AssemblyError, local_name, split

SECTIONS: Final = ("text", "data", "bss")
LABEL: Final = re.compile(r"(\.?[A-Za-z_]\w*):\s*(.*)")
QUOTED: Final = r""""(?:[^"\\]|\\.)*"|'[^']*'"""


@dataclass(frozen=True)
class Statement:
    """One label, constant, directive or instruction, with the section and the global label it stands under."""

    where: str
    text: str
    section: str
    scope: str


def list_items(text: str) -> list[str]:
    """The comma-separated items of a directive or macro call; commas inside quotes do not separate."""
    return [item.strip() for item in re.findall(rf"(?:{QUOTED}|[^,])+", text)]


def _without_comment(line: str) -> str:
    match = re.match(rf"(?:{QUOTED}|[^;])*", line)
    assert match is not None
    return " ".join(re.findall(rf"{QUOTED}|\S+", match[0]))


class Reader:
    """Turns source text into statements, looking up includes along `include_path`, each file once."""

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
            yield from self._statements(self._expand(where, word, list_items(rest)))
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
