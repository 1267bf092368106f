"""What a meaning does as a stencil, found by running it on a context that takes notes and is never compiled.

Nobody writes down a second time which address an instruction accesses, whether it writes there, which flags it keeps or
how it ends: its meaning says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bt.codegen.abi import FLAT_32, Signature
from bt.codegen.builder import Module
from bt.codegen.value import Value
from bt.engine.translator.stencils.context import NotAStencil, StencilContext
from bt.x86.state import GPR_NAMES

_FLAG_SLOTS = frozenset(("flag_result", "flag_aux"))
# How a value is made of another one that is the same, but for a constant number of bytes.
_STEP = re.compile(
    r"(?P<operation>add|sub|and) i32 (?P<operand>\S+), (?P<amount>-?\d+)"
    r"|(?:trunc|zext) i\d+ (?P<cast>\S+) to i\d+"
    r"|getelementptr i8, ptr (?P<pointer>\S+), .*"
)


@dataclass(frozen=True)
class Access:
    """An access to guest memory: an address made of a general register, or of T where `register` is None."""

    register: int | None
    displacement: int  # bytes
    size: int  # bytes
    write: bool = False


@dataclass
class Effects:
    """What a meaning did."""

    accesses: list[Access] = field(default_factory=list)
    jumps: bool = False  # transfers control, always or on a condition
    goes_on: bool = True  # to the next instruction, always or on a condition
    direct: bool = False  # the target of the transfer is a constant
    calls: bool = False  # the address of the next instruction went to memory
    reads_flags: bool = False  # arithmetic ones, be it only to keep some
    sets_register: bool = False
    faults: set[int] = field(default_factory=set)  # vectors of what it raises itself


class RecordingContext(StencilContext):
    """A stencil that takes notes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.effects = Effects()
        self._made_of: dict[str, str] = {}  # text by the name of the value
        self._known = {self.t.ref: "T"}  # values that mean something, by name
        self._host_pointers: dict[str, int] = {}  # of accesses, by their host pointer

    def emit(self, text: str, ty: str) -> Value:
        value = super().emit(text, ty)
        self._made_of[value.ref] = text
        return value

    def _origin(self, value: Value) -> tuple[str, int]:
        """The value that means something which another one was made of, and how many bytes were added."""
        ref, added = value.ref, 0
        while ref not in self._known and (step := _STEP.fullmatch(self._made_of.get(ref, ""))):
            if (amount := step["amount"]) is not None:
                if step["operation"] == "and" and int(amount) != -1:
                    break
                added += {"add": int(amount), "sub": -int(amount), "and": 0}[step["operation"]]
            ref = step["operand"] or step["cast"] or step["pointer"]
        return self._known.get(ref, ""), added

    def _remember(self, value: Value, what: str) -> Value:
        self._known[value.ref] = what
        return value

    # -- registers and the state --------------------------------------------------------------------------------------

    def reg(self, number: int, width: int = 32) -> Value:
        value = super().reg(number, width)
        return self._remember(value, GPR_NAMES[number]) if width == 32 else value

    def set_reg(self, number: int, value: Value) -> None:
        self.effects.sets_register = True
        super().set_reg(number, value)

    def slot(self, name: str, index: int = 0) -> Value:
        return self._remember(super().slot(name, index), name)

    def load(self, pointer: Value, ty: str | int) -> Value:
        if self._origin(pointer)[0] in _FLAG_SLOTS:
            self.effects.reads_flags = True
        return super().load(pointer, ty)

    # -- memory -------------------------------------------------------------------------------------------------------

    def host_pointer(self, linear: Value, size: int | Value) -> Value:
        pointer = super().host_pointer(linear, size)
        origin, displacement = self._origin(linear)
        register = GPR_NAMES.index(origin) if origin in GPR_NAMES else None
        if not isinstance(size, int) or (register is None and origin != "T"):
            self.interpreter_only()  # the slow path could not work the address out again
        self._host_pointers[pointer.ref] = len(self.effects.accesses)
        self.effects.accesses.append(Access(register, displacement, size))
        return pointer

    def store(self, pointer: Value, value: Value) -> None:
        if (place := self._host_pointers.get(pointer.ref)) is not None:
            self.effects.accesses[place] = replace(self.effects.accesses[place], write=True)
            if self._origin(value)[0] == "NEXT":
                self.effects.calls = True
        super().store(pointer, value)

    # -- control ------------------------------------------------------------------------------------------------------

    def fault(self, vector: int | Value, error: Value | int | None = None) -> None:
        assert isinstance(vector, int), "stencils raise what is known when they are made"
        self.effects.faults.add(vector)
        super().fault(vector, error)

    def hole(self, name: str, width: int = 32) -> Value:
        return self._remember(super().hole(name, width), name)

    def jump(self, target: Value) -> None:
        self.effects.jumps = True
        self.effects.direct = self._origin(target)[0] == "TARGET"
        super().jump(target)

    def call(self, target: Signature, *args: Value | int) -> Value:
        """A runtime function needs registers that a stencil has not got."""
        self.interpreter_only()


def record(emit: Callable[[RecordingContext], None], *, operand_size: int, condition_code: int) -> Effects | None:
    """What `emit` does; None if only the interpreter can do it."""
    b = RecordingContext(
        Module("recording"), FLAT_32.signature("recording"), operand_size=operand_size, condition_code=condition_code
    )
    try:
        emit(b)
    except NotAStencil:
        return None
    b.effects.goes_on = not b.terminated
    # what never comes to an end of its own is left to the interpreter for good
    return b.effects if b.effects.goes_on or b.effects.jumps else None
