"""Runtime functions that system instructions call and lower layers (memory, engine) implement.

Each returns OK, FAULT or EXIT (bt/x86/context.py) unless it says otherwise. The first argument is the state pointer.
"""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR

# Forget translations of linear addresses: after MOV CR3 (0: keep global pages), CR0.PG, CR4.PGE/PSE/PAE... (1: all);
# FLUSH_FOR_PYTHON (bt/x86/state.py): all, and in long mode the code that is known by its address, for the state may be
# one of long ago, and tags of 64-bit code have few bits of the epoch.
FLUSH_TLB = native("flush_tlb", PTR, "i32")
# Forget one page (INVLPG), global or not: linear address.
INVALIDATE_PAGE = native("invalidate_page", PTR, "i64")
# Let nothing in the branch caches match any more, because linear -> code mappings may have changed: code tag and view
# are made anew, the mode key stays. Always OK.
BEGIN_EPOCH = native("begin_epoch", PTR)
# The same for those who keep ways to code by linear address alone (tier 2): all of them, but those in global pages with
# keep_global (i32); those in one page, wherever in it the address lies.
FORGET_WAYS = native("forget_ways", PTR, "i32")
FORGET_WAYS_AT = native("forget_ways_at", PTR, "i32")
# Recompute what derives from CPL, segments, CR0, EFLAGS: mode key, TLB of the privilege level, code tag.
UPDATE_MODE = native("update_mode", PTR)
# The same where CPL alone has become 0 or 3, and no alignment is checked. Always OK.
SWITCH_LEVEL = native("switch_level", PTR)
# Translate a linear address: linear, access (WALK_* bits). Answers in memory_value the physical address and in
# walk_flags the WALKED_* bits, sets A/D bits; raises #PF with CR2 and error code.
PAGE_WALK = native("page_walk", PTR, "i64", "i32")
WALK_WRITE, WALK_USER, WALK_FETCH = 1, 2, 4
WALK_PEEK = 8  # only if no accessed or dirty bit has to be set for it; else #PF too
# The page survives MOV CR3; it is dirty already and writable for this privilege, so a write needs no walk of its own.
# No instruction may be fetched from it. It is part of a larger one: of 4 MiB or less; of 1 GiB, with both bits.
WALKED_GLOBAL, WALKED_WRITABLE, WALKED_NO_EXECUTE, WALKED_LARGE, WALKED_HUGE = 1, 2, 4, 8, 16
# Kill the code that came from bytes of a page that holds some: guest physical address, size in bytes. Always OK.
CODE_WRITTEN = native("code_written", PTR, "i64", "i32")
# Ports: port, size in bytes (1 2 4); value in memory_value / as argument. May answer EXIT.
PORT_READ = native("port_read", PTR, "i32", "i32")
PORT_WRITE = native("port_write", PTR, "i32", "i32", "i32")
# A register of the processor's local APIC, which there must be, by its offset; value as that of a port.
READ_LOCAL_APIC = native("read_local_apic", PTR, "i32")
WRITE_LOCAL_APIC = native("write_local_apic", PTR, "i32", "i32")
# Note in debug_hits what breakpoints an access hits: linear address or port, bytes, R/W field of DR7 that it would hit
# (breakpoints.py). Always OK.
WATCH_ACCESS = native("watch_access", PTR, "i64", "i32", "i32")
WATCH_WRITE, WATCH_PORT, WATCH_READ = 1, 2, 3
# Deliver the pending exception (fault_*) through the IDT; handles double faults; sets SHUTDOWN exit. EIP = the faulting
# instruction's. Answers OK, perhaps with the shutdown exit, or EXIT: call it again.
DELIVER_FAULT = native("deliver_fault", PTR)
# Deliver an interrupt: vector, kind (INT_*), EIP to return to. FAULT when delivery itself faults.
DELIVER_INTERRUPT = native("deliver_interrupt", PTR, "i32", "i32", "i64")
INT_EXTERNAL, INT_SOFTWARE, INT_EXCEPTION = 0, 1, 2
