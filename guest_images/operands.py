"""Operand syntax of the guest sources: one parser for what we write and for what the disassembler prints back.

Syntax is Intel's: `eax`, `0x10`, `10h`, `'A'`, `label + 4`, `dword [table + ecx*4]`, `fs:[0]`, `0x08:start`.
Both sides of the round trip in `encoder` become these records, so they compare by meaning and not by spelling.
"""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass

from bt.errors import BtError


class AssemblyError(BtError):
    """A guest source line cannot be assembled as written."""


LEGACY = ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di")
SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs")
REGISTER_BYTES: Mapping[str, int] = {
    **dict.fromkeys(("al", "cl", "dl", "bl", "ah", "ch", "dh", "bh", "sil", "dil", "spl", "bpl"), 1),
    **dict.fromkeys(LEGACY + SEGMENTS, 2),
    **{"e" + name: 4 for name in LEGACY},
    **{"r" + name: 8 for name in LEGACY},
    **{f"r{n}{suffix}": size for n in range(8, 16) for suffix, size in (("b", 1), ("w", 2), ("d", 4), ("", 8))},
    **{f"{kind}{n}": 4 for kind in ("cr", "dr") for n in range(8)},
    **{f"mm{n}": 8 for n in range(8)},
    **{f"xmm{n}": 16 for n in range(16)},
    **{f"st({n})": 10 for n in range(8)},
    "st": 10,
    "rip": 8,
}
SIZES: Mapping[str, int] = {
    "byte": 1,
    "word": 2,
    "dword": 4,
    "fword": 6,
    "qword": 8,
    "xword": 10,  # as capstone writes it
    "tbyte": 10,
    "xmmword": 16,
}
SIZE_NAMES: Mapping[int, str] = {size: name for name, size in SIZES.items()}


@dataclass(frozen=True)
class Register:
    name: str

    @property
    def size(self) -> int:
        """Width in bytes."""
        return REGISTER_BYTES[self.name]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Immediate:
    value: int
    size: int | None = None

    def __str__(self) -> str:
        return hex(self.value)


@dataclass(frozen=True)
class Memory:
    """`size` in bytes or None if the text leaves it to the other operand; `terms` are (register, scale), base first."""

    size: int | None
    segment: str | None
    terms: tuple[tuple[str, int], ...]
    displacement: int

    def __str__(self) -> str:
        size = f"{SIZE_NAMES[self.size]} ptr " if self.size else ""
        segment = f"{self.segment}:" if self.segment else ""
        parts = [name if scale == 1 else f"{name}*{scale}" for name, scale in self.terms]
        if self.displacement or not parts:
            parts.append(hex(self.displacement))
        return f"{size}{segment}[{' + '.join(parts).replace('+ -', '- ')}]"


@dataclass(frozen=True)
class FarPointer:
    selector: int
    offset: int

    def __str__(self) -> str:
        return f"{self.selector:#x}:{self.offset:#x}"


Operand = Register | Immediate | Memory | FarPointer


@dataclass(frozen=True)
class Sum:
    """Registers times scales plus a constant: what stands between the brackets of a memory operand."""

    constant: int
    terms: tuple[tuple[str, int], ...] = ()


HEXADECIMAL_SUFFIX = re.compile(r"\b([0-9][0-9a-fA-F]*)h\b")
LOCAL_LABEL = re.compile(r"(?<![\w.])\.([A-Za-z_]\w*)")
MEMORY = re.compile(r"(?:(?P<size>[a-z]+)\s+)?(?:ptr\s*)?(?:(?P<segment>[c-g]s|ss):\s*)?\[(?P<inside>[^\]]*)\]")
SIZED_IMMEDIATE = re.compile(r"(?P<size>byte|word|dword|qword)\s+(?P<value>[^\[\]]+)")


def local_name(scope: str, name: str) -> str:
    """The full name of local label `.name` below global label `scope`."""
    return f"{scope}__{name}"


def evaluate(text: str, symbols: Mapping[str, int], scope: str = "") -> int:
    """The value of a constant expression; AssemblyError if a symbol is unknown or a register occurs in it."""
    result = _sum(text, symbols, scope)
    if result.terms:
        raise AssemblyError(f"{text!r}: a register cannot stand in a constant; use [brackets] for a memory operand")
    return result.constant


