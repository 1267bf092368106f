"""MMX, SSE and SSE2 integer instructions, and the moves between their registers (SDM vol. 2 appendix A, table A-3).

Nearly every one exists twice: on MMX registers without a prefix and on XMM registers with 66 (SSE2). The host executes
them all itself (`fp.*`).
"""

from __future__ import annotations

from typing import Final

from .form import (
    IDENTITY,
    Ew,
    Ey,
    Form,
    Gd,
    Gy,
    Ib,
    Mq,
    Mu,
    Mx,
    My,
    Nq,
    Operand,
    Pd,
    Pq,
    Qd,
    Qq,
    Ux,
    Vd,
    Vq,
    Vx,
    Wq,
    Wu,
    Wx,
)

# Opcode, name, feature that brought the MMX form (the XMM form is always SSE2's)
_PAIRS: Final = (
    ("63", "packsswb", "mmx"), ("64", "pcmpgtb", "mmx"), ("65", "pcmpgtw", "mmx"), ("66", "pcmpgtd", "mmx"),
    ("67", "packuswb", "mmx"), ("68", "punpckhbw", "mmx"), ("69", "punpckhwd", "mmx"), ("6A", "punpckhdq", "mmx"),
    ("6B", "packssdw", "mmx"), ("74", "pcmpeqb", "mmx"), ("75", "pcmpeqw", "mmx"), ("76", "pcmpeqd", "mmx"),
    ("D1", "psrlw", "mmx"), ("D2", "psrld", "mmx"), ("D3", "psrlq", "mmx"), ("D4", "paddq", "sse2"),
    ("D5", "pmullw", "mmx"), ("D8", "psubusb", "mmx"), ("D9", "psubusw", "mmx"), ("DA", "pminub", "sse"),
    ("DB", "pand", "mmx"), ("DC", "paddusb", "mmx"), ("DD", "paddusw", "mmx"), ("DE", "pmaxub", "sse"),
    ("DF", "pandn", "mmx"), ("E0", "pavgb", "sse"), ("E1", "psraw", "mmx"), ("E2", "psrad", "mmx"),
    ("E3", "pavgw", "sse"), ("E4", "pmulhuw", "sse"), ("E5", "pmulhw", "mmx"), ("E8", "psubsb", "mmx"),
    ("E9", "psubsw", "mmx"), ("EA", "pminsw", "sse"), ("EB", "por", "mmx"), ("EC", "paddsb", "mmx"),
    ("ED", "paddsw", "mmx"), ("EE", "pmaxsw", "sse"), ("EF", "pxor", "mmx"), ("F1", "psllw", "mmx"),
    ("F2", "pslld", "mmx"), ("F3", "psllq", "mmx"), ("F4", "pmuludq", "sse2"), ("F5", "pmaddwd", "mmx"),
    ("F6", "psadbw", "sse"), ("F8", "psubb", "mmx"), ("F9", "psubw", "mmx"), ("FA", "psubd", "mmx"),
    ("FB", "psubq", "sse2"), ("FC", "paddb", "mmx"), ("FD", "paddw", "mmx"), ("FE", "paddd", "mmx"),
)  # fmt: skip
_SHIFTS: Final = (
    ("71 /2", "psrlw"), ("71 /4", "psraw"), ("71 /6", "psllw"), ("72 /2", "psrld"), ("72 /4", "psrad"),
    ("72 /6", "pslld"), ("73 /2", "psrlq"), ("73 /6", "psllq"),
)  # fmt: skip
# The low halves: in memory an MMX form reads 32 bits.
_LOW_UNPACKS: Final = (("60", "punpcklbw"), ("61", "punpcklwd"), ("62", "punpckldq"))


def simd(encoding: str, name: str, operands: tuple[Operand, ...], cpuid: str, meaning: str = "fp.execute") -> Form:
    """A form on MMX or XMM registers that the host executes."""
    return Form(encoding, name, operands, meaning, IDENTITY, cpuid=cpuid)


