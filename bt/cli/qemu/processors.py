"""QEMU's processors that bt has not: in the place of each the guest finds one of bt's own, with long mode or not."""

from __future__ import annotations

import re

from bt.x86 import cpu_model

_64_BITS = re.compile("kvm64|core2duo|phenom|athlon|Opteron_G[1-3]|Conroe|Penryn")
_LEVEL_2 = re.compile(
    "Opteron_G[45]|Nehalem|Westmere|SandyBridge|IvyBridge|Haswell|Broadwell|Skylake|Cascadelake|Cooperlake|Icelake|"
    "Denverton|Snowridge|SapphireRapids|KnightsMill|EPYC|Dhyana"
)
_32_BITS = ("qemu32", "kvm32", "host", "base", "pentium2", "coreduo", "n270")


def replacement(name: str) -> str | None:
    """The model that the guest finds; None for one that QEMU has not, either."""
    if name in _32_BITS:
        return cpu_model.DEFAULT
    if _LEVEL_2.match(name):
        return "x86-64-v2"
    return cpu_model.LONG_MODE_DEFAULT if _64_BITS.match(name) else None
