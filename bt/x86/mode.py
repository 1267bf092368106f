"""The translation mode: everything beside its bytes that decides what guest code means.

A block is translated for one mode and never runs in another. The key is a small integer, because it is part of every
entry of the branch caches; it is derived from the state by the runtime function `update_mode` alone (mode_update.py).
"""

from __future__ import annotations

from bt.x86.state import CS, DS, ES, SS

CODE_32 = 1 << 0  # CS.D: default operand and address size
STACK_32 = 1 << 1  # SS.B
USER = 1 << 2  # CPL 3: with which rights translated code accesses memory
FLAT_CS, FLAT_SS, FLAT_DS, FLAT_ES = 1 << 3, 1 << 4, 1 << 5, 1 << 6  # base 0, everything readable and writable
ALIGNMENT_FREE = 1 << 7  # data accesses of any alignment are good: clear at CPL 3 with CR0.AM and EFLAGS.AC
BREAKPOINT_FREE = 1 << 8  # DR7 enables no breakpoint
DATA_64_KIB = 1 << 11  # 16-bit stack, and no 16-bit offset is beyond a data segment or may not be written
CS_64_KIB, CS_4_GIB = 1 << 9, 1 << 10  # the limit of CS is FFFFh, as in real mode; FFFFFFFFh
REAL = DATA_64_KIB | CS_64_KIB  # as in real and virtual-8086 mode
FLAT_32 = CODE_32 | STACK_32 | FLAT_CS | FLAT_SS | FLAT_DS | FLAT_ES  # as most systems have it
# The same with nothing checked: what may become identity.
FLAT = FLAT_32 | ALIGNMENT_FREE | BREAKPOINT_FREE
CODE_64 = 1 << 12  # 64-bit mode: EFER.LMA and CS.L. Of the other bits it has those that say what is checked
# Selectors are paragraph numbers, as the 8086's, and all segments its 64 KiB: with every access unchecked but for that.
# Loading ES or DS then changes nothing but selector and base. CS begins below 1 MiB.
PARAGRAPHS = 1 << 13
PARAGRAPH_BASES = 0xFFFF0
PARAGRAPH_SLOTS_SHIFT = 16 - 4 + 3  # from the base of CS to 65,536 slots of eight bytes for each paragraph
REAL_16 = PARAGRAPHS | REAL | ALIGNMENT_FREE | BREAKPOINT_FREE  # what may become identity beside FLAT
MODE_BITS = 14
EPOCH_BITS = 31 - MODE_BITS  # so that the top bit of a tag is 0
# Tags of 64-bit code: the top bit, epoch, dense mode number, RIP.
RIP_BITS, DENSE_BITS = 48, 7
LONG_EPOCH_BITS = 63 - RIP_BITS - DENSE_BITS
DENSE_SHIFT = 2  # USER, ALIGNMENT_FREE and BREAKPOINT_FREE without what lies above and below
IN_64_BIT_MODE = USER | ALIGNMENT_FREE | BREAKPOINT_FREE  # what the key has there beside CODE_64
WHOLE_CODE_SEGMENT = 0xFFFFFFFF << 32  # what `code_segment` says there, where base and limit do not matter
LONG_TAG, PLAIN_TAG = 1 << 63, (1 << 63) - 1

FLAT_BIT = {ES: FLAT_ES, CS: FLAT_CS, SS: FLAT_SS, DS: FLAT_DS}