def _sum(text: str, symbols: Mapping[str, int], scope: str) -> Sum:
    source = HEXADECIMAL_SUFFIX.sub(r"0x\1", text.strip())
    source = LOCAL_LABEL.sub(lambda match: local_name(scope, match[1]), source).replace("$", "_here_")
    try:
        return _fold(ast.parse(source, mode="eval").body, symbols)
    except SyntaxError:
        raise AssemblyError(f"{text!r}: not an expression") from None


def _fold(node: ast.expr, symbols: Mapping[str, int]) -> Sum:
    match node:
        case ast.Constant(value=int(value)):
            return Sum(value)
        case ast.Constant(value=str(value)) if len(value) == 1:
            return Sum(ord(value))
        case ast.Name(id=name) if name.lower() in REGISTER_BYTES:
            return Sum(0, ((name.lower(), 1),))
        case ast.Name(id=name) if name in symbols:
            return Sum(symbols[name])
        case ast.Name(id=name):
            raise AssemblyError(f"unknown symbol {name!r}: define it as a label or with `{name} = value`")
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return Sum(-_constant(operand, symbols))
        case ast.UnaryOp(op=ast.Invert(), operand=operand):
            return Sum(~_constant(operand, symbols))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            a, b = _fold(left, symbols), _fold(right, symbols)
            return Sum(a.constant + b.constant, a.terms + b.terms)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            a = _fold(left, symbols)
            return Sum(a.constant - _constant(right, symbols), a.terms)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            a, b = _fold(left, symbols), _fold(right, symbols)
            if a.terms and b.terms:
                raise AssemblyError("two registers cannot be multiplied")
            terms, factor = (a.terms, b.constant) if a.terms else (b.terms, a.constant)
            return Sum(a.constant * b.constant, tuple((name, scale * factor) for name, scale in terms))
        case ast.BinOp(left=left, op=op, right=right):
            return Sum(_arithmetic(op, _constant(left, symbols), _constant(right, symbols)))
    raise AssemblyError(f"{ast.unparse(node)!r}: expressions have integers, 'c', symbols, + - * / << >> & | ^ ~")


def _constant(node: ast.expr, symbols: Mapping[str, int]) -> int:
    value = _fold(node, symbols)
    if value.terms:
        raise AssemblyError(f"{ast.unparse(node)!r}: a register cannot stand here")
    return value.constant


def _arithmetic(op: ast.operator, a: int, b: int) -> int:
    match op:
        case ast.Div() | ast.FloorDiv():
            return a // b
        case ast.LShift():
            return a << b
        case ast.RShift():
            return a >> b
        case ast.BitAnd():
            return a & b
        case ast.BitOr():
            return a | b
        case ast.BitXor():
            return a ^ b
    raise AssemblyError("expressions know + - * / << >> & | ^ ~ only")


def parse(text: str, symbols: Mapping[str, int], scope: str = "") -> Operand:
    """One operand; names are looked up in `symbols`, `.local` names below `scope`."""
    text = text.strip()
    if text.lower() in REGISTER_BYTES:
        return Register(text.lower())
    if match := MEMORY.fullmatch(text):
        size_name = match["size"] if match["size"] != "ptr" else None
        if size_name and size_name not in SIZES:
            raise AssemblyError(f"{text!r}: operand sizes are {' '.join(SIZES)}")
        address = _sum(match["inside"], symbols, scope)
        # A base has no scale, so an unscaled register moves to the front: [ecx*4 + eax] has base eax.
        terms = tuple(sorted(address.terms, key=lambda term: term[1] != 1))
        return Memory(SIZES[size_name] if size_name else None, match["segment"], terms, address.constant)
    if match := SIZED_IMMEDIATE.fullmatch(text):
        return Immediate(evaluate(match["value"], symbols, scope), SIZES[match["size"]])
    if ":" in text:
        selector, offset = text.split(":", 1)
        return FarPointer(evaluate(selector, symbols, scope), evaluate(offset, symbols, scope))
    return Immediate(evaluate(text, symbols, scope))


def split(text: str) -> list[str]:
    """Operands as written between commas; commas inside quotes do not separate."""
    return [part.strip() for part in re.findall(r"(?:'[^']*'|\"[^\"]*\"|[^,])+", text) if part.strip()]
