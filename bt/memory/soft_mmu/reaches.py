"""Reaches: what accesses of units remember of the soft TLB, so that they need not ask it every time.

A reach is a run of pages that all lie in the TLB with the rights of an access and with one addend: host memory in one
piece. It is right as long as the TLB has these entries, and no longer, for who asks the TLB must not be told from who
does not: whatever takes an entry out of it, or puts one in another's place, forgets the reaches that have it. Those
that are not empty are on a list, some of them more than once; its host address is in the state.
"""

from __future__ import annotations

from bt.codegen.value import PTR, Value
from bt.memory.access import NativeContext
from bt.memory.soft_mmu.host_form import REACH

FEW = 64  # that many are looked at one by one


def forget_reaches(b: NativeContext) -> None:
    """Entries of the TLB are not what they were."""
    known = b.get_pointer("reaches")
    with b.Unlikely(known.zext(64) != 0):
        with b.Range(b.load(known, 64)) as number:
            REACH.put(b, b.load(known + 8 + (number << 3), PTR), "limit", 0)
        b.store(known, b.const(0, 64))


def forget_reaches_of(b: NativeContext, tag: Value) -> None:
    """The entry for a page, given by the address of its last byte, is not what it was."""
    known = b.get_pointer("reaches")
    with b.Unlikely(known.zext(64) != 0):
        count = b.load(known, 64)
        with b.IfElse(count.ugt(FEW)) as arm:
            with arm.then():
                forget_reaches(b)
            with arm.otherwise(), b.Range(count) as number:
                reach = b.load(known + 8 + (number << 3), PTR)
                # the bytes of the reach, less one
                length = REACH.get(b, reach, "limit") + REACH.get(b, reach, "size") - 2
                with b.If((tag - REACH.get(b, reach, "low")).ule(length)):
                    REACH.put(b, reach, "limit", 0)