_REGULAR: Final = (
    *(simd(f"0F {opcode} /r", name, (Pq, Qq), cpuid) for opcode, name, cpuid in _PAIRS),
    *(simd(f"66 0F {opcode} /r", name, (Vx, Wx), "sse2") for opcode, name, _ in _PAIRS),
    *(simd(f"0F {opcode} /r", name, (Pq, Qd), "mmx") for opcode, name in _LOW_UNPACKS),
    *(simd(f"66 0F {opcode} /r", name, (Vx, Wx), "sse2") for opcode, name in _LOW_UNPACKS),
    *(simd(f"0F {opcode} mod=3", name, (Nq, Ib), "mmx") for opcode, name in _SHIFTS),
    *(simd(f"66 0F {opcode} mod=3", name, (Ux, Ib), "sse2") for opcode, name in _SHIFTS),
)
# Columns line up; the formatter would tear them apart.
# fmt: off
_ROWS: Final = (
    simd("66 0F 6C /r",          "punpcklqdq",  (Vx, Wx),       "sse2"),
    simd("66 0F 6D /r",          "punpckhqdq",  (Vx, Wx),       "sse2"),
    simd("66 0F 73 /3 mod=3",    "psrldq",      (Ux, Ib),       "sse2"),
    simd("66 0F 73 /7 mod=3",    "pslldq",      (Ux, Ib),       "sse2"),
    simd("0F 77",                "emms",        (),             "mmx"),
    # -- moves
    simd("0F 6E /r",             "movd",        (Pd, Ey),       "mmx"),
    simd("66 0F 6E /r",          "movd",        (Vd, Ey),       "sse2"),
    simd("0F 7E /r",             "movd",        (Ey, Pd),       "mmx",  "fp.store"),
    simd("66 0F 7E /r",          "movd",        (Ey, Vd),       "sse2", "fp.store"),
    simd("0F 6F /r",             "movq",        (Pq, Qq),       "mmx"),
    simd("0F 7F /r",             "movq",        (Qq, Pq),       "mmx",  "fp.store"),
    simd("F3 0F 7E /r",          "movq",        (Vq, Wq),       "sse2"),
    simd("66 0F D6 /r",          "movq",        (Wq, Vq),       "sse2", "fp.store"),
    simd("66 0F 6F /r",          "movdqa",      (Vx, Wx),       "sse2"),
    simd("66 0F 7F /r",          "movdqa",      (Wx, Vx),       "sse2", "fp.store"),
    simd("F3 0F 6F /r",          "movdqu",      (Vx, Wu),       "sse2"),
    simd("F3 0F 7F /r",          "movdqu",      (Wu, Vx),       "sse2", "fp.store"),
    simd("F3 0F D6 /r mod=3",    "movq2dq",     (Vx, Nq),       "sse2"),
    simd("F2 0F D6 /r mod=3",    "movdq2q",     (Pq, Ux),       "sse2"),
    simd("0F E7 /r mem",         "movntq",      (Mq, Pq),       "sse",  "fp.store"),
    simd("66 0F E7 /r mem",      "movntdq",     (Mx, Vx),       "sse2", "fp.store"),
    simd("0F F7 /r mod=3",       "maskmovq",    (Pq, Nq),       "sse",  "fp.masked_store"),
    simd("66 0F F7 /r mod=3",    "maskmovdqu",  (Vx, Ux),       "sse2", "fp.masked_store"),
    Form("0F C3 /r mem",         "movnti",      (My, Gy),       "move.mov", IDENTITY, cpuid="sse2"),
    simd("F2 0F F0 /r mem",      "lddqu",       (Vx, Mu),       "pni"),
    # -- shuffles, insertion, extraction
    simd("0F 70 /r",             "pshufw",      (Pq, Qq, Ib),   "sse"),
    simd("66 0F 70 /r",          "pshufd",      (Vx, Wx, Ib),   "sse2"),
    simd("F3 0F 70 /r",          "pshufhw",     (Vx, Wx, Ib),   "sse2"),
    simd("F2 0F 70 /r",          "pshuflw",     (Vx, Wx, Ib),   "sse2"),
    simd("0F C4 /r",             "pinsrw",      (Pq, Ew, Ib),   "sse"),
    simd("66 0F C4 /r",          "pinsrw",      (Vx, Ew, Ib),   "sse2"),
    simd("0F C5 /r mod=3",       "pextrw",      (Gd, Nq, Ib),   "sse"),
    simd("66 0F C5 /r mod=3",    "pextrw",      (Gd, Ux, Ib),   "sse2"),
    simd("0F D7 /r mod=3",       "pmovmskb",    (Gd, Nq),       "sse"),
    simd("66 0F D7 /r mod=3",    "pmovmskb",    (Gd, Ux),       "sse2"),
)
# fmt: on
SIMD: Final[tuple[Form, ...]] = _REGULAR + _ROWS

SIMD_UNDEFINED: Final[dict[str, str]] = {
    "0F 6C-6D": "SSE2 only with 66",
    "0F 71 /r mem": "reserved",
    "0F 71 /0-1 mod=3": "reserved",
    "0F 71 /3 mod=3": "reserved",
    "0F 71 /5 mod=3": "reserved",
    "0F 71 /7 mod=3": "reserved",
    "0F 72 /r mem": "reserved",
    "0F 72 /0-1 mod=3": "reserved",
    "0F 72 /3 mod=3": "reserved",
    "0F 72 /5 mod=3": "reserved",
    "0F 72 /7 mod=3": "reserved",
    "0F 73 /r mem": "reserved",
    "0F 73 /0-1 mod=3": "reserved",
    "0F 73 /3-5 mod=3": "reserved",
    "0F 73 /7 mod=3": "reserved",
    "0F 78-79 /r": "VMX",
    "0F 7A-7B": "SSE5",
    "0F 7C-7D /r": "SSE3 only with 66 or F2",
    "0F C3 /r mod=3": "reserved",
    "0F C5 /r mem": "reserved",
    "0F D0 /r": "SSE3 only with 66 or F2",
    "0F D6": "only with a prefix",
    "0F D7 /r mem": "reserved",
    "0F E7 /r mod=3": "reserved",
    "0F F0 /r": "SSE3 only with F2",
    "0F F7 /r mem": "reserved",
}
