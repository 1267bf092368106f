"""The x87 escapes D8-DF and WAIT (SDM vol. 2 appendix A.5).

What computes or moves (`fp.*`) is executed by the host's own x87; what shows or sets control, status and pointers
(`x87.*`) has semantics of its own, because bt keeps the host's values away from the guest.
"""

from __future__ import annotations

from typing import Final

from .form import AX, CONDITIONS, IDENTITY, ST0, Form, Md, Menv, Mq, Msave, Mt, Mw, Operand, STi

_VIRTUAL = "control word and pointers are the guest's own"
_ARITHMETIC: Final = ("fadd", "fmul", "fcom", "fcomp", "fsub", "fsubr", "fdiv", "fdivr")
_INTEGER: Final = ("fiadd", "fimul", "ficom", "ficomp", "fisub", "fisubr", "fidiv", "fidivr")
# FCMOVcc: what is tested, and the condition code that means it
_MOVES: Final = (("b", 2), ("e", 4), ("be", 6), ("u", 10), ("nb", 3), ("ne", 5), ("nbe", 7), ("nu", 11))


def _fp(encoding: str, name: str, operands: tuple[Operand, ...] = (), meaning: str = "fp.execute") -> Form:
    return Form(encoding, name, operands, meaning, IDENTITY, cpuid="fpu")


def _control(encoding: str, name: str, operands: tuple[Operand, ...] = ()) -> Form:
    return Form(encoding, name, operands, f"x87.{name}", IDENTITY, cpuid="fpu", treatment=_VIRTUAL)


def _compare(encoding: str, name: str) -> Form:
    return Form(encoding, name, (ST0, STi), "fp.compare", IDENTITY, writes="oszapc", cpuid="cmov")


