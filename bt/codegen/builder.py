"""The IR builder: Python expressions in, LLVM IR text out.

Everything bt runs natively is written once, in Python, against this builder: values overload the operators, control
flow is `with b.If(...)`, and Python itself is the macro language (a Python `if` decides when code is *made*, `b.If`
when it *runs*). Text is printed straight away: about 15 times quicker than building llvmlite.ir objects (DESIGN 9).

Widths are bits. Arithmetic is modulo 2**width; `>>` and the named comparisons say whether they are signed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bt.codegen.abi import Signature
from bt.codegen.value import PTR, Value, int_type

LIKELY = ", !prof !0"
UNLIKELY = ", !prof !1"

# Every module ends with this: the branch weights above, the ranges of holes, the attributes of functions.
MODULE_EPILOGUE = """
!0 = !{!"branch_weights", i32 1000000, i32 1}
!1 = !{!"branch_weights", i32 1, i32 1000000}
!2 = !{i64 -2147483648, i64 2147483648}
!3 = !{i64 0, i64 4294967296}
!4 = !{i64 -1, i64 -1}
attributes #0 = { nounwind noimplicitfloat optsize "frame-pointer"="none" "no-jump-tables"="true" "no-builtins" }
attributes #1 = { nounwind noimplicitfloat "frame-pointer"="none" "no-jump-tables"="true" "no-builtins" }
"""


class Local:
    """A mutable variable (an alloca that LLVM turns into registers)."""

    def __init__(self, b: Builder, ty: str) -> None:
        self.b = b
        self.ty = ty
        self.ref = b.fresh("%v")
        b.allocas.append(f"  {self.ref} = alloca {ty}")

    def get(self) -> Value:
        return self.b.emit(f"load {self.ty}, ptr {self.ref}", self.ty)

    def set(self, value: Value | int) -> None:
        value = self.b.coerce(value, self.ty)
        self.b.line(f"store {self.ty} {value.ref}, ptr {self.ref}")


@dataclass
class Loop:
    """Handle of a running `with b.Loop()`: leave it or start the next round from anywhere inside."""

    b: Builder
    head: str
    end: str

    def break_if(self, condition: Value) -> None:
        after = self.b.fresh("L")
        self.b.line(f"br i1 {condition.ref}, label %{self.end}, label %{after}")
        self.b.label(after)

    def break_(self) -> None:
        self.b.terminate(f"br label %{self.end}")

    def continue_(self) -> None:
        self.b.terminate(f"br label %{self.head}")


@dataclass
class Builder:
    """Builds one function; several builders share a `Module`."""

    module: Module
    signature: Signature
    attributes: str = "#0"
    parameter_attributes: dict[int, str] = field(default_factory=dict)  # by place, e.g. a range
    lines: list[str] = field(default_factory=list)
    allocas: list[str] = field(default_factory=list)
    arguments: list[Value] = field(default_factory=list)
    _counter: int = 0
    _dead: bool = False
    _else: tuple[str, str] | None = None
    _cold: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.arguments = [Value(self, f"%a{i}", ty) for i, ty in enumerate(self.signature.parameters)]

    # -- text -----------------------------------------------------------------------------------------------------

    def fresh(self, prefix: str) -> str:
        self._counter += 1
        return f"{prefix}{self._counter}"

    def line(self, text: str) -> None:
        if not self._dead:
            self.lines.append("  " + text)

    def emit(self, text: str, ty: str) -> Value:
        ref = self.fresh("%t")
        self.line(f"{ref} = {text}")
        return Value(self, ref, ty)

    def label(self, name: str) -> None:
        if not self._dead:
            self.lines.append(f"  br label %{name}" if not self._ended() else "")
        self.lines.append(f"{name}:")
        self._dead = False

    def _ended(self) -> bool:
        last = self.lines[-1].lstrip() if self.lines else ""
        return last.startswith(("br ", "ret ", "unreachable", "switch "))

    def terminate(self, text: str) -> None:
        """End the basic block; what is emitted until the next label can never run and is dropped."""
        self.line(text)
        self._dead = True

    @property
    def terminated(self) -> bool:
        return self._dead

    def coerce(self, value: Value | int, ty: str) -> Value:
        if isinstance(value, Value):
            assert value.ty == ty, f"{value.ty} given where {ty} is needed in {self.signature.name}"
            return value
        return self.const(value, ty)

    def const(self, value: int, ty: str | int) -> Value:
        if isinstance(ty, int):
            ty = int_type(ty)
        if ty == PTR:
            assert value == 0
            return Value(self, "null", PTR)
        width = int(ty[1:])
        value &= (1 << width) - 1
        if width > 1 and value >> (width - 1):
            value -= 1 << width
        return Value(self, str(value), ty)

    # -- data -----------------------------------------------------------------------------------------------------

    def local(self, ty: str | int, initial: Value | int | None = None) -> Local:
        variable = Local(self, int_type(ty) if isinstance(ty, int) else ty)
        if initial is not None:
            variable.set(initial)
        return variable

    def load(self, pointer: Value, ty: str | int) -> Value:
        ty = int_type(ty) if isinstance(ty, int) else ty
        return self.emit(f"load {ty}, ptr {pointer.ref}, align 1", ty)

    def store(self, pointer: Value, value: Value) -> None:
        self.line(f"store {value.ty} {value.ref}, ptr {pointer.ref}, align 1")

    def select(self, condition: Value, a: Value | int, b: Value | int) -> Value:
        if not isinstance(a, Value):
            assert isinstance(b, Value)
            a = self.coerce(a, b.ty)
        b = self.coerce(b, a.ty)
        return self.emit(f"select i1 {condition.ref}, {a.ty} {a.ref}, {a.ty} {b.ref}", a.ty)

    def intrinsic(self, name: str, ty: str, *args: Value | str) -> Value:
        """Call `@llvm.NAME.TY` (ctpop, ctlz, cttz, fshl, fshr, bswap, umin...)."""
        types = [a.ty if isinstance(a, Value) else a.split()[0] for a in args]
        self.module.declarations.add(f"declare {ty} @llvm.{name}.{ty}({', '.join(types)})")
        text = ", ".join(f"{a.ty} {a.ref}" if isinstance(a, Value) else a for a in args)
        return self.emit(f"call {ty} @llvm.{name}.{ty}({text})", ty)

    def cycles(self) -> Value:
        """The host's time stamp counter, i64."""
        self.module.declarations.add("declare i64 @llvm.readcyclecounter()")
        return self.emit("call i64 @llvm.readcyclecounter()", "i64")

    def asm(self, template: str, constraints: str, result: str, *args: Value) -> Value:
        text = ", ".join(f"{a.ty} {a.ref}" for a in args)
        call = f'call {result} asm sideeffect "{template}", "{constraints}"({text})'
        if result == "void":
            self.line(call)
            return Value(self, "poison", "i64")
        return self.emit(call, result)

    # -- control --------------------------------------------------------------------------------------------------

    @contextmanager
    def If(self, condition: Value, weight: str = "") -> Iterator[None]:  # noqa: N802  # reads as the keyword it stands for
        then, end = self.fresh("T"), self.fresh("E")
        self.line(f"br i1 {condition.ref}, label %{then}, label %{end}{weight}")
        dead_before = self._dead
        self.lines.append(f"{then}:")
        self._dead = dead_before
        yield
        self._join(end)

    @contextmanager
    def IfElse(self, condition: Value, weight: str = "") -> Iterator[Branches]:  # noqa: N802  # as If
        """`with b.IfElse(c) as arm:` then `with arm.then(): ...` and `with arm.otherwise(): ...`."""
        branches = Branches(self, self.fresh("T"), self.fresh("F"), self.fresh("E"))
        self.line(f"br i1 {condition.ref}, label %{branches.true}, label %{branches.false}{weight}")
        branches.dead = self._dead
        self._dead = True
        yield branches
        self.lines.append(f"{branches.end}:")
        self._dead = not branches.reaches_end
        if self._dead:
            self.lines.append("  unreachable")

    def _join(self, end: str) -> None:
        if not self._dead:
            self.lines.append(f"  br label %{end}")
        self.lines.append(f"{end}:")
        self._dead = False

    @contextmanager
    def Likely(self, condition: Value) -> Iterator[None]:  # noqa: N802  # as If
        with self.If(condition, LIKELY):
            yield

    @contextmanager
    def Unlikely(self, condition: Value) -> Iterator[None]:  # noqa: N802  # as If
        """The body is placed after everything else of the function, so that the usual path falls through."""
        cold, end = self.fresh("C"), self.fresh("E")
        self.line(f"br i1 {condition.ref}, label %{cold}, label %{end}{UNLIKELY}")
        hot, self.lines = self.lines, [f"{cold}:"]
        self._dead = False
        yield
        if not self._dead:
            self.lines.append(f"  br label %{end}")
        self._cold += self.lines
        self.lines = hot
        self.lines.append(f"{end}:")
        self._dead = False

    @contextmanager
    def Loop(self) -> Iterator[Loop]:  # noqa: N802  # as If
        loop = Loop(self, self.fresh("H"), self.fresh("X"))
        self.label(loop.head)
        yield loop
        if not self._dead:
            self.lines.append(f"  br label %{loop.head}")
        self.lines.append(f"{loop.end}:")
        self._dead = False

    @contextmanager
    def Range(self, end: Value | int, start: Value | int = 0, *, step: int = 1) -> Iterator[Value]:  # noqa: N802  # as If
        """Once for each of start, start + step... below `end`, which must not be within `step` of the largest number.

        The index is as wide as `end`, 64 bits for an int. Compared without signs.
        """
        last = self.const(end, 64) if isinstance(end, int) else end
        index = self.local(last.ty, start)
        with self.Loop() as loop:
            at = index.get()
            loop.break_if(at.uge(last))
            yield at
            index.set(at + step)

    @contextmanager
    def EachBit(self, bits: Value) -> Iterator[Value]:  # noqa: N802  # as If
        """Once for each bit that is set, from the lowest: its number, as wide as they are."""
        left = self.local(bits.ty, bits)
        with self.Loop() as loop:
            now = left.get()
            loop.break_if(now == 0)
            left.set(now & (now - 1))
            yield self.intrinsic("cttz", now.ty, now, "i1 true")

    @contextmanager
    def Switch(self, value: Value) -> Iterator[Cases]:  # noqa: N802  # as If
        """`with b.Switch(v) as s:` then `with s.case(1, 2): ...`; without a matching case nothing runs."""
        cases = Cases(self, value, self.fresh("E"))
        hot, self.lines = self.lines, []
        dead, self._dead = self._dead, True
        yield cases
        body, self.lines = self.lines, hot
        self._dead = dead
        table = " ".join(f"{value.ty} {self.const(k, value.ty).ref}, label %{name}" for k, name in cases.table)
        self.terminate(f"switch {value.ty} {value.ref}, label %{cases.default or cases.end} [{table}]")
        self.lines += body
        self.lines.append(f"{cases.end}:")
        self._dead = False

    # -- calls ----------------------------------------------------------------------------------------------------

    def call(self, target: Signature, *args: Value | int) -> Value:
        """Call a native function by its signature; the result is meaningless for "void"."""
        values = [self.coerce(a, ty) for a, ty in zip(args, target.parameters, strict=True)]
        self.module.need(target)
        return self._call(f"@{target.name}", target, values)

    def call_pointer(self, pointer: Value, target: Signature, *args: Value | int) -> Value:
        values = [self.coerce(a, ty) for a, ty in zip(args, target.parameters, strict=True)]
        return self._call(pointer.ref, target, values)

    def _call(self, callee: str, target: Signature, values: Sequence[Value]) -> Value:
        text = f"call {target.convention} {target.result} {callee}({', '.join(f'{v.ty} {v.ref}' for v in values)})"
        if target.result == "void":
            self.line(text)
            return Value(self, "poison", "i64")
        return self.emit(text, target.result)

    def tail_call(self, callee: Value | Signature, target: Signature, args: Sequence[Value | str]) -> None:
        """`musttail` call: the prototype must be this function's own; ends the block."""
        if isinstance(callee, Signature):
            self.module.need(callee)
            name = f"@{callee.name}"
        else:
            name = callee.ref
        text = ", ".join(
            f"{ty} {a if isinstance(a, str) else a.ref}" for a, ty in zip(args, target.parameters, strict=True)
        )
        self.line(f"musttail call {target.convention} {target.result} {name}({text})")
        self.terminate("ret void")

    def ret(self, value: Value | int | None = None) -> None:
        if self.signature.result == "void":
            self.terminate("ret void")
        else:
            assert value is not None
            value = self.coerce(value, self.signature.result)
            self.terminate(f"ret {value.ty} {value.ref}")

    def finish(self) -> None:
        """Print the function into its module. Falling off the end returns void or 0."""
        if not self._dead:
            self.ret(None if self.signature.result == "void" else 0)
        s = self.signature
        extra = self.parameter_attributes
        params = ", ".join(f"{a.ty} {extra.get(place, '')} {a.ref}" for place, a in enumerate(self.arguments))
        text = [f"define {s.convention} {s.result} @{s.name}({params}) {self.attributes} {{", "entry:"]
        self.module.defined[s.name] = "\n".join([*text, *self.allocas, *self.lines, *self._cold, "}"])


