"""The one-byte opcode map (SDM vol. 2 appendix A, table A-2), without the x87 escapes D8-DF.

Why a form ends its block: control leaves (CONTROL), what code means may change (segment registers, control registers:
the translation mode is part of a block's key), interrupts may become due (sti, popf), or the instruction looks at the
clock or the outside world (in, out, rdtsc): the instruction count is exact only at the end of a block.
"""

from __future__ import annotations

from typing import Final

from .form import (
    AL,
    ALL_FLAGS,
    CL,
    CONDITIONS,
    CONTROL,
    CS,
    DS,
    DX,
    ES,
    IDENTITY,
    MEMORY,
    PRIVILEGED,
    SENSITIVE,
    SS,
    Ap,
    Eb,
    Ev,
    Evw,
    Ew,
    Form,
    Gb,
    Gv,
    Gw,
    Ib,
    Ibs,
    Iv,
    Iw,
    Iz,
    Jb,
    Jz,
    M,
    Ma,
    Mp,
    Ob,
    Operand,
    Ov,
    Sw,
    Xb,
    Xv,
    Yb,
    Yv,
    Zb,
    Zv,
    eAX,
    one,
)

_VIRTUAL_FLAGS = "inline on the virtual EFLAGS: IF and IOPL are the guest's, never the host's"
_PORT = "callout: I/O permission is checked, then the port bus is an exit to the VMM"
_FAR = "callout: the descriptor is checked and loaded by the VMM, then a lookup of the new code"

# name, meaning, flags read, written, undefined, LOCK allowed: rows in the order of the encoding's digit 0-7.
_ARITHMETIC = (
    ("add", "arith.add", "", "oszapc", "", True),
    ("or", "logic.or_", "", "oszpc", "a", True),
    ("adc", "arith.adc", "c", "oszapc", "", True),
    ("sbb", "arith.sbb", "c", "oszapc", "", True),
    ("and", "logic.and_", "", "oszpc", "a", True),
    ("sub", "arith.sub", "", "oszapc", "", True),
    ("xor", "logic.xor", "", "oszpc", "a", True),
    ("cmp", "arith.cmp", "", "oszapc", "", False),
)
# Digit 6 is an undocumented alias of shl.
_SHIFTS = (
    ("rol", "shift.rol", "", "c", "o"),
    ("ror", "shift.ror", "", "c", "o"),
    ("rcl", "shift.rcl", "c", "c", "o"),
    ("rcr", "shift.rcr", "c", "c", "o"),
    ("shl", "shift.shl", "", "szpc", "oa"),
    ("shr", "shift.shr", "", "szpc", "oa"),
    ("shl", "shift.shl", "", "szpc", "oa"),
    ("sar", "shift.sar", "", "szpc", "oa"),
)


def _arithmetic(digit: int) -> list[Form]:
    name, meaning, reads, writes, undefines, lock = _ARITHMETIC[digit]
    shapes = (
        (f"{8 * digit:02X} /r", Eb, Gb),
        (f"{8 * digit + 1:02X} /r", Ev, Gv),
        (f"{8 * digit + 2:02X} /r", Gb, Eb),
        (f"{8 * digit + 3:02X} /r", Gv, Ev),
        (f"{8 * digit + 4:02X}", AL, Ib),
        (f"{8 * digit + 5:02X}", eAX, Iz),
        (f"80 /{digit}", Eb, Ib),
        (f"81 /{digit}", Ev, Iz),
        (f"82 /{digit}", Eb, Ib),  # alias of 80
        (f"83 /{digit}", Ev, Ibs),
    )
    return [
        Form(
            encoding,
            name,
            (dst, src),
            meaning,
            IDENTITY,
            reads,
            writes,
            undefines,
            lock=lock and dst in (Eb, Ev),
            long="gone" if encoding.startswith("82") else "",
        )
        for encoding, dst, src in shapes
    ]


def _shift(digit: int) -> list[Form]:
    name, meaning, reads, writes, undefines = _SHIFTS[digit]
    forms = []
    for opcode, dst in ((0xC0, Eb), (0xC1, Ev)):
        # A masked count of zero leaves the flags alone; OF is defined for count 1 only.
        for base, count in ((opcode, Ib), (opcode + 0x12, CL)):
            operands = (dst, count)
            form = Form(
                f"{base:02X} /{digit}", name, operands, meaning, IDENTITY, reads, writes, undefines, may_keep_flags=True
            )
            forms.append(form)
        by_one = (reads, "o" + writes, undefines.replace("o", ""))
        forms.append(Form(f"{opcode + 0x10:02X} /{digit}", name, (dst, one), meaning, IDENTITY, *by_one))
    return forms


