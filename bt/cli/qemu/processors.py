"""QEMU's processors that bt has not: in the place of each the guest finds bt's own."""

from __future__ import annotations

import re

_64_BITS = re.compile(
    "qemu64|kvm64|core2duo|phenom|athlon|Opteron_G[1-5]|Conroe|Penryn|Nehalem|Westmere|SandyBridge|IvyBridge|Haswell|"
    "Broadwell|Skylake|Cascadelake|Cooperlake|Icelake|Denverton|Snowridge|SapphireRapids|KnightsMill|EPYC|Dhyana"
)
_32_BITS = ("qemu32", "kvm32", "max", "host", "base", "pentium2", "coreduo", "n270")


def note(name: str) -> str:
    """What there is to say of the model; nothing of one that QEMU has not, either."""
    if name in _32_BITS:
        return "bt has no such processor"
    if _64_BITS.match(name):
        return "bt has no 64-bit processor yet"
    return ""
