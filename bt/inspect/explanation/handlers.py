"""What the interpreter runs for a form: its handlers, read from the IR that they are compiled from."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bt.codegen.builder import Module
from bt.engine.identity.long.signatures import COUNT
from bt.engine.interp.handlers import emit_handler
from bt.engine.interp.variants import Variant, variant_for
from bt.engine.library.library import Library
from bt.engine.structures import LONG_VARIANTS, VARIANTS
from bt.inspect.explanation.diary import runtime_names
from bt.x86 import state
from bt.x86.exits import ExitReason
from bt.x86.opcodes import FORMS
from bt.x86.vectors import vector_name

OPERAND_LIMIT = "limit"  # stands for #SS or #GP, by the segment of the memory operand
_CALL = re.compile(r"call +\w+ @(\w+)\(")
_STORE = re.compile(
    rf"(%\w+) = getelementptr i8, ptr %a1, i64 (?:(?P<fault>{state.offset('fault_vector')})"
    rf"|(?P<exit>{state.offset('exit_reason')}))\n *store i64 (?P<value>\S+), ptr \1\b"
)
_PREFIX = "interp_"  # of handlers and continuations


@dataclass(frozen=True)
class Handler:
    """One handler of the interpreter."""

    name: str
    calls: tuple[str, ...] = ()  # runtime functions it may call
    faults: tuple[
        str, ...
    ] = ()  # exceptions it raises itself, OPERAND_LIMIT among them; what it calls may raise others
    exits: tuple[str, ...] = ()  # why it may leave to Python


class Handlers:
    """The handlers of a library by host address."""

    def __init__(self, library: Library) -> None:
        self._variants: dict[int, Variant] = {}
        tables = (True, library.long_handlers(), LONG_VARIANTS), (False, library.sections["handlers"], VARIANTS)
        for long, table, each in tables:
            for place, address in reversed(list(enumerate(table.cast("Q").tolist()))):
                self._variants[address] = variant_for(FORMS[place // each], place % each, long=long)
        self._labels = runtime_names(library)
        self._found: dict[int, Handler] = {}

    def at(self, address: int) -> Handler:
        """The handler at a host address."""
        if address not in self._found:
            self._found[address] = self._read(address)
        return self._found[address]

    def is_for_units(self, address: int) -> bool:
        """Whether it is what counts blocks of 64-bit code, or the entry of a unit, in front of the real handler."""
        return address not in self._variants and self._labels.get(address, COUNT.name) == COUNT.name

    def _read(self, address: int) -> Handler:
        variant = self._variants.get(address)
        if variant is None:  # a continuation that stands in for a handler
            return Handler(self._labels[address].removeprefix(_PREFIX))
        text = _ir(variant)
        faults: dict[str, None] = {}  # in order of appearance
        exits: dict[str, None] = {}
        for match in _STORE.finditer(text):
            value = int(match["value"]) if match["value"].isdigit() else None
            if match["exit"]:
                exits[ExitReason(value or 0).name] = None
            else:
                faults[OPERAND_LIMIT if value is None else vector_name(value)] = None
        calls = dict.fromkeys(name for name in _CALL.findall(text) if not name.startswith(_PREFIX))
        return Handler(variant.name, tuple(calls), tuple(faults), tuple(exits))


def _ir(variant: Variant) -> str:
    module = Module("handler")
    emit_handler(module, variant)
    return module.text()
