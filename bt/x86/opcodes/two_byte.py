"""The two-byte opcode map, 0F xx (SDM vol. 2 appendix A, table A-3), but for MMX (simd.py) and SSE (sse.py)."""

from __future__ import annotations

from typing import Final

from .form import (
    ALL_FLAGS,
    CL,
    CONDITIONS,
    CONTROL,
    FS,
    GS,
    IDENTITY,
    PRIVILEGED,
    SENSITIVE,
    Cd,
    Dd,
    Eb,
    Ev,
    Evw,
    Ew,
    Form,
    Gb,
    Gv,
    Ib,
    Jz,
    M,
    Mp,
    Mqx,
    Ms,
    Ry,
    Zv,
)

_HINT = "nothing: a hint"
_FENCE = "nothing: one virtual processor sees its own accesses in order"
_TRAPS = "raises #UD through the guest's IDT, as intended"


def _bit_test(digit: int, register: str, name: str, lock: bool) -> list[Form]:
    """bt bts btr btc: bit offset in a register (reaching beyond the operand in memory) or immediate (masked)."""
    return [
        Form(encoding, name, (Ev, offset), f"bits.{name}", IDENTITY, writes="c", undefines="osap", lock=lock)
        for encoding, offset in ((f"0F {register} /r", Gv), (f"0F BA /{digit}", Ib))
    ]


