"""What one line of the opcode table says: an instruction form, its operands, its class, its flags.

Notation follows the Intel SDM: encodings as in volume 2 ("0F 01 /2"), operand kinds as in volume 2 appendix A ("Eb" =
byte in a register or memory chosen by ModRM). Import costs matter (every `bt` command pays them): nothing here is
computed that can be computed on first use.
"""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import Final, Literal, NamedTuple

from .encoding import parse_encoding


class InstructionClass(Enum):
    """How a form relates to virtualization; decides its default treatment (see `TREATMENTS`)."""

    IDENTITY = "identity"  # means the same at every privilege level: its translation is (nearly) itself
    CONTROL = "control"  # near control transfer, or an instruction whose purpose is an exception
    MEMORY = "memory"  # implicit memory operands: stack and string instructions
    SENSITIVE = "sensitive"  # depends on or reveals privilege, descriptors, IF or time, and does not (always) trap
    PRIVILEGED = "privileged"  # #GP(0) unless CPL is 0
    UNDEFINED = "undefined"  # reserved encoding: #UD


IDENTITY: Final = InstructionClass.IDENTITY
CONTROL: Final = InstructionClass.CONTROL
MEMORY: Final = InstructionClass.MEMORY
SENSITIVE: Final = InstructionClass.SENSITIVE
PRIVILEGED: Final = InstructionClass.PRIVILEGED
UNDEFINED_CLASS: Final = InstructionClass.UNDEFINED

TREATMENTS: Final[dict[InstructionClass, str]] = {
    IDENTITY: "the same operation on the pinned registers; a memory operand goes through the TLB",
    CONTROL: "ends the block; direct targets are chained, indirect ones go through the branch cache",
    MEMORY: "inline, implicit operands through the TLB",
    SENSITIVE: "rewritten into a call of the VMM, which acts on the virtual state",
    PRIVILEGED: "rewritten into a call of the VMM, which raises #GP(0) unless the virtual CPL is 0",
    UNDEFINED_CLASS: "raises #UD in the guest",
}


class Method(Enum):
    """Where an operand is: the capital letter of SDM vol. 2 appendix A.2.1, and what the SDM writes out in words."""

    REGISTER_OR_MEMORY = "E"  # general register or memory, by ModRM.rm
    MEMORY_ONLY = "M"  # as E, but mod = 3 is undefined
    REGISTER_RM = "R"  # general register by ModRM.rm, whatever mod says
    REGISTER = "G"  # general register, by ModRM.reg
    SEGMENT = "S"  # segment register, by ModRM.reg
    CONTROL_REGISTER = "C"  # CRn, by ModRM.reg
    DEBUG_REGISTER = "D"  # DRn, by ModRM.reg
    OPCODE_REGISTER = "Z"  # general register, by the low three bits of the opcode
    FIXED_REGISTER = "fixed"  # general register named by the form: Operand.number
    FIXED_SEGMENT = "fixed segment"  # segment register named by the form: Operand.number
    ONE = "1"  # the constant 1
    IMMEDIATE = "I"
    RELATIVE = "J"  # signed displacement to the next instruction
    FAR_POINTER = "A"  # selector:offset in the instruction
    OFFSET = "O"  # memory at an address-size offset, no ModRM
    SOURCE_STRING = "X"  # memory at DS:(E)SI; the segment may be overridden
    DESTINATION_STRING = "Y"  # memory at ES:(E)DI; no override
    XMM_REGISTER = "V"  # by ModRM.reg
    XMM_OR_MEMORY = "W"  # by ModRM.rm
    XMM_RM = "U"  # by ModRM.rm, mod = 3
    MMX_REGISTER = "P"  # by ModRM.reg
    MMX_OR_MEMORY = "Q"  # by ModRM.rm
    MMX_RM = "N"  # by ModRM.rm, mod = 3
    FP_STACK = "ST"  # an x87 register: the top of the stack, or the one ModRM.rm counts from there


class Width(Enum):
    """How wide an operand is: the small letters of SDM vol. 2 appendix A.2.2."""

    NONE = ""  # an address only, nothing is accessed (lea, invlpg, nop)
    B = "b"  # 8 bits
    W = "w"  # 16 bits
    D = "d"  # 32 bits
    Y = "y"  # 32 bits, or 64 for an operand size of 64 bits
    Q = "q"  # 64 bits
    QX = "q/x"  # 64 bits, or 128 for an operand size of 64 bits
    V = "v"  # 16, 32 or 64 bits: the operand size
    Z = "z"  # 16 or 32 bits: for an operand size of 64 bits, too, they are 32, which an immediate sign-extends
    VW = "vw"  # operand size when a register, 16 bits when memory
    DB = "d/b"  # 32 bits when a register, 8 bits when memory
    DW = "d/w"  # 32 bits when a register, 16 bits when memory
    BS = "bs"  # 8 bits in the instruction, sign-extended to the operand size
    A = "a"  # two operands of the operand size (bound)
    P = "p"  # far pointer: offset of the operand size, then a 16-bit selector
    S = "s"  # pseudo-descriptor: 16-bit limit, then a 32-bit base (24 bits used with 16-bit operand size)
    T = "t"  # 80 bits
    X = "x"  # 128 bits; in memory they must be aligned
    U = "u"  # 128 bits wherever they lie
    ENVIRONMENT = "14/28byte"  # x87 environment, by operand size
    SAVE = "94/108byte"  # x87 environment and registers, by operand size
    FX = "512byte"  # FXSAVE area, aligned to 16 bytes


