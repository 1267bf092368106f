"""The structures of tier 2: units, the sites in them, and what counts and paths are kept in."""

from __future__ import annotations

from bt.codegen.layout import Layout
from bt.x86.page import REGION_SHIFT

# The budget register has so much less than the budget while a unit runs: as much as may be executed before a unit's
# charge, or between a charge and the instruction that overwrites the flags it has destroyed.
BIAS = 64

UNIT_BYTES = 48
UNIT = Layout(
    (
        ("slot", 64),  # host address of its slot in the branch table
        ("block", 64),  # host address of the BLOCK that it begins with
        ("head", 64),  # the first eight bytes of that block's fragment, which leads here as long as the unit lives
        ("code", 64),  # host address
        ("linear", 32),  # address of the code
        ("dead", 32),
        ("short", 32),  # how much more often a stay that began here was short than long
        ("wide", 32),  # 1: it has code from several pages, which is good without paging only
    ),
    UNIT_BYTES,
)
UNITS, MEMBERS = 1 << 13, 1 << 17

# A place in a unit that can leave it.
UNIT_SITE_BYTES = 48
UNIT_SITE = Layout(
    (
        ("at", 32),  # of the host instruction, behind CONTROL.unit_code; for the signal handler
        ("unit", 32),
        ("record", 64),  # the decoded instruction
        ("retry", 32),  # where its code begins, behind CONTROL.unit_code
        ("behind", 32),  # and ends; 0: nothing of the unit follows
        ("refund", 32),  # instructions charged and not executed, this one included; negative: executed, not charged
        ("traps", 16),
        ("stores", 16),  # 1: a load by which the instruction begins is one for writing, as processors ask for it
        # the last x87 instruction that is not noted yet, or NO_X87_EIP; segment of the last operand, or NO_X87_SEGMENT
        ("x87_eip", 32),
        ("x87_segment", 16),
        ("due", 16),  # LATE_* bits: what is still to be done to make the host's undefined flags bt's
        ("x87_operand", 64),  # the decoded instruction with the last x87 operand, if that is not noted yet, or 0
    ),
    UNIT_SITE_BYTES,
)
UNIT_SITES = 1 << 17
LATE_AF, LATE_CARRIED_OF, LATE_NO_OF = 1, 2, 4  # set AF; OF = CF xor SF; clear OF
LATE_ROL, LATE_ROR = 8, 16  # OF = CF xor the highest bit of what is noted; the two highest bits of it xor'ed
LATE_KEPT, LATE_KEPT_AF = 32, 64  # SF ZF AF PF are those that are noted; with AF set
# What LATE_AF does, and one of the two for OF, unless the count that is noted is 0; LATE_NO_OF only beyond 1.
LATE_BY_COUNT = 128

# A slot of the branch table that leads to a unit.
WAY_BYTES = 16
WAY = Layout(
    (
        ("slot", 64),  # host address
        ("linear", 32),
        ("is_global", 32),  # 1: MOV CR3 does not change what is there
    ),
    WAY_BYTES,
)
WAYS = 1 << 13
# Behind them a u32 for each region of linear addresses: how many lead there.
WAYS_THERE = WAYS * WAY_BYTES
WAYS_AREA_BYTES = WAYS_THERE + 4 * ((1 << 32) >> REGION_SHIFT)

HEAT_ENTRIES = 1 << 16
HEAT_DONE, HEAT_UNIT = 0xFFFF, 0xFFFE  # nothing to be gained: it can have no unit, or it has one
# Values of heat_limit, for tests: units wherever they can be, whatever that takes. Each block becomes one by itself,
# before it has run; or the path from each place that is come back to.
EAGER, PATHS = 1, 2
AT_ONCE = 0  # samples of a unit of 64-bit code before it has reaches
MOST_TRAPS = 8  # of a site; then its unit is made anew without it
TRAPPING = 1 << 10
TRAP_OUTSIDE, TRAP_BESIDE_CODE = 1 << 32, 1 << 33  # beside the EIP of what trapped: why

SHORT_STAY = 100  # instructions, for which leaving tier 1 and coming back was not worth it
MOST_SHORT = 500  # then the unit is given up, and its place stays in tier 1

PATH_BLOCKS, PATH_INSNS = 32, 96
# What leads to an indirect jump in so many is part of each trace that comes there: each jump is predicted for itself.
REPEATED_INSNS = 12

# With paging places are counted only in pages where the guest was found so many times when its slice of time was over.
HOT_SAMPLES = 10
SAMPLES_BY_STAYS = 3  # as good as so many of these are MOST_SHORT stays in a unit that end there
PAGED_HEAT_SHIFT = 3  # and places there must be come back to so many times more often (a power of two)
SAMPLED_PAGES = 1 << 20  # one byte each, by linear address

# Opening a page takes as long as so many instructions gain, and every trap, in which the host's signal is the dearest,
# as long as so many. Whoever is that much in debt gives views with paging up for
# a while, and for twice as long each time, until they have earned as much.
OPENING_COST, TRAP_COST = 40_000, 4_000
MOST_DEBT = MOST_EARNED = 20_000_000
SHORTEST_REST, LONGEST_REST = 200_000_000, 6_400_000_000