def _port(encoding: str, name: str, meaning: str, dst: Operand, src: Operand) -> Form:
    string = meaning in ("io.ins", "io.outs")
    return Form(
        encoding,
        name,
        (dst, src),
        meaning,
        SENSITIVE,
        reads="d" if string else "",
        rep="rep" if string else None,
        privilege="io",
        treatment=_PORT,
    )


_REGULAR: Final = (
    *(form for digit in range(8) for form in _arithmetic(digit)),
    *(form for digit in range(8) for form in _shift(digit)),
    *(
        Form(
            f"{0x70 + n:02X}",
            f"j{suffix}",
            (Jb,),
            "control.jcc",
            CONTROL,
            reads,
            ends_block=True,
            condition=n,
            long="forced 64",
        )
        for n, (suffix, reads) in enumerate(CONDITIONS)
    ),
)
# Columns line up; the formatter would tear them apart.
# fmt: off
_ROWS: Final = (
    # -- data movement
    Form("88 /r",     "mov",      (Eb, Gb),      "move.mov",              IDENTITY),
    Form("89 /r",     "mov",      (Ev, Gv),      "move.mov",              IDENTITY),
    Form("8A /r",     "mov",      (Gb, Eb),      "move.mov",              IDENTITY),
    Form("8B /r",     "mov",      (Gv, Ev),      "move.mov",              IDENTITY),
    Form("A0",        "mov",      (AL, Ob),      "move.mov",              IDENTITY),
    Form("A1",        "mov",      (eAX, Ov),     "move.mov",              IDENTITY),
    Form("A2",        "mov",      (Ob, AL),      "move.mov",              IDENTITY),
    Form("A3",        "mov",      (Ov, eAX),     "move.mov",              IDENTITY),
    Form("B0+r",      "mov",      (Zb, Ib),      "move.mov",              IDENTITY),
    Form("B8+r",      "mov",      (Zv, Iv),      "move.mov",              IDENTITY),
    Form("C6 /0",     "mov",      (Eb, Ib),      "move.mov",              IDENTITY),
    Form("C7 /0",     "mov",      (Ev, Iz),      "move.mov",              IDENTITY),
    Form("86 /r",     "xchg",     (Eb, Gb),      "move.xchg",             IDENTITY,   lock=True),
    Form("87 /r",     "xchg",     (Ev, Gv),      "move.xchg",             IDENTITY,   lock=True),
    Form("91-97",     "xchg",     (Zv, eAX),     "move.xchg",             IDENTITY),
    Form("90",        "nop",      (),            "move.nop",              IDENTITY),
    Form("F3 90",     "pause",    (),            "processor.pause",       SENSITIVE,  ends_block=True),
    Form("8D /r",     "lea",      (Gv, M),       "move.lea",              IDENTITY),
    Form("98",        "cbw",      (),            "move.cbw",              IDENTITY),
    Form("99",        "cwd",      (),            "move.cwd",              IDENTITY),
    Form("D6",        "salc",     (),            "move.salc",             IDENTITY,   reads="c", long="gone"),
    Form("D7",        "xlat",     (),            "move.xlat",             IDENTITY),
    # -- arithmetic and logic
    Form("40+r",      "inc",      (Zv,),         "arith.inc",             IDENTITY,   writes="oszap", long="gone"),
    Form("48+r",      "dec",      (Zv,),         "arith.dec",             IDENTITY,   writes="oszap", long="gone"),
    Form("FE /0",     "inc",      (Eb,),         "arith.inc",             IDENTITY,   writes="oszap", lock=True),
    Form("FE /1",     "dec",      (Eb,),         "arith.dec",             IDENTITY,   writes="oszap", lock=True),
    Form("FF /0",     "inc",      (Ev,),         "arith.inc",             IDENTITY,   writes="oszap", lock=True),
    Form("FF /1",     "dec",      (Ev,),         "arith.dec",             IDENTITY,   writes="oszap", lock=True),
    Form("84 /r",     "test",     (Eb, Gb),      "logic.test",            IDENTITY,   writes="oszpc", undefines="a"),
    Form("85 /r",     "test",     (Ev, Gv),      "logic.test",            IDENTITY,   writes="oszpc", undefines="a"),
    Form("A8",        "test",     (AL, Ib),      "logic.test",            IDENTITY,   writes="oszpc", undefines="a"),
    Form("A9",        "test",     (eAX, Iz),     "logic.test",            IDENTITY,   writes="oszpc", undefines="a"),
    Form("F6 /0-1",   "test",     (Eb, Ib),      "logic.test",            IDENTITY,   writes="oszpc", undefines="a"),
    Form("F7 /0-1",   "test",     (Ev, Iz),      "logic.test",            IDENTITY,   writes="oszpc", undefines="a"),
    Form("F6 /2",     "not",      (Eb,),         "logic.not_",            IDENTITY,   lock=True),
    Form("F7 /2",     "not",      (Ev,),         "logic.not_",            IDENTITY,   lock=True),
    Form("F6 /3",     "neg",      (Eb,),         "arith.neg",             IDENTITY,   writes="oszapc", lock=True),
    Form("F7 /3",     "neg",      (Ev,),         "arith.neg",             IDENTITY,   writes="oszapc", lock=True),
    Form("F6 /4",     "mul",      (Eb,),         "arith.mul",             IDENTITY,   writes="oc", undefines="szap"),
    Form("F7 /4",     "mul",      (Ev,),         "arith.mul",             IDENTITY,   writes="oc", undefines="szap"),
    Form("F6 /5",     "imul",     (Eb,),         "arith.imul",            IDENTITY,   writes="oc", undefines="szap"),
    Form("F7 /5",     "imul",     (Ev,),         "arith.imul",            IDENTITY,   writes="oc", undefines="szap"),
    Form("69 /r",     "imul",     (Gv, Ev, Iz),  "arith.imul_truncated",  IDENTITY,   writes="oc", undefines="szap"),
    Form("6B /r",     "imul",     (Gv, Ev, Ibs), "arith.imul_truncated",  IDENTITY,   writes="oc", undefines="szap"),
    Form("F6 /6",     "div",      (Eb,),         "arith.div",             IDENTITY,   undefines="oszapc"),
    Form("F7 /6",     "div",      (Ev,),         "arith.div",             IDENTITY,   undefines="oszapc"),
    Form("F6 /7",     "idiv",     (Eb,),         "arith.idiv",            IDENTITY,   undefines="oszapc"),
    Form("F7 /7",     "idiv",     (Ev,),         "arith.idiv",            IDENTITY,   undefines="oszapc"),
    Form("27",        "daa",      (),            "bcd.daa",               IDENTITY,   reads="ac", writes="szapc",
         undefines="o", long="gone"),
    Form("2F",        "das",      (),            "bcd.das",               IDENTITY,   reads="ac", writes="szapc",
         undefines="o", long="gone"),
    Form("37",        "aaa",      (),            "bcd.aaa",               IDENTITY,   reads="a", writes="ac",
         undefines="oszp", long="gone"),
    Form("3F",        "aas",      (),            "bcd.aas",               IDENTITY,   reads="a", writes="ac",
         undefines="oszp", long="gone"),
    Form("D4",        "aam",      (Ib,),         "bcd.aam",               IDENTITY,   writes="szp", undefines="oac",
         long="gone"),
    Form("D5",        "aad",      (Ib,),         "bcd.aad",               IDENTITY,   writes="szp", undefines="oac",
         long="gone"),
    # -- flags
    Form("9E",        "sahf",     (),            "flags.sahf",            IDENTITY,   writes="szapc"),
    Form("9F",        "lahf",     (),            "flags.lahf",            IDENTITY,   reads="szapc"),
    Form("F5",        "cmc",      (),            "flags.cmc",             IDENTITY,   reads="c", writes="c"),
    Form("F8",        "clc",      (),            "flags.clc",             IDENTITY,   writes="c"),
    Form("F9",        "stc",      (),            "flags.stc",             IDENTITY,   writes="c"),
    Form("FC",        "cld",      (),            "flags.cld",             IDENTITY,   writes="d"),
    Form("FD",        "std",      (),            "flags.std",             IDENTITY,   writes="d"),
    Form("9C",        "pushf",    (),            "flags.pushf",           SENSITIVE,  reads=ALL_FLAGS,
         privilege="v86 iopl", treatment=_VIRTUAL_FLAGS, long="default 64"),
    # reads all: what CPL and IOPL do not let it change keeps its value
    Form("9D",        "popf",     (),            "flags.popf",            SENSITIVE,  reads=ALL_FLAGS,
         writes=ALL_FLAGS, ends_block=True, privilege="v86 iopl", treatment=_VIRTUAL_FLAGS, long="default 64"),
    Form("FA",        "cli",      (),            "flags.cli",             SENSITIVE,  writes="i", privilege="iopl",
         treatment=_VIRTUAL_FLAGS),
    Form("FB",        "sti",      (),            "flags.sti",             SENSITIVE,  writes="i", privilege="iopl",
         ends_block=True, treatment=_VIRTUAL_FLAGS),
    # -- stack
    Form("50+r",      "push",     (Zv,),         "stack.push",            MEMORY, long="default 64"),
    Form("68",        "push",     (Iz,),         "stack.push",            MEMORY, long="default 64"),
    Form("6A",        "push",     (Ibs,),        "stack.push",            MEMORY, long="default 64"),
    Form("FF /6",     "push",     (Ev,),         "stack.push",            MEMORY, long="default 64"),
    Form("58+r",      "pop",      (Zv,),         "stack.pop",             MEMORY, long="default 64"),
    Form("8F /0",     "pop",      (Ev,),         "stack.pop",             MEMORY, long="default 64"),
    Form("60",        "pusha",    (),            "stack.pusha",           MEMORY, long="gone"),
    Form("61",        "popa",     (),            "stack.popa",            MEMORY, long="gone"),
    Form("C8",        "enter",    (Iw, Ib),      "stack.enter",           MEMORY, long="default 64"),
    Form("C9",        "leave",    (),            "stack.leave",           MEMORY, long="default 64"),
    # -- strings
    Form("A4",        "movs",     (Yb, Xb),      "string.movs",           MEMORY,     reads="d", rep="rep"),
    Form("A5",        "movs",     (Yv, Xv),      "string.movs",           MEMORY,     reads="d", rep="rep"),
    Form("A6",        "cmps",     (Xb, Yb),      "string.cmps",           MEMORY,     reads="d", writes="oszapc",
         rep="repz"),
    Form("A7",        "cmps",     (Xv, Yv),      "string.cmps",           MEMORY,     reads="d", writes="oszapc",
         rep="repz"),
    Form("AA",        "stos",     (Yb, AL),      "string.stos",           MEMORY,     reads="d", rep="rep"),
    Form("AB",        "stos",     (Yv, eAX),     "string.stos",           MEMORY,     reads="d", rep="rep"),
    Form("AC",        "lods",     (AL, Xb),      "string.lods",           MEMORY,     reads="d", rep="rep"),
    Form("AD",        "lods",     (eAX, Xv),     "string.lods",           MEMORY,     reads="d", rep="rep"),
    Form("AE",        "scas",     (AL, Yb),      "string.scas",           MEMORY,     reads="d", writes="oszapc",
         rep="repz"),
    Form("AF",        "scas",     (eAX, Yv),     "string.scas",           MEMORY,     reads="d", writes="oszapc",
         rep="repz"),
    # -- ports: sensitive to CPL, IOPL and the TSS bitmap
    _port("6C", "ins", "io.ins", Yb, DX),
    _port("6D", "ins", "io.ins", Yv, DX),
    _port("6E", "outs", "io.outs", DX, Xb),
    _port("6F", "outs", "io.outs", DX, Xv),
    _port("E4", "in", "io.in_", AL, Ib),
    _port("E5", "in", "io.in_", eAX, Ib),
    _port("E6", "out", "io.out", Ib, AL),
    _port("E7", "out", "io.out", Ib, eAX),
    _port("EC", "in", "io.in_", AL, DX),
    _port("ED", "in", "io.in_", eAX, DX),
    _port("EE", "out", "io.out", DX, AL),
    _port("EF", "out", "io.out", DX, eAX),
    # -- near control transfer
    Form("E8",        "call",     (Jz,),         "control.call",          CONTROL,    ends_block=True,
         long="forced 64"),
    Form("FF /2",     "call",     (Ev,),         "control.call_indirect", CONTROL,    ends_block=True,
         long="forced 64"),
    Form("E9",        "jmp",      (Jz,),         "control.jmp",           CONTROL,    ends_block=True,
         long="forced 64"),
    Form("EB",        "jmp",      (Jb,),         "control.jmp",           CONTROL,    ends_block=True,
         long="forced 64"),
    Form("FF /4",     "jmp",      (Ev,),         "control.jmp_indirect",  CONTROL,    ends_block=True,
         long="forced 64"),
    Form("C2",        "ret",      (Iw,),         "control.ret",           CONTROL,    ends_block=True,
         long="forced 64"),
    Form("C3",        "ret",      (),            "control.ret",           CONTROL,    ends_block=True,
         long="forced 64"),
    Form("E0",        "loopne",   (Jb,),         "control.loopne",        CONTROL,    reads="z", ends_block=True,
         long="forced 64"),
    Form("E1",        "loope",    (Jb,),         "control.loope",         CONTROL,    reads="z", ends_block=True,
         long="forced 64"),
    Form("E2",        "loop",     (Jb,),         "control.loop",          CONTROL,    ends_block=True,
         long="forced 64"),
    Form("E3",        "jcxz",     (Jb,),         "control.jcxz",          CONTROL,    ends_block=True,
         long="forced 64"),
    Form("62 /r",     "bound",    (Gv, Ma),      "control.bound",         IDENTITY,
         treatment="inline; #BR on a cold path", long="gone"),
    # -- segment registers and far control transfer
    *(Form(e, "push", (r,), "segment.push", SENSITIVE, long="gone")
      for e, r in (("06", ES), ("0E", CS), ("16", SS), ("1E", DS))),
    *(Form(e, "pop", (r,), "segment.pop", SENSITIVE, ends_block=True, long="gone")
      for e, r in (("07", ES), ("17", SS), ("1F", DS))),
    Form("8C /0-5",   "mov",      (Evw, Sw),     "segment.store",         SENSITIVE),
    Form("8E /0",     "mov",      (Sw, Ew),      "segment.load",          SENSITIVE,  ends_block=True),
    Form("8E /2-5",   "mov",      (Sw, Ew),      "segment.load",          SENSITIVE,  ends_block=True),
    Form("C4 /r",     "les",      (Gv, Mp),      "segment.les",           SENSITIVE,  ends_block=True, long="gone"),
    Form("C5 /r",     "lds",      (Gv, Mp),      "segment.lds",           SENSITIVE,  ends_block=True, long="gone"),
    Form("63 /r",     "arpl",     (Ew, Gw),      "segment.arpl",          IDENTITY,   writes="z", modes="protected",
         long="gone"),
    Form("9A",        "call far", (Ap,),         "segment.call_far",      SENSITIVE,  ends_block=True, treatment=_FAR,
         long="gone"),
    Form("FF /3",     "call far", (Mp,),         "segment.call_far",      SENSITIVE,  ends_block=True, treatment=_FAR),
    Form("EA",        "jmp far",  (Ap,),         "segment.jmp_far",       SENSITIVE,  ends_block=True, treatment=_FAR,
         long="gone"),
    Form("FF /5",     "jmp far",  (Mp,),         "segment.jmp_far",       SENSITIVE,  ends_block=True, treatment=_FAR),
    Form("CA",        "ret far",  (Iw,),         "segment.ret_far",       SENSITIVE,  ends_block=True, treatment=_FAR),
    Form("CB",        "ret far",  (),            "segment.ret_far",       SENSITIVE,  ends_block=True, treatment=_FAR),
    # -- interrupts and the processor
    Form("CC",        "int3",     (),            "interrupts.int3",       SENSITIVE,  reads=ALL_FLAGS,
         writes="itnrv", ends_block=True),
    Form("CD",        "int",      (Ib,),         "interrupts.int_",       SENSITIVE,  reads=ALL_FLAGS,
         writes="itnrv", ends_block=True, privilege="v86 iopl"),
    Form("CE",        "into",     (),            "interrupts.into",       SENSITIVE,  reads=ALL_FLAGS,
         writes="itnrv", may_keep_flags=True, ends_block=True, long="gone"),
    Form("F1",        "int1",     (),            "interrupts.int1",       SENSITIVE,  reads=ALL_FLAGS,
         writes="itnrv", ends_block=True),
    Form("CF",        "iret",     (),            "interrupts.iret",       SENSITIVE,  reads=ALL_FLAGS,
         writes=ALL_FLAGS, ends_block=True, privilege="v86 iopl"),
    Form("F4",        "hlt",      (),            "processor.hlt",         PRIVILEGED, ends_block=True),
)
# fmt: on

ONE_BYTE: Final[tuple[Form, ...]] = _REGULAR + _ROWS


# Reserved encodings, each with what it is on other processors: #UD here.
ONE_BYTE_UNDEFINED: Final[dict[str, str]] = {
    "62 /r mod=3": "EVEX prefix (AVX-512)",
    "C4 /r mod=3": "VEX prefix (AVX)",
    "C5 /r mod=3": "VEX prefix (AVX)",
    "8E /1": "mov to CS (8086)",
    "8C /6-7": "no such segment register",
    "8E /6-7": "no such segment register",
    "8F /1-7": "XOP prefix (AMD)",
    "C6 /1-7": "xabort (TSX)",
    "C7 /1-7": "xbegin (TSX)",
    "FE /2-7": "reserved",
    "FF /7": "reserved",
}
