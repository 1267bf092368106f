"""The processor at an entry in real mode."""

from bt.boot.state import SegmentSetting

CR0_ET = 1 << 4
ALWAYS_SET = 1 << 1  # of EFLAGS
_ACCESS_DATA = 0x93  # present, writable, accessed: what real mode has in every segment register


def segment(selector: int) -> SegmentSetting:
    return SegmentSetting(selector=selector, base=selector << 4, limit=0xFFFF, access=_ACCESS_DATA, flags32=False)
