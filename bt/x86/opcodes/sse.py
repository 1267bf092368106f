"""SSE, SSE2 and SSE3 floating point (SDM vol. 2 appendix A, table A-3): executed by the host itself (`fp.*`)."""

from __future__ import annotations

from typing import Final

from .form import (
    IDENTITY,
    Ey,
    Form,
    Gd,
    Gy,
    Ib,
    Mb,
    Md,
    Mfx,
    Mq,
    Mx,
    Operand,
    Pq,
    Qq,
    Ux,
    Vd,
    Vq,
    Vx,
    Wd,
    Wq,
    Wu,
    Wx,
)
from .simd import simd

# Operations on packed and scalar singles (SSE) and doubles (SSE2), by mandatory prefix.
_ARITHMETIC: Final = (
    ("51", "sqrt"), ("58", "add"), ("59", "mul"), ("5C", "sub"), ("5D", "min"), ("5E", "div"), ("5F", "max"),
)  # fmt: skip
_LOGIC: Final = (("14", "unpckl"), ("15", "unpckh"), ("54", "and"), ("55", "andn"), ("56", "or"), ("57", "xor"))
_TYPES: Final = (
    ("", "ps", (Vx, Wx), "sse"),
    ("66 ", "pd", (Vx, Wx), "sse2"),
    ("F3 ", "ss", (Vd, Wd), "sse"),
    ("F2 ", "sd", (Vq, Wq), "sse2"),
)
_VIRTUAL = "the masks are the guest's own"


def _compare(encoding: str, name: str, operands: tuple[Operand, ...], cpuid: str) -> Form:
    return Form(encoding, name, operands, "fp.compare", IDENTITY, writes="oszapc", cpuid=cpuid)


