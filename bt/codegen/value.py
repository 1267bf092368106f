"""Values of generated code: Python expressions that print LLVM IR.

Widths are bits. Arithmetic is modulo 2**width; `>>` and the named comparisons say whether they are signed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bt.codegen.builder import Builder

PTR = "ptr"


def int_type(width: int) -> str:
    return f"i{width}"


class Value:
    """One SSA value (or constant). `ty` is an LLVM type name; `width` its bits, 64 for a pointer."""

    __slots__ = ("b", "ref", "ty")

    def __init__(self, b: Builder, ref: str, ty: str) -> None:
        self.b = b
        self.ref = ref
        self.ty = ty

    @property
    def width(self) -> int:
        return 64 if self.ty == PTR else int(self.ty[1:])

    @property
    def constant(self) -> int | None:
        """The value of a constant, None for what is only known when the code runs."""
        return int(self.ref) if self.ref.lstrip("-").isdigit() else None

    def _binary(self, op: str, other: Value | int, *, swap: bool = False) -> Value:
        rhs = self.b.coerce(other, self.ty)
        left, right = (rhs, self) if swap else (self, rhs)
        return self.b.emit(f"{op} {self.ty} {left.ref}, {right.ref}", self.ty)

    def __add__(self, other: Value | int) -> Value:
        if self.ty == PTR:
            offset = self.b.coerce(other, "i64") if isinstance(other, int) else other.zext(64)
            return self.b.emit(f"getelementptr i8, ptr {self.ref}, i64 {offset.ref}", PTR)
        return self._binary("add", other)

    def __sub__(self, other: Value | int) -> Value:
        return self._binary("sub", other)

    def __rsub__(self, other: int) -> Value:
        return self._binary("sub", other, swap=True)

    def __mul__(self, other: Value | int) -> Value:
        return self._binary("mul", other)

    def __and__(self, other: Value | int) -> Value:
        return self._binary("and", other)

    def __or__(self, other: Value | int) -> Value:
        return self._binary("or", other)

    def __xor__(self, other: Value | int) -> Value:
        return self._binary("xor", other)

    def __invert__(self) -> Value:
        return self._binary("xor", -1 if self.width > 1 else 1)

    def __neg__(self) -> Value:
        return self._binary("sub", 0, swap=True)

    def __lshift__(self, other: Value | int) -> Value:
        """Left shift; the count must be below the width (LLVM's result is poison otherwise)."""
        return self._binary("shl", other)

    def __rshift__(self, other: Value | int) -> Value:
        """Logical right shift; the count must be below the width."""
        return self._binary("lshr", other)

    def sar(self, other: Value | int) -> Value:
        """Arithmetic right shift; the count must be below the width."""
        return self._binary("ashr", other)

    def udiv(self, other: Value | int) -> Value:
        return self._binary("udiv", other)

    def urem(self, other: Value | int) -> Value:
        return self._binary("urem", other)

    def sdiv(self, other: Value | int) -> Value:
        return self._binary("sdiv", other)

    def srem(self, other: Value | int) -> Value:
        return self._binary("srem", other)

    def _compare(self, predicate: str, other: Value | int) -> Value:
        rhs = self.b.coerce(other, self.ty)
        return self.b.emit(f"icmp {predicate} {self.ty} {self.ref}, {rhs.ref}", "i1")

    def __eq__(self, other: object) -> Value:  # type: ignore[override]  # builds a comparison, as in numpy
        assert isinstance(other, Value | int)
        return self._compare("eq", other)

    def __ne__(self, other: object) -> Value:  # type: ignore[override]  # builds a comparison, as in numpy
        assert isinstance(other, Value | int)
        return self._compare("ne", other)

    __hash__ = None  # type: ignore[assignment]  # == builds code, so values cannot be keys

    def __bool__(self) -> bool:
        raise TypeError("a Value is only known at run time: use b.If / b.select, or `is` in Python")

    def ult(self, other: Value | int) -> Value:
        return self._compare("ult", other)

    def ule(self, other: Value | int) -> Value:
        return self._compare("ule", other)

    def ugt(self, other: Value | int) -> Value:
        return self._compare("ugt", other)

    def uge(self, other: Value | int) -> Value:
        return self._compare("uge", other)

    def slt(self, other: Value | int) -> Value:
        return self._compare("slt", other)

    def sle(self, other: Value | int) -> Value:
        return self._compare("sle", other)

    def sgt(self, other: Value | int) -> Value:
        return self._compare("sgt", other)

    def sge(self, other: Value | int) -> Value:
        return self._compare("sge", other)

    def _cast(self, op: str, ty: str) -> Value:
        return self.b.emit(f"{op} {self.ty} {self.ref} to {ty}", ty)

    def zext(self, width: int) -> Value:
        """Zero-extend to `width` bits (no-op at the same width)."""
        if self.ty == PTR:
            return self._cast("ptrtoint", "i64").zext(width)
        return self if width == self.width else self._cast("zext", int_type(width))

    def sext(self, width: int) -> Value:
        return self if width == self.width else self._cast("sext", int_type(width))

    def trunc(self, width: int) -> Value:
        return self if width == self.width else self._cast("trunc", int_type(width))

    def resize(self, width: int) -> Value:
        """Zero-extend or truncate, whichever leads to `width`."""
        return self.zext(width) if width > self.width else self.trunc(width)

    def bit(self, position: int) -> Value:
        """Bit `position` as an i1."""
        return (self >> position).trunc(1) if position else self.trunc(1)

    def to_pointer(self) -> Value:
        return self if self.ty == PTR else self.zext(64)._cast("inttoptr", PTR)