_REGULAR: Final = (
    *(_fp(f"D8 /{n} mem", name, (Md,)) for n, name in enumerate(_ARITHMETIC)),
    *(_fp(f"D8 /{n} mod=3", name, (ST0, STi)) for n, name in enumerate(_ARITHMETIC)),
    *(_fp(f"DA /{n} mem", name, (Md,)) for n, name in enumerate(_INTEGER)),
    *(_fp(f"DC /{n} mem", name, (Mq,)) for n, name in enumerate(_ARITHMETIC)),
    *(_fp(f"DE /{n} mem", name, (Mw,)) for n, name in enumerate(_INTEGER)),
    *(
        Form(
            f"{0xDA + n // 4:02X} /{n % 4} mod=3",
            f"fcmov{suffix}",
            (ST0, STi),
            "fp.fcmovcc",
            IDENTITY,
            reads=CONDITIONS[code][1],
            cpuid="cmov",
            condition=code,
        )
        for n, (suffix, code) in enumerate(_MOVES)
    ),
)
# Columns line up; the formatter would tear them apart.
# fmt: off
_ROWS: Final = (
    Form("9B",         "wait",   (),         "x87.wait",   IDENTITY,
         treatment="raises #NM if CR0.MP and CR0.TS are set, and a pending x87 exception"),
    # -- loads and stores
    _fp("D9 /0 mem",   "fld",     (Md,)),
    _fp("D9 /2 mem",   "fst",     (Md,),      "fp.store"),
    _fp("D9 /3 mem",   "fstp",    (Md,),      "fp.store"),
    _fp("DB /0 mem",   "fild",    (Md,)),
    _fp("DB /1 mem",   "fisttp",  (Md,),      "fp.store")._replace(cpuid="pni"),
    _fp("DB /2 mem",   "fist",    (Md,),      "fp.store"),
    _fp("DB /3 mem",   "fistp",   (Md,),      "fp.store"),
    _fp("DB /5 mem",   "fld",     (Mt,)),
    _fp("DB /7 mem",   "fstp",    (Mt,),      "fp.store"),
    _fp("DD /0 mem",   "fld",     (Mq,)),
    _fp("DD /1 mem",   "fisttp",  (Mq,),      "fp.store")._replace(cpuid="pni"),
    _fp("DD /2 mem",   "fst",     (Mq,),      "fp.store"),
    _fp("DD /3 mem",   "fstp",    (Mq,),      "fp.store"),
    _fp("DF /0 mem",   "fild",    (Mw,)),
    _fp("DF /1 mem",   "fisttp",  (Mw,),      "fp.store")._replace(cpuid="pni"),
    _fp("DF /2 mem",   "fist",    (Mw,),      "fp.store"),
    _fp("DF /3 mem",   "fistp",   (Mw,),      "fp.store"),
    _fp("DF /4 mem",   "fbld",    (Mt,)),
    _fp("DF /5 mem",   "fild",    (Mq,)),
    _fp("DF /6 mem",   "fbstp",   (Mt,),      "fp.store"),
    _fp("DF /7 mem",   "fistp",   (Mq,),      "fp.store"),
    # -- between registers
    _fp("D9 C0-C7",    "fld",     (STi,)),
    _fp("D9 C8-CF",    "fxch",    (STi,)),
    _fp("D9 D0",       "fnop"),
    _fp("DD C0-C7",    "ffree",   (STi,)),
    _fp("DD D0-D7",    "fst",     (STi,)),
    _fp("DD D8-DF",    "fstp",    (STi,)),
    _fp("DD E0-E7",    "fucom",   (STi,)),
    _fp("DD E8-EF",    "fucomp",  (STi,)),
    _fp("DA E9",       "fucompp"),
    _fp("DE D9",       "fcompp"),
    _fp("DC C0-C7",    "fadd",    (STi, ST0)),
    _fp("DC C8-CF",    "fmul",    (STi, ST0)),
    _fp("DC E0-E7",    "fsubr",   (STi, ST0)),
    _fp("DC E8-EF",    "fsub",    (STi, ST0)),
    _fp("DC F0-F7",    "fdivr",   (STi, ST0)),
    _fp("DC F8-FF",    "fdiv",    (STi, ST0)),
    _fp("DE C0-C7",    "faddp",   (STi, ST0)),
    _fp("DE C8-CF",    "fmulp",   (STi, ST0)),
    _fp("DE E0-E7",    "fsubrp",  (STi, ST0)),
    _fp("DE E8-EF",    "fsubp",   (STi, ST0)),
    _fp("DE F0-F7",    "fdivrp",  (STi, ST0)),
    _fp("DE F8-FF",    "fdivp",   (STi, ST0)),
    _compare("DB E8-EF", "fucomi"),
    _compare("DB F0-F7", "fcomi"),
    _compare("DF E8-EF", "fucomip"),
    _compare("DF F0-F7", "fcomip"),
    # -- what every processor has and no manual of Intel's lists: aliases
    _fp("D9 D8-DF",    "fstp",    (STi,)),
    _fp("DC D0-D7",    "fcom",    (STi,)),
    _fp("DC D8-DF",    "fcomp",   (STi,)),
    _fp("DD C8-CF",    "fxch",    (STi,)),
    _fp("DE D0-D7",    "fcomp",   (STi,)),
    _fp("DF C0-C7",    "ffreep",  (STi,)),
    _fp("DF C8-CF",    "fxch",    (STi,)),
    _fp("DF D0-DF",    "fstp",    (STi,)),
    # -- constants and functions
    *(
        _fp(f"D9 {modrm:02X}", name)
        for modrm, name in (
            (0xE0, "fchs"),   (0xE1, "fabs"),    (0xE4, "ftst"),   (0xE5, "fxam"),   (0xE8, "fld1"),  (0xE9, "fldl2t"),
            (0xEA, "fldl2e"), (0xEB, "fldpi"),   (0xEC, "fldlg2"), (0xED, "fldln2"), (0xEE, "fldz"),  (0xF0, "f2xm1"),
            (0xF1, "fyl2x"),  (0xF2, "fptan"),   (0xF3, "fpatan"), (0xF4, "fxtract"), (0xF5, "fprem1"),
            (0xF6, "fdecstp"), (0xF7, "fincstp"), (0xF8, "fprem"), (0xF9, "fyl2xp1"), (0xFA, "fsqrt"),
            (0xFB, "fsincos"), (0xFC, "frndint"), (0xFD, "fscale"), (0xFE, "fsin"),  (0xFF, "fcos"),
        )
    ),
    # -- control
    _control("D9 /4 mem", "fldenv",  (Menv,)),
    _control("D9 /5 mem", "fldcw",   (Mw,)),
    _control("D9 /6 mem", "fnstenv", (Menv,)),
    _control("D9 /7 mem", "fnstcw",  (Mw,)),
    _control("DB E2",     "fnclex"),
    _control("DB E3",     "fninit"),
    _control("DD /4 mem", "frstor",  (Msave,)),
    _control("DD /6 mem", "fnsave",  (Msave,)),
    _control("DD /7 mem", "fnstsw",  (Mw,)),
    _control("DF E0",     "fnstsw",  (AX,)),
    # FNENI, FNDISI of the 8087, FNSETPM of the 80287
    Form("DB E0-E1",   "fneni",   (),         "move.nop",   IDENTITY,   cpuid="fpu", treatment="nothing since the 387"),
    Form("DB E4",      "fnsetpm", (),         "move.nop",   IDENTITY,   cpuid="fpu", treatment="nothing since the 387"),
)
# fmt: on
X87: Final[tuple[Form, ...]] = _REGULAR + _ROWS

X87_UNDEFINED: Final[dict[str, str]] = {
    "D9 /1 mem": "reserved",
    "D9 D1-D7": "reserved",
    "D9 E2-E3": "reserved",
    "D9 E6-E7": "reserved",
    "D9 EF": "reserved",
    "DA E0-E7": "reserved",
    "DA E8": "reserved",
    "DA EA-EF": "reserved",
    "DA F0-FF": "reserved",
    "DB /4 mem": "reserved",
    "DB /6 mem": "reserved",
    "DB E5-E7": "reserved",
    "DB F8-FF": "reserved",
    "DD /5 mem": "reserved",
    "DD F0-FF": "reserved",
    "DE D8": "reserved",
    "DE DA-DF": "reserved",
    "DF E1-E7": "reserved",
    "DF F8-FF": "reserved",
}