_REGULAR: Final = (
    *(
        simd(f"{prefix}0F {opcode} /r", name + suffix, operands, cpuid)
        for opcode, name in _ARITHMETIC
        for prefix, suffix, operands, cpuid in _TYPES
    ),
    *(
        simd(f"{prefix}0F {opcode} /r", name + suffix, (Vx, Wx), "pni")
        for opcode, name in (("7C", "hadd"), ("7D", "hsub"), ("D0", "addsub"))
        for prefix, suffix in (("66 ", "pd"), ("F2 ", "ps"))
    ),
    *(simd(f"{prefix}0F C2 /r", f"cmp{suffix}", (*operands, Ib), cpuid) for prefix, suffix, operands, cpuid in _TYPES),
    *(
        simd(f"{prefix}0F {opcode} /r", name + suffix, operands, cpuid)
        for opcode, name in _LOGIC
        for prefix, suffix, operands, cpuid in _TYPES[:2]
    ),
)
# Columns line up; the formatter would tear them apart.
# fmt: off
_ROWS: Final = (
    # -- moves
    simd("0F 10 /r",              "movups",      (Vx, Wu),       "sse"),
    simd("0F 11 /r",              "movups",      (Wu, Vx),       "sse",  "fp.store"),
    simd("66 0F 10 /r",           "movupd",      (Vx, Wu),       "sse2"),
    simd("66 0F 11 /r",           "movupd",      (Wu, Vx),       "sse2", "fp.store"),
    simd("F3 0F 10 /r",           "movss",       (Vd, Wd),       "sse"),
    simd("F3 0F 11 /r",           "movss",       (Wd, Vd),       "sse",  "fp.store"),
    simd("F2 0F 10 /r",           "movsd",       (Vq, Wq),       "sse2"),
    simd("F2 0F 11 /r",           "movsd",       (Wq, Vq),       "sse2", "fp.store"),
    simd("0F 12 /r mem",          "movlps",      (Vq, Mq),       "sse"),
    simd("0F 12 /r mod=3",        "movhlps",     (Vx, Ux),       "sse"),
    simd("66 0F 12 /r mem",       "movlpd",      (Vq, Mq),       "sse2"),
    simd("0F 13 /r mem",          "movlps",      (Mq, Vq),       "sse",  "fp.store"),
    simd("66 0F 13 /r mem",       "movlpd",      (Mq, Vq),       "sse2", "fp.store"),
    simd("0F 16 /r mem",          "movhps",      (Vq, Mq),       "sse"),
    simd("0F 16 /r mod=3",        "movlhps",     (Vx, Ux),       "sse"),
    simd("66 0F 16 /r mem",       "movhpd",      (Vq, Mq),       "sse2"),
    simd("0F 17 /r mem",          "movhps",      (Mq, Vq),       "sse",  "fp.store"),
    simd("66 0F 17 /r mem",       "movhpd",      (Mq, Vq),       "sse2", "fp.store"),
    simd("0F 28 /r",              "movaps",      (Vx, Wx),       "sse"),
    simd("0F 29 /r",              "movaps",      (Wx, Vx),       "sse",  "fp.store"),
    simd("66 0F 28 /r",           "movapd",      (Vx, Wx),       "sse2"),
    simd("66 0F 29 /r",           "movapd",      (Wx, Vx),       "sse2", "fp.store"),
    simd("0F 2B /r mem",          "movntps",     (Mx, Vx),       "sse",  "fp.store"),
    simd("66 0F 2B /r mem",       "movntpd",     (Mx, Vx),       "sse2", "fp.store"),
    simd("0F 50 /r mod=3",        "movmskps",    (Gd, Ux),       "sse"),
    simd("66 0F 50 /r mod=3",     "movmskpd",    (Gd, Ux),       "sse2"),
    simd("F3 0F 12 /r",           "movsldup",    (Vx, Wx),       "pni"),
    simd("F3 0F 16 /r",           "movshdup",    (Vx, Wx),       "pni"),
    simd("F2 0F 12 /r",           "movddup",     (Vx, Wq),       "pni"),
    # -- approximations, shuffles, comparisons
    simd("0F 52 /r",              "rsqrtps",     (Vx, Wx),       "sse"),
    simd("F3 0F 52 /r",           "rsqrtss",     (Vd, Wd),       "sse"),
    simd("0F 53 /r",              "rcpps",       (Vx, Wx),       "sse"),
    simd("F3 0F 53 /r",           "rcpss",       (Vd, Wd),       "sse"),
    simd("0F C6 /r",              "shufps",      (Vx, Wx, Ib),   "sse"),
    simd("66 0F C6 /r",           "shufpd",      (Vx, Wx, Ib),   "sse2"),
    _compare("0F 2E /r",          "ucomiss",     (Vd, Wd),       "sse"),
    _compare("66 0F 2E /r",       "ucomisd",     (Vq, Wq),       "sse2"),
    _compare("0F 2F /r",          "comiss",      (Vd, Wd),       "sse"),
    _compare("66 0F 2F /r",       "comisd",      (Vq, Wq),       "sse2"),
    # -- conversions
    simd("0F 2A /r",              "cvtpi2ps",    (Vq, Qq),       "sse"),
    simd("66 0F 2A /r",           "cvtpi2pd",    (Vx, Qq),       "sse2"),
    simd("F3 0F 2A /r",           "cvtsi2ss",    (Vd, Ey),       "sse"),
    simd("F2 0F 2A /r",           "cvtsi2sd",    (Vq, Ey),       "sse2"),
    simd("0F 2C /r",              "cvttps2pi",   (Pq, Wq),       "sse"),
    simd("66 0F 2C /r",           "cvttpd2pi",   (Pq, Wx),       "sse2"),
    simd("F3 0F 2C /r",           "cvttss2si",   (Gy, Wd),       "sse"),
    simd("F2 0F 2C /r",           "cvttsd2si",   (Gy, Wq),       "sse2"),
    simd("0F 2D /r",              "cvtps2pi",    (Pq, Wq),       "sse"),
    simd("66 0F 2D /r",           "cvtpd2pi",    (Pq, Wx),       "sse2"),
    simd("F3 0F 2D /r",           "cvtss2si",    (Gy, Wd),       "sse"),
    simd("F2 0F 2D /r",           "cvtsd2si",    (Gy, Wq),       "sse2"),
    simd("0F 5A /r",              "cvtps2pd",    (Vx, Wq),       "sse2"),
    simd("66 0F 5A /r",           "cvtpd2ps",    (Vq, Wx),       "sse2"),
    simd("F3 0F 5A /r",           "cvtss2sd",    (Vq, Wd),       "sse2"),
    simd("F2 0F 5A /r",           "cvtsd2ss",    (Vd, Wq),       "sse2"),
    simd("0F 5B /r",              "cvtdq2ps",    (Vx, Wx),       "sse2"),
    simd("66 0F 5B /r",           "cvtps2dq",    (Vx, Wx),       "sse2"),
    simd("F3 0F 5B /r",           "cvttps2dq",   (Vx, Wx),       "sse2"),
    simd("66 0F E6 /r",           "cvttpd2dq",   (Vq, Wx),       "sse2"),
    simd("F3 0F E6 /r",           "cvtdq2pd",    (Vx, Wq),       "sse2"),
    simd("F2 0F E6 /r",           "cvtpd2dq",    (Vq, Wx),       "sse2"),
    # -- the state
    Form("0F AE /0 mem", "fxsave", (Mfx,), "sse.fxsave", IDENTITY, cpuid="fxsr", treatment=_VIRTUAL),
    Form("0F AE /1 mem", "fxrstor", (Mfx,), "sse.fxrstor", IDENTITY, cpuid="fxsr", treatment=_VIRTUAL),
    Form("0F AE /2 mem", "ldmxcsr", (Md,), "sse.ldmxcsr", IDENTITY, cpuid="sse", treatment=_VIRTUAL),
    Form("0F AE /3 mem", "stmxcsr", (Md,), "sse.stmxcsr", IDENTITY, cpuid="sse", treatment=_VIRTUAL),
    Form("0F AE /7 mem", "clflush", (Mb,), "sse.clflush", IDENTITY, cpuid="clflush",
         treatment="checks its address, for guest memory has no caches"),
)
# fmt: on
SSE: Final[tuple[Form, ...]] = _REGULAR + _ROWS

SSE_UNDEFINED: Final[dict[str, str]] = {
    "0F 13 /r mod=3": "reserved",
    "0F 17 /r mod=3": "reserved",
    "0F 2B /r mod=3": "reserved",
    "0F 50 /r mem": "reserved",
    "0F AE /4-6 mem": "xsave, xrstor, xsaveopt",
    "0F E6": "only with a prefix",
}