_REGULAR: Final = (
    *(
        Form(
            f"0F {0x80 + n:02X}",
            f"j{suffix}",
            (Jz,),
            "control.jcc",
            CONTROL,
            reads,
            ends_block=True,
            condition=n,
            long="forced 64",
        )
        for n, (suffix, reads) in enumerate(CONDITIONS)
    ),
    *(
        Form(f"0F {0x90 + n:02X} /r", f"set{suffix}", (Eb,), "move.setcc", IDENTITY, reads, condition=n)
        for n, (suffix, reads) in enumerate(CONDITIONS)
    ),
    *(
        Form(
            f"0F {0x40 + n:02X} /r",
            f"cmov{suffix}",
            (Gv, Ev),
            "move.cmovcc",
            IDENTITY,
            reads,
            condition=n,
            cpuid="cmov",
        )
        for n, (suffix, reads) in enumerate(CONDITIONS)
    ),
    *_bit_test(4, "A3", "bt", lock=False),
    *_bit_test(5, "AB", "bts", lock=True),
    *_bit_test(6, "B3", "btr", lock=True),
    *_bit_test(7, "BB", "btc", lock=True),
)
# Columns line up; the formatter would tear them apart.
# fmt: off
_ROWS: Final = (
    # -- bits, moves, arithmetic
    Form("0F BC /r",    "bsf",         (Gv, Ev),     "bits.bsf",              IDENTITY,   writes="z",
         undefines="osapc"),
    Form("0F BD /r",    "bsr",         (Gv, Ev),     "bits.bsr",              IDENTITY,   writes="z",
         undefines="osapc"),
    Form("F3 0F B8 /r", "popcnt",      (Gv, Ev),     "bits.popcnt",           IDENTITY,   writes="oszapc",
         cpuid="popcnt"),
    Form("0F A4 /r",    "shld",        (Ev, Gv, Ib), "shift.shld",            IDENTITY,   writes="szpc",
         undefines="oa", may_keep_flags=True),
    Form("0F A5 /r",    "shld",        (Ev, Gv, CL), "shift.shld",            IDENTITY,   writes="szpc",
         undefines="oa", may_keep_flags=True),
    Form("0F AC /r",    "shrd",        (Ev, Gv, Ib), "shift.shrd",            IDENTITY,   writes="szpc",
         undefines="oa", may_keep_flags=True),
    Form("0F AD /r",    "shrd",        (Ev, Gv, CL), "shift.shrd",            IDENTITY,   writes="szpc",
         undefines="oa", may_keep_flags=True),
    Form("0F AF /r",    "imul",        (Gv, Ev),     "arith.imul_truncated",  IDENTITY,   writes="oc",
         undefines="szap"),
    Form("0F B6 /r",    "movzx",       (Gv, Eb),     "move.movzx",            IDENTITY),
    Form("0F B7 /r",    "movzx",       (Gv, Ew),     "move.movzx",            IDENTITY),
    Form("0F BE /r",    "movsx",       (Gv, Eb),     "move.movsx",            IDENTITY),
    Form("0F BF /r",    "movsx",       (Gv, Ew),     "move.movsx",            IDENTITY),
    # With a 16-bit operand the SDM leaves the result undefined; processors clear the register's low half.
    Form("0F C8+r",     "bswap",       (Zv,),        "move.bswap",            IDENTITY),
    Form("0F C0 /r",    "xadd",        (Eb, Gb),     "arith.xadd",            IDENTITY,   writes="oszapc", lock=True),
    Form("0F C1 /r",    "xadd",        (Ev, Gv),     "arith.xadd",            IDENTITY,   writes="oszapc", lock=True),
    Form("0F B0 /r",    "cmpxchg",     (Eb, Gb),     "arith.cmpxchg",         IDENTITY,   writes="oszapc", lock=True),
    Form("0F B1 /r",    "cmpxchg",     (Ev, Gv),     "arith.cmpxchg",         IDENTITY,   writes="oszapc", lock=True),
    Form("0F C7 /1",    "cmpxchg8b",   (Mqx,),       "arith.cmpxchg8b",       IDENTITY,   writes="z", lock=True,
         cpuid="cx8"),
    # -- hints: reserved NOPs take a ModRM byte and access nothing, whatever mod is (prefetch among them)
    Form("0F 0D /r",    "prefetchw",   (Ev,),        "move.nop", IDENTITY, cpuid="hints", treatment=_HINT),
    Form("0F 18 /0",    "prefetchnta", (Ev,),        "move.nop", IDENTITY, cpuid="hints", treatment=_HINT),
    Form("0F 18 /1",    "prefetcht0",  (Ev,),        "move.nop", IDENTITY, cpuid="hints", treatment=_HINT),
    Form("0F 18 /2",    "prefetcht1",  (Ev,),        "move.nop", IDENTITY, cpuid="hints", treatment=_HINT),
    Form("0F 18 /3",    "prefetcht2",  (Ev,),        "move.nop", IDENTITY, cpuid="hints", treatment=_HINT),
    Form("0F 18 /4-7",  "nop",         (Ev,),        "move.nop", IDENTITY, cpuid="hints", treatment=_HINT),
    Form("0F 19-1F /r", "nop",         (Ev,),        "move.nop", IDENTITY, cpuid="hints", treatment=_HINT),
    Form("0F AE E8-EF", "lfence",      (),           "move.nop", IDENTITY, cpuid="sse2", treatment=_FENCE),
    Form("0F AE F0-F7", "mfence",      (),           "move.nop", IDENTITY, cpuid="sse2", treatment=_FENCE),
    Form("0F AE F8-FF", "sfence",      (),           "move.nop", IDENTITY, cpuid="sse", treatment=_FENCE),
    # -- segment registers and descriptors
    Form("0F A0",       "push",        (FS,),        "segment.push",          SENSITIVE, long="default 64"),
    Form("0F A8",       "push",        (GS,),        "segment.push",          SENSITIVE, long="default 64"),
    Form("0F A1",       "pop",         (FS,),        "segment.pop",           SENSITIVE,  ends_block=True,
         long="default 64"),
    Form("0F A9",       "pop",         (GS,),        "segment.pop",           SENSITIVE,  ends_block=True,
         long="default 64"),
    Form("0F B2 /r",    "lss",         (Gv, Mp),     "segment.lss",           SENSITIVE,  ends_block=True),
    Form("0F B4 /r",    "lfs",         (Gv, Mp),     "segment.lfs",           SENSITIVE,  ends_block=True),
    Form("0F B5 /r",    "lgs",         (Gv, Mp),     "segment.lgs",           SENSITIVE,  ends_block=True),
    Form("0F 02 /r",    "lar",         (Gv, Ew),     "segment.lar",           SENSITIVE,  writes="z",
         modes="protected"),
    Form("0F 03 /r",    "lsl",         (Gv, Ew),     "segment.lsl",           SENSITIVE,  writes="z",
         modes="protected"),
    Form("0F 00 /4",    "verr",        (Ew,),        "segment.verr",          SENSITIVE,  writes="z",
         modes="protected"),
    Form("0F 00 /5",    "verw",        (Ew,),        "segment.verw",          SENSITIVE,  writes="z",
         modes="protected"),
    Form("0F 00 /0",    "sldt",        (Evw,),       "descriptor.sldt",       SENSITIVE,  modes="protected"),
    Form("0F 00 /1",    "str",         (Evw,),       "descriptor.str_",       SENSITIVE,  modes="protected"),
    Form("0F 00 /2",    "lldt",        (Ew,),        "descriptor.lldt",       PRIVILEGED, modes="protected"),
    Form("0F 00 /3",    "ltr",         (Ew,),        "descriptor.ltr",        PRIVILEGED, modes="protected"),
    Form("0F 01 /0",    "sgdt",        (Ms,),        "descriptor.sgdt",       SENSITIVE),
    Form("0F 01 /1",    "sidt",        (Ms,),        "descriptor.sidt",       SENSITIVE),
    Form("0F 01 /2",    "lgdt",        (Ms,),        "descriptor.lgdt",       PRIVILEGED),
    Form("0F 01 /3",    "lidt",        (Ms,),        "descriptor.lidt",       PRIVILEGED),
    # -- the processor
    Form("0F 01 /4",    "smsw",        (Evw,),       "processor.smsw",        SENSITIVE),
    Form("0F 01 /6",    "lmsw",        (Ew,),        "processor.lmsw",        PRIVILEGED, ends_block=True),
    Form("0F 01 /7",    "invlpg",      (M,),         "processor.invlpg",      PRIVILEGED),
    Form("0F 06",       "clts",        (),           "processor.clts",        PRIVILEGED, ends_block=True),
    Form("0F 08",       "invd",        (),           "processor.invd",        PRIVILEGED),
    Form("0F 09",       "wbinvd",      (),           "processor.wbinvd",      PRIVILEGED),
    Form("0F 20 /0",    "mov",         (Ry, Cd),     "processor.mov_from_cr", PRIVILEGED, long="forced 64"),
    Form("0F 20 /2-4",  "mov",         (Ry, Cd),     "processor.mov_from_cr", PRIVILEGED, long="forced 64"),
    Form("0F 22 /0",    "mov",         (Cd, Ry),     "processor.mov_to_cr",   PRIVILEGED, ends_block=True,
         long="forced 64"),
    Form("0F 22 /2-4",  "mov",         (Cd, Ry),     "processor.mov_to_cr",   PRIVILEGED, ends_block=True,
         long="forced 64"),
    Form("0F 21 /r",    "mov",         (Ry, Dd),     "processor.mov_from_dr", PRIVILEGED, long="forced 64"),
    Form("0F 23 /r",    "mov",         (Dd, Ry),     "processor.mov_to_dr",   PRIVILEGED, ends_block=True,
         long="forced 64"),
    Form("0F A2",       "cpuid",       (),           "cpuid.cpuid",           SENSITIVE),
    Form("0F 30",       "wrmsr",       (),           "msr.wrmsr",             PRIVILEGED, cpuid="msr",
         ends_block=True),
    Form("0F 32",       "rdmsr",       (),           "msr.rdmsr",             PRIVILEGED, cpuid="msr",
         ends_block=True),
    # unprivileged unless CR4.TSD is set / CR4.PCE is clear
    Form("0F 31",       "rdtsc",       (),           "timestamp.rdtsc",             SENSITIVE,  cpuid="tsc",
         ends_block=True),
    Form("0F 01 F9",    "rdtscp",      (),           "timestamp.rdtscp",      SENSITIVE,  cpuid="rdtscp",
         ends_block=True),
    Form("0F 33",       "rdpmc",       (),           "msr.rdpmc",             SENSITIVE,  cpuid="rdpmc",
         ends_block=True),
    Form("0F 34",       "sysenter",    (),           "interrupts.sysenter",   SENSITIVE,  reads=ALL_FLAGS,
         writes="irv", cpuid="sep", ends_block=True),
    Form("0F 35",       "sysexit",     (),           "interrupts.sysexit",    PRIVILEGED, cpuid="sep",
         ends_block=True),
    # -- reserved for raising #UD. ud0 takes no ModRM byte on this class of processor (SDM vol. 2, UD)
    Form("0F 0B",       "ud2",         (),           "interrupts.ud",         CONTROL,    ends_block=True,
         treatment=_TRAPS),
    Form("0F B9 /r",    "ud1",         (Gv, Ev),     "interrupts.ud",         CONTROL,    ends_block=True,
         treatment=_TRAPS),
    Form("0F FF",       "ud0",         (),           "interrupts.ud",         CONTROL,    ends_block=True,
         treatment=_TRAPS),
)
# fmt: on