class _OperandColumns(NamedTuple):
    code: str  # as the SDM writes it: "Eb", "eAX"
    method: Method
    width: Width
    number: int = -1


class Operand(_OperandColumns):
    """One operand kind. `number`: the register of FIXED_REGISTER and FIXED_SEGMENT in its hardware numbering."""

    __slots__ = ()
    __eq__, __hash__ = object.__eq__, object.__hash__

    def __repr__(self) -> str:
        return self.code


def _kind(code: str) -> Operand:
    return Operand(code, Method(code[0]), Width(code[1:]))


Eb, Ew, Ed, Ev = _kind("Eb"), _kind("Ew"), _kind("Ed"), _kind("Ev")
Ey, Gy, My = _kind("Ey"), _kind("Gy"), _kind("My")
Ez = _kind("Ez")  # the SDM's "Ed" of MOVSXD
Evw = _kind("Evw")  # the SDM's "Rv/Mw"
Edb, Edw = _kind("Ed/b"), _kind("Ed/w")  # the SDM's "Rd/Mb", "Rd/Mw"
Gb, Gw, Gd, Gv = _kind("Gb"), _kind("Gw"), _kind("Gd"), _kind("Gv")
M, Mw, Mv, Ma, Mp, Mq, Ms = (_kind(code) for code in ("M", "Mw", "Mv", "Ma", "Mp", "Mq", "Ms"))
Sw, Cd, Dd, Ry = _kind("Sw"), _kind("Cd"), _kind("Dd"), _kind("Ry")
Mqx = _kind("Mq/x")
Ib, Iw, Iv, Iz, Ibs, Jb, Jz, Ap = (_kind(code) for code in ("Ib", "Iw", "Iv", "Iz", "Ibs", "Jb", "Jz", "Ap"))
Ob, Ov, Xb, Xv, Yb, Yv = (_kind(code) for code in ("Ob", "Ov", "Xb", "Xv", "Yb", "Yv"))
Zb, Zv = _kind("Zb"), _kind("Zv")
AL, CL, AX, DX, eAX = (  # noqa: N816 (eAX is the SDM's own name: AX or EAX by operand size)
    Operand(code, Method.FIXED_REGISTER, width, number)
    for code, width, number in (
        ("AL", Width.B, 0),
        ("CL", Width.B, 1),
        ("AX", Width.W, 0),
        ("DX", Width.W, 2),
        ("eAX", Width.V, 0),
    )
)
ES, CS, SS, DS, FS, GS = (
    Operand(code, Method.FIXED_SEGMENT, Width.W, number)
    for number, code in enumerate(("ES", "CS", "SS", "DS", "FS", "GS"))
)
one = Operand("1", Method.ONE, Width.B)
Mb, Md, Mt, Mx, Mu = (_kind(code) for code in ("Mb", "Md", "Mt", "Mx", "Mu"))
Menv, Msave, Mfx = _kind("M14/28byte"), _kind("M94/108byte"), _kind("M512byte")
Vd, Vq, Vx, Ux = (_kind(code) for code in ("Vd", "Vq", "Vx", "Ux"))
Ww, Wd, Wq, Wx, Wu = (_kind(code) for code in ("Ww", "Wd", "Wq", "Wx", "Wu"))
Pd, Pq, Qd, Qq, Nq = (_kind(code) for code in ("Pd", "Pq", "Qd", "Qq", "Nq"))
ST0, STi = (Operand(code, Method.FP_STACK, Width.T) for code in ("ST(0)", "ST(i)"))

# EFLAGS bits (SDM vol. 1, 3.4.3) under the letters the table uses.
EFLAGS_BITS: Final[dict[str, int]] = {
    "c": 1 << 0,
    "p": 1 << 2,
    "a": 1 << 4,
    "z": 1 << 6,
    "s": 1 << 7,
    "t": 1 << 8,
    "i": 1 << 9,
    "d": 1 << 10,
    "o": 1 << 11,
    "l": 3 << 12,  # IOPL
    "n": 1 << 14,  # NT
    "r": 1 << 16,  # RF
    "v": 1 << 17,  # VM
    "k": 1 << 18,  # AC
    "f": 1 << 19,  # VIF
    "g": 1 << 20,  # VIP
    "x": 1 << 21,  # ID
}
ALL_FLAGS: Final = "".join(EFLAGS_BITS)

# Condition codes in encoding order (SDM vol. 1 appendix B): the suffix of jcc, setcc, cmovcc, and the flags tested.
CONDITIONS: Final[tuple[tuple[str, str], ...]] = (
    ("o", "o"),
    ("no", "o"),
    ("b", "c"),
    ("ae", "c"),
    ("e", "z"),
    ("ne", "z"),
    ("be", "cz"),
    ("a", "cz"),
    ("s", "s"),
    ("ns", "s"),
    ("p", "p"),
    ("np", "p"),
    ("l", "so"),
    ("ge", "so"),
    ("le", "zso"),
    ("g", "zso"),
)