@dataclass
class Branches:
    """The two arms of `IfElse`."""

    b: Builder
    true: str
    false: str
    end: str
    dead: bool = False
    reaches_end: bool = False

    @contextmanager
    def then(self) -> Iterator[None]:
        with self._arm(self.true):
            yield

    @contextmanager
    def otherwise(self) -> Iterator[None]:
        with self._arm(self.false):
            yield

    @contextmanager
    def _arm(self, name: str) -> Iterator[None]:
        b = self.b
        b.lines.append(f"{name}:")
        b._dead = self.dead
        yield
        if not b._dead:
            b.lines.append(f"  br label %{self.end}")
            self.reaches_end = True
        b._dead = True


@dataclass
class Cases:
    """The arms of `Switch`."""

    b: Builder
    value: Value
    end: str
    table: list[tuple[int, str]] = field(default_factory=list)
    default: str | None = None

    @contextmanager
    def case(self, *keys: int) -> Iterator[None]:
        name = self.b.fresh("K")
        self.table += [(key, name) for key in keys]
        with self._arm(name):
            yield

    @contextmanager
    def otherwise(self) -> Iterator[None]:
        self.default = self.b.fresh("D")
        with self._arm(self.default):
            yield

    @contextmanager
    def _arm(self, name: str) -> Iterator[None]:
        b = self.b
        b.lines.append(f"{name}:")
        b._dead = False
        yield
        if not b._dead:
            b.lines.append(f"  br label %{self.end}")
        b._dead = True


@dataclass
class Module:
    """A set of functions compiled together. `text()` is the LLVM IR."""

    name: str
    defined: dict[str, str] = field(default_factory=dict)
    declarations: set[str] = field(default_factory=set)
    needed: dict[str, Signature] = field(default_factory=dict)
    preamble: list[str] = field(default_factory=list)

    def need(self, signature: Signature) -> None:
        self.needed[signature.name] = signature

    def function(self, signature: Signature, attributes: str = "#1") -> Builder:
        return Builder(self, signature, attributes)

    def text(self) -> str:
        declares = [s.declare() for n, s in sorted(self.needed.items()) if n not in self.defined]
        parts = [*self.preamble, *sorted(self.declarations), *declares, *self.defined.values(), MODULE_EPILOGUE]
        return "\n".join(parts)