TWO_BYTE: Final[tuple[Form, ...]] = _REGULAR + _ROWS

# Encodings that raise #UD on this class of processor, each with what it is on others.
TWO_BYTE_UNDEFINED: Final[dict[str, str]] = {
    "0F 00 /6-7": "reserved",
    "0F 01 /0-3 mod=3": "VMX, SVM, SGX, monitor, xgetbv and others",
    "0F 01 /5": "rstorssp, rdpkru and others",
    "0F 01 F8": "swapgs, of 64-bit mode",
    "0F 01 FA-FF": "monitorx, mwaitx, clzero, rdpru (AMD)",
    "0F 04": "reserved",
    "0F 05": "syscall (AMD, long mode)",
    "0F 07": "sysret (AMD, long mode)",
    "0F 0A": "reserved",
    "0F 0C": "reserved",
    "0F 0E-0F": "femms and 3DNow! (AMD)",
    "0F 20 /1": "no CR1",
    "0F 20 /5-7": "no such control register",
    "0F 22 /1": "no CR1",
    "0F 22 /5-7": "no such control register",
    "0F 24-27": "test registers (386, 486)",
    "0F 36": "reserved",
    "0F 37": "getsec (SMX)",
    "0F 39": "reserved",
    "0F 3B-3F": "reserved",
    "0F A6-A7": "VIA PadLock; cmpxchg of the earliest 486",
    "0F AA": "rsm: #UD outside system-management mode, which bt has not",
    "0F AE /0-4 mod=3": "ptwrite; rdfsbase and others in long mode",
    "0F B8 /r": "jmpe of Itanium",
    "0F BA /0-3": "reserved",
    "0F C7 /0": "reserved",
    "0F C7 /2-7": "VMX, rdrand, xsavec and others",
}