_SIZELESS: Final = frozenset((Method.IMMEDIATE, Method.RELATIVE, Method.ONE))
_SIZED: Final = frozenset((Width.V, Width.Z, Width.VW))
_OF_32_BITS: Final = frozenset((Width.D, Width.Y, Width.DB, Width.DW))
_LATER_SIMD: Final = frozenset(("pni", "ssse3", "sse4.1", "sse4.2"))
_SIMD: Final = frozenset(
    (
        *(Method.XMM_REGISTER, Method.XMM_OR_MEMORY, Method.XMM_RM),
        *(Method.MMX_REGISTER, Method.MMX_OR_MEMORY, Method.MMX_RM),
    )
)


@cache
def eflags_mask(letters: str) -> int:
    """The EFLAGS bits of a flag string of the table: "zc" -> 0x41."""
    mask = 0
    for letter in letters:
        mask |= EFLAGS_BITS[letter]
    return mask


class _FormColumns(NamedTuple):
    encoding: str
    name: str
    operands: tuple[Operand, ...]
    meaning: str
    cls: InstructionClass
    reads: str = ""
    writes: str = ""
    undefines: str = ""
    may_keep_flags: bool = False  # leaves all flags alone for some operand values (a shift count of zero)
    lock: bool = False  # LOCK allowed when the ModRM operand is memory; otherwise #UD
    ends_block: bool = False  # nothing after it may be translated into the same block
    rep: Literal[None, "rep", "repz"] = None  # F2 and F3 repeat it; "repz": they differ and end on ZF
    privilege: Literal["any", "iopl", "io", "v86 iopl"] = "any"  # io: CPL <= IOPL or the TSS bitmap allows
    modes: Literal["any", "protected"] = "any"  # protected: #UD in real and virtual-8086 mode
    # in 64-bit mode: not there; only there; 64 bits but for prefix 66; 64 bits whatever the prefixes
    long: Literal["", "gone", "only", "default 64", "forced 64"] = ""
    cpuid: str | None = None  # feature (bt/x86/cpu_model.py) without which the form is #UD
    condition: int | None = None  # condition code of jcc, setcc, cmovcc
    treatment: str = ""  # how bt treats it, where its class does not say it all
    id: int = -1


class Form(_FormColumns):
    """One instruction form. Forms are compared by identity; `id` numbers them from 0 in table order.

    encoding   SDM notation: [mandatory prefix] [escape] opcode [ModRM], see bt/x86/opcodes/encoding.py
    name       mnemonic without size suffixes; several forms share one
    meaning    "module.function" in bt/x86/semantics or bt/x86/system
    reads      flags whose value matters; `writes`: flags given a defined value; `undefines`: flags left undefined.
               Letters as in EFLAGS_BITS. Flags that an exception would push are not counted as read.
    """

    __slots__ = ()
    __eq__, __hash__ = object.__eq__, object.__hash__

    @property
    def reads_mask(self) -> int:
        """EFLAGS bits read."""
        return eflags_mask(self.reads)

    @property
    def changes_mask(self) -> int:
        """EFLAGS bits that may differ afterwards, undefined ones included."""
        return eflags_mask(self.writes + self.undefines)

    def kills_mask(self, repeated: bool = False) -> int:
        """EFLAGS bits whose old value is certainly lost: what a backward liveness pass may remove.

        repeated: a REP prefix is present, so the instruction may run zero times.
        """
        if self.may_keep_flags or (repeated and self.rep):
            return 0
        return self.changes_mask

    @property
    def chosen_by_prefix(self) -> bool:
        """True if 66, F3 and F2 select among forms of this opcode: one that selects none makes it undefined."""
        if self.cpuid in _LATER_SIMD:  # which brought other instructions, too
            return any(operand.method in _SIMD for operand in self.operands)
        return self.cpuid in ("mmx", "sse", "sse2")

    @property
    def cpl0(self) -> bool:
        """True if it is #GP(0) unless CPL is 0."""
        return self.cls is PRIVILEGED

    @property
    def has_modrm(self) -> bool:
        """True if a ModRM byte follows the opcode."""
        return parse_encoding(self.encoding).modrm

    @property
    def fixed_operand_size(self) -> Literal[8, 32] | None:
        """Operand size in bits where prefixes do not choose it: byte forms, control and debug registers."""
        widths = {operand.width for operand in self.operands if operand.method not in _SIZELESS and operand is not CL}
        if widths & _SIZED:
            return None
        if widths & _OF_32_BITS:
            return 32
        return 8 if Width.B in widths else None

    @property
    def memory_only(self) -> bool:
        """True if ModRM.mod = 3 is undefined."""
        return any(operand.method is Method.MEMORY_ONLY for operand in self.operands)

    def __repr__(self) -> str:
        return f"<{self.encoding}: {self.name} {','.join(map(repr, self.operands))}>"
