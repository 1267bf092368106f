"""The three-byte opcode map 0F 38 xx (SDM vol. 2 appendix A, table A-4): a ModRM byte follows."""

from __future__ import annotations

from typing import Final

from .form import IDENTITY, Eb, Ev, Form, Gv, Gy, Mv, Mx, Pq, Qq, Vx, Wd, Wq, Ww, Wx
from .simd import simd

# Those of SSSE3 exist twice: on MMX registers and, with 66, on XMM registers.
_SSSE3: Final = (
    ("00", "pshufb"), ("01", "phaddw"), ("02", "phaddd"), ("03", "phaddsw"), ("04", "pmaddubsw"), ("05", "phsubw"),
    ("06", "phsubd"), ("07", "phsubsw"), ("08", "psignb"), ("09", "psignw"), ("0A", "psignd"), ("0B", "pmulhrsw"),
    ("1C", "pabsb"), ("1D", "pabsw"), ("1E", "pabsd"),
)  # fmt: skip
_SSE41: Final = (
    ("10", "pblendvb"), ("14", "blendvps"), ("15", "blendvpd"), ("28", "pmuldq"), ("29", "pcmpeqq"),
    ("2B", "packusdw"), ("38", "pminsb"), ("39", "pminsd"), ("3A", "pminuw"), ("3B", "pminud"), ("3C", "pmaxsb"),
    ("3D", "pmaxsd"), ("3E", "pmaxuw"), ("3F", "pmaxud"), ("40", "pmulld"), ("41", "phminposuw"),
)  # fmt: skip
# pmovsx and pmovzx: what is widened, and the half, quarter or eighth of a register that it fills
_WIDENING: Final = (("bw", Wq), ("bd", Wd), ("bq", Ww), ("wd", Wq), ("wq", Wd), ("dq", Wq))

MAP_0F38: Final[tuple[Form, ...]] = (
    *(simd(f"0F 38 {opcode} /r", name, (Pq, Qq), "ssse3") for opcode, name in _SSSE3),
    *(simd(f"66 0F 38 {opcode} /r", name, (Vx, Wx), "ssse3") for opcode, name in _SSSE3),
    *(simd(f"66 0F 38 {opcode} /r", name, (Vx, Wx), "sse4.1") for opcode, name in _SSE41),
    *(
        simd(f"66 0F 38 {first + place:02X} /r", name + suffix, (Vx, source), "sse4.1")
        for first, name in ((0x20, "pmovsx"), (0x30, "pmovzx"))
        for place, (suffix, source) in enumerate(_WIDENING)
    ),
    simd("66 0F 38 17 /r", "ptest", (Vx, Wx), "sse4.1", "fp.test")._replace(writes="oszapc"),
    simd("66 0F 38 2A /r mem", "movntdqa", (Vx, Mx), "sse4.1"),
    simd("66 0F 38 37 /r", "pcmpgtq", (Vx, Wx), "sse4.2"),
    Form("0F 38 F0 /r", "movbe", (Gv, Mv), "move.movbe", IDENTITY, cpuid="movbe"),
    Form("0F 38 F1 /r", "movbe", (Mv, Gv), "move.movbe", IDENTITY, cpuid="movbe"),
    Form("F2 0F 38 F0 /r", "crc32", (Gy, Eb), "bits.crc32", IDENTITY, cpuid="sse4.2"),
    Form("F2 0F 38 F1 /r", "crc32", (Gy, Ev), "bits.crc32", IDENTITY, cpuid="sse4.2"),
)

# Encodings that raise #UD on this class of processor, each with what it is on others.
MAP_0F38_UNDEFINED: Final[dict[str, str]] = {
    "0F 38 0C-0F /r": "reserved",
    "0F 38 10 /r": "only with 66",
    "0F 38 11-13 /r": "reserved",
    "0F 38 14-15 /r": "only with 66",
    "0F 38 16 /r": "reserved",
    "0F 38 17 /r": "only with 66",
    "0F 38 18-1B /r": "reserved",
    "0F 38 1F /r": "reserved",
    "0F 38 20-25 /r": "only with 66",
    "0F 38 26-27 /r": "reserved",
    "0F 38 28-2B /r": "only with 66",
    "0F 38 2C-2F /r": "reserved",
    "0F 38 30-35 /r": "only with 66",
    "0F 38 36 /r": "reserved",
    "0F 38 37-41 /r": "only with 66",
    "0F 38 42-7F /r": "reserved",
    "0F 38 80-82 /r": "VMX; invpcid",
    "0F 38 83-C7 /r": "reserved",
    "0F 38 C8-CD /r": "SHA",
    "0F 38 CE /r": "reserved",
    "0F 38 CF /r": "GFNI",
    "0F 38 D0-D7 /r": "reserved",
    "0F 38 D8 /r": "Key Locker",
    "0F 38 D9-DA /r": "reserved",
    "0F 38 DB-DF /r": "AES; Key Locker",
    "0F 38 E0-EF /r": "reserved",
    "F3 0F 38 F0-F1 /r": "reserved",
    "0F 38 F2-F4 /r": "reserved",
    "0F 38 F5-F6 /r": "shadow stacks; adcx, adox",
    "0F 38 F7 /r": "reserved",
    "0F 38 F8-FC /r": "direct stores, enqcmd, Key Locker, RAO-INT",
    "0F 38 FD-FF /r": "reserved",
}
