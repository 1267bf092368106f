"""The virtual CPU's state: one block of memory that generated code and Python both read and write.

Every architectural register is here (generated code may hold the general registers in host registers while it runs,
but spills them before anything else looks), and so is what the engines share: translation look-aside buffers, the
branch caches, the exit record. All slots are 64 bits wide, because long mode will come.

Generated code holds a pointer 192 bytes into the block, so that the 32 hottest slots of 32-bit code are one-byte
displacements. R8 to R15 lie before them: nothing hot had to move when they came.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from bt.errors import BadUsage
from bt.host.area import (
    Area,
    Released,
)
from bt.x86.features import FEATURE_WORDS

POINTER_BIAS = 192

GPR_NAMES = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
GPR_NAMES_64 = (*(f"r{name[1:]}" for name in GPR_NAMES), *(f"r{number}" for number in range(8, 16)))
EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI = range(8)
SEGMENT_NAMES = ("es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr")
ES, CS, SS, DS, FS, GS, LDTR, TR = range(8)

# One segment register with its hidden part (SDM vol. 3A 3.4.3). [low, high] are the first and last byte that may be
# read / written: derived from limit, type and granularity when the register is loaded, so that an access check is two
# comparisons, expand-down included. An empty range (low > high) forbids every access.
SEGMENT_FIELDS = ("base", "read_low", "read_high", "write_low", "write_high", "selector", "limit", "attributes")
SEGMENT_BYTES = 8 * len(SEGMENT_FIELDS)
# `attributes` holds bits 8-23 of the descriptor's high dword: type, S, DPL, P at 0-7, AVL/L/D/G at 12-15 (as in VMX).
ATTR_TYPE_MASK, ATTR_CODE_OR_DATA, ATTR_PRESENT = 0xF, 1 << 4, 1 << 7
ATTR_DPL_SHIFT = 5
ATTR_LONG, ATTR_BIG, ATTR_GRANULAR = 1 << 13, 1 << 14, 1 << 15
# In real and virtual-8086 mode: present, writable, accessed data of DPL 0 or 3, of the 8086's size
ACCESS_REAL, ACCESS_VIRTUAL_8086 = 0x93, 0xF3
LIMIT_8086 = 0xFFFF
NOWHERE = 8  # a host address at which nothing ever is
WHOLE_LIMIT = 0x1_0000_000F  # last byte of a flat segment: beyond 4 GiB, so that wrapping accesses pass as on hardware

FLUSH_FOR_PYTHON = 2  # argument of flush_tlb, see bt/x86/services.py
TLB_TABLES = ("tlb_supervisor", "tlb_user", "tlb_supervisor_64", "tlb_user_64")
TLB_BYTES = 256 << 10  # one table of the software TLB, whose entries are bt/memory/soft_mmu's business
TLB_FILLED_SLOTS = 4 * TLB_BYTES // 32 // 64  # a bit for each entry of four tables
LARGE_REGIONS_SLOTS = (1 << 32) // (4 << 20) // 64  # a bit for each 4 MiB

# Device accesses of one instruction: ENTER with 31 levels makes 64, of which each may be in two parts.
MMIO_SLOTS = 128

ADDENDS = 8  # that a unit of 64-bit code may keep in the state
BRANCH_CACHE_ENTRIES, BRANCH_CACHE_ENTRY_BYTES = 16384, 16  # tag (code_tag | eip), host code or decoded record
RETURN_STACK_ENTRIES = 16
FETCHED_PAGES_SLOTS = 64  # a bit a page: of Linux's some hundred between two switches few share one
KNOWN_SEGMENTS = 16  # a BIOS and who calls it are some at a time
CLOCK_SCALE_SHIFT = 24  # fractional bits of clock_scale: the cycles of an hour times it still fit into 64 bits
VARIABLE_MTRRS, FIXED_MTRRS = 8, 11
CPUID_LEAVES = 24

# The longest way to a shutdown: interrupt, contributory exception, page fault, double fault (SDM vol. 3A table 6-5).
FAULT_CHAIN_ENTRIES = 4
# An exception or interrupt under delivery: vector (and FAULT_INTERRUPT), error code (all ones: none), where the
# processor was, and with which exception delivery failed.
FAULT_FIELDS = ("event", "error", "cr2", "cs", "cs_base", "eip", "mode", "cr3", "raised", "raised_error")
FAULT_BYTES = 8 * len(FAULT_FIELDS)
FAULT_INTERRUPT, FAULT_NO_ERROR = 1 << 8, (1 << 64) - 1

# What slots hold after reset (SDM vol. 3A table 10-1; MISC_ENABLE: fast strings, no branch trace store, no precise
# event sampling, vol. 4 table 2-54).
CR0_RESET, DR6_RESET, DR7_RESET = 0x6000_0010, 0xFFFF_0FF0, 0x400
APIC_BASE_ENABLED = 1 << 11
PAT_RESET, APIC_BASE_RESET, MISC_ENABLE_RESET = 0x0007_0406_0007_0406, 0xFEE0_0100, 0x1801
FPU_CONTROL_RESET, MXCSR_RESET, MXCSR_MASKS = 0x40, 0x1F80, 0x1F80
NEVER = (1 << 64) - 1

PAGE_DIRTY = 1  # in the dirty log; 0: nothing was written to the page


class Kind(Enum):
    """What becomes of a field between two runs. A snapshot has the first two."""

    ARCHITECTURAL = "what a guest can find out about its processor, and its wires"
    PENDING = "what an instruction or event leaves for the next: an access under way, a shadow, how the run ended"
    DERIVED = "worth nothing after a run: `flush` and the next run make it anew; caches, counters, scratch"
    HOST = "what the vCPU was made with: host addresses, constants, the CPU model, a debugger's wishes"


class Compared(Enum):
    """What two engines must have in common after the same number of instructions."""

    EXACTLY = "the value"
    WHILE_NOW = "whether the instruction count that it holds is the present one"
    NOT = "nothing, or it is compared as something else: the lazy flags as EFLAGS"


ARCHITECTURAL, PENDING, DERIVED, HOST = Kind
EXACTLY, WHILE_NOW, NOT = Compared


class Field(NamedTuple):
    """One field of the block: `slots` of 64 bits, which a reset sets to `reset` each (None: leaves alone)."""

    name: str
    kind: Kind
    slots: int = 1
    reset: int | None = 0
    compared: Compared | None = None  # None: EXACTLY what is architectural, NOT what is something else

    @property
    def comparison(self) -> Compared:
        return self.compared or (EXACTLY if self.kind is ARCHITECTURAL else NOT)


def _moment(name: str) -> Field:
    """An instruction count, at which something is different."""
    return Field(name, PENDING, reset=NEVER, compared=WHILE_NOW)


# Order is layout: hot ones first.
FIELDS: tuple[Field, ...] = (
    Field("gpr_high", ARCHITECTURAL, 8),  # r8 to r15; `offset` and CpuState know them as "gpr", 8 to 15, too
    Field("gpr", ARCHITECTURAL, 8),
    Field("zero", HOST),  # always 0: the "register" of an absent base or index
    Field("flag_result", ARCHITECTURAL, compared=NOT),  # lazy arithmetic flags, see bt/x86/flags.py
    Field("flag_aux", ARCHITECTURAL, compared=NOT),
    Field("eip", ARCHITECTURAL, reset=0xFFF0),
    Field("budget", DERIVED),  # instructions left; host register while guest code runs
    Field("tlb", DERIVED),  # host address of the TLB table of the current privilege (user or supervisor)
    Field("code_tag", DERIVED),  # (epoch << 12 | mode) << 32: what an entry of the branch caches must match beside eip
    Field("eflags_system", ARCHITECTURAL),  # EFLAGS without the six arithmetic flags
    Field("return_top", DERIVED),  # byte offset of the newest entry in return_stack
    Field("scratch", DERIVED),  # translator: the scratch register T while spilled
    Field("memory_value", DERIVED),  # result of a slow memory read
    Field("walk_flags", DERIVED),  # second result of page_walk: bit 0 global page, bit 1 a write needs no further walk
    Field("bounce", DERIVED, 2),  # operand of a read-modify-write that cannot use RAM directly
    Field("bounce_linear", DERIVED),
    Field("bounce_size", DERIVED),  # bytes; 0 = no such operand under way
    Field("branch_lookups", DERIVED),  # translated code: searches of branch_cache
    Field("return_hits", DERIVED),  # RETs that the return stack predicted
    Field("fp_ready", DERIVED),  # FP_READY_* bits: classes of FP instructions that may simply be executed
    Field("fpu_ip", ARCHITECTURAL),  # the last x87 instruction but for control ones: EIP, offset of operand
    Field("fpu_dp", ARCHITECTURAL),
    Field("ram_entry", HOST),  # what the map of physical memory has for RAM from zero up
    Field("slot_31", DERIVED),  # room in the hot area
    # -- segments: es cs ss ds fs gs ldtr tr
    Field("segment", ARCHITECTURAL, 8 * len(SEGMENT_FIELDS)),
    Field("gdtr_base", ARCHITECTURAL),
    Field("gdtr_limit", ARCHITECTURAL, reset=0xFFFF),
    Field("idtr_base", ARCHITECTURAL),
    Field("idtr_limit", ARCHITECTURAL, reset=0xFFFF),
    Field("cr0", ARCHITECTURAL, reset=CR0_RESET),
    Field("cr2", ARCHITECTURAL),
    Field("cr3", ARCHITECTURAL),
    Field("cr4", ARCHITECTURAL),
    Field("dr", ARCHITECTURAL, 8),
    Field("cpl", ARCHITECTURAL),
    Field("mode", DERIVED, compared=EXACTLY),  # translation mode key, see bt/x86/mode.py
    Field("epoch", DERIVED),  # bumped whenever linear -> code mappings may have changed, and for each new code segment
    Field("code_segment", DERIVED),  # base of CS, and its limit << 32, when the epoch began
    Field("code_epoch", DERIVED),  # the epoch that this code segment has: the one in tags
    Field("mapped_since", DERIVED),  # epoch in which mappings changed last
    Field("known_segments", DERIVED, 2 * KNOWN_SEGMENTS),  # code segments as above, and the epoch of each
    Field("fetched_pages", DERIVED, FETCHED_PAGES_SLOTS),  # see system/paging/fetched_pages.py
    Field("fetched_slots", DERIVED),  # a bit for each of these that may not be zero
    Field("sysenter_cs", ARCHITECTURAL),
    Field("sysenter_esp", ARCHITECTURAL),
    Field("sysenter_eip", ARCHITECTURAL),
    Field("efer", ARCHITECTURAL),
    Field("star", ARCHITECTURAL),
    Field("lstar", ARCHITECTURAL),
    Field("cstar", ARCHITECTURAL),
    Field("sfmask", ARCHITECTURAL),
    Field("kernel_gs_base", ARCHITECTURAL),
    Field("tsc_aux", ARCHITECTURAL),
    Field("cr8", ARCHITECTURAL),  # of a processor without a local APIC, or whose is off
    Field("pat", ARCHITECTURAL, reset=PAT_RESET),
    Field("apic_base", ARCHITECTURAL, reset=APIC_BASE_RESET),
    Field("misc_enable", ARCHITECTURAL, reset=MISC_ENABLE_RESET),
    Field("mcg_status", ARCHITECTURAL),
    Field("mtrr_default", ARCHITECTURAL),
    Field("mtrr_variable", ARCHITECTURAL, 2 * VARIABLE_MTRRS),  # base and mask each
    Field("mtrr_fixed", ARCHITECTURAL, FIXED_MTRRS),
    Field("pdpte", ARCHITECTURAL, 4),  # PAE: page-directory-pointer-table entries, as of the last load of CR3
    # -- what the CPU model allows (bt/x86/cpu_model.py)
    Field("features", HOST, len(FEATURE_WORDS)),  # see bt/x86/features.py
    Field("cr4_allowed", HOST),
    Field("physical_reserved", HOST),  # physical address bits the processor has not
    Field("signature", HOST),
    Field("cpuid", HOST, 5 * CPUID_LEAVES),  # leaf, eax, ebx, ecx, edx each; the last answers for those missing
    # -- x87, MMX, SSE: see system/fp_state.py
    Field("fp_loaded", DERIVED),  # 1: the guest's registers are in the host's, and fp_image is out of date
    Field("fpu_control", ARCHITECTURAL, reset=FPU_CONTROL_RESET),  # the guest's: the host's has all masked
    Field("mxcsr_masks", ARCHITECTURAL, reset=MXCSR_MASKS),  # the guest's, in place: the host's are all set
    Field("comparison_flags", HOST, 8),  # see flags.COMPARISON_FLAGS
    Field("fpu_cs", ARCHITECTURAL),  # selectors and opcode of the last x87 instruction
    Field("fpu_ds", ARCHITECTURAL),
    Field("fpu_opcode", ARCHITECTURAL),
    Field("ignore_fp_error", ARCHITECTURAL),  # 1: IGNNE#, x87 instructions run although an exception is pending
    Field("host_control", DERIVED),  # bt's own x87 control word and MXCSR while the guest's are loaded
    Field("host_mxcsr", DERIVED),
    Field("fp_scratch", DERIVED, 14),  # words on their way to or from the host's registers; FNSAVE takes 108 bytes
    Field("fp_image", ARCHITECTURAL, 64),  # FXSAVE image of the guest's registers
    Field("fp_saved", DERIVED, 64),  # the same before an instruction that may have to be undone
    Field("fp_operand", DERIVED, 64),  # operand that is not plain RAM, or lies across two pages
    Field("fp_operand_linear", DERIVED),
    Field("fp_operand_size", DERIVED),  # bytes to be written back; 0: none
    Field("tsc_offset", ARCHITECTURAL, reset=None),  # what writes of the time stamp counter have added to the time
    # instructions retired before this run; + (run_budget - budget) = now
    Field("icount_base", ARCHITECTURAL, reset=None, compared=NOT),
    # of the budget, set aside while one instruction runs alone (engine/boundary.py); 0 on the way out of a run
    Field("deferred", DERIVED),
    Field("service", DERIVED),  # the interpreter works for the translator, and returns to it (bt/engine/boundary.py)
    Field("block", DERIVED),  # translator: host address of the block found last
    # 1: the instruction that runs alone is followed by a single-step trap (TF); 0 on the way out, behind that trap
    Field("step_trap", DERIVED),
    Field("run_budget", DERIVED),  # budget this run began with
    Field("a20_mask", ARCHITECTURAL, reset=None),  # ANDed to every physical address
    # -- events
    Field("intr_pending", ARCHITECTURAL, reset=None),  # the PIC's INTR line
    _moment("inhibit"),  # no interrupt (after sti, mov ss, pop ss)
    _moment("debug_shadow"),  # no trap and no breakpoint (after mov ss, pop ss)
    _moment("trapped_at"),  # a trap has been delivered; more of them cost an instruction each
    _moment("resume_at"),  # EFLAGS.RF: no instruction breakpoint
    Field("loaded_resume_flag", PENDING),  # 1: IRET or a task switch has just loaded RF: shields what comes next
    Field("debugging", DERIVED),  # 1: DR7 enables breakpoints; derived by update_mode
    Field("debug_hits", PENDING),  # DR6 bits of the breakpoints that the instruction's accesses hit
    Field("pushed_resume_flag", PENDING),  # 1: the next event that is no fault pushes RF
    Field("nmi_pending", ARCHITECTURAL),
    Field("nmi_blocked", ARCHITECTURAL),  # from the delivery of an NMI to the next IRET
    Field("delivering", PENDING),  # what is under delivery while a device takes part in it: DELIVERING_*
    Field("fault_vector", PENDING),
    Field("fault_error", PENDING),
    Field("fault_has_error", PENDING),
    # deliveries that failed, one because of the other, since an event was last to be delivered
    Field("fault_depth", PENDING, compared=EXACTLY),
    Field("fault_chain", PENDING, FAULT_CHAIN_ENTRIES * len(FAULT_FIELDS)),  # these and the one under way
    Field("fault_in_new_task", PENDING),  # 1: the fault came after a task switch, EIP is the new task's
    Field("trap_vectors", HOST),  # debugger: bit n = leave with an EXCEPTION exit instead of delivering vector n
    # -- time beside instructions
    Field("access_ns", PENDING),  # time of accesses just served in native code, not yet accounted for
    # instructions that will have retired after the one that accesses devices; 0: it does not run alone, nobody knows
    Field("accessed_at", DERIVED),
    Field("wants_alone", DERIVED),  # 1: the next instruction accesses a device, and is to run alone
    Field("clock_offset", DERIVED),  # ns: with clock_scale 0 the time is the instruction count plus this
    Field("clock_scale", DERIVED),  # not 0: the time is the host's, so many ns * 2**CLOCK_SCALE_SHIFT a cycle
    Field("clock_cycles", DERIVED),  # host's counter when this run began, at the time clock_offset
    Field("clock_last", PENDING, reset=None),  # host's time as the guest saw it last: it does not go back
    # -- exits to Python
    Field("exit_reason", PENDING),
    Field("exit_instructions", PENDING),  # retired in the run that has ended
    Field("exit_beside_ns", PENDING),  # what passed beside them; clock_offset when the run began while it lasts
    Field("exit_address", PENDING),
    Field("exit_size", PENDING),
    Field("exit_write", PENDING),
    Field("exit_value", PENDING),
    Field("exit_extra", PENDING),
    Field("mmio_count", PENDING),  # accesses of the current instruction already served
    Field("mmio_used", DERIVED),  # of these, replayed so far in this attempt; 0 once it has ended
    Field("mmio_value", PENDING, MMIO_SLOTS),
    # -- memory
    Field("memory_map", HOST),  # host address of the map of physical memory, see memory/map_layout.py
    Field("dirty_log", HOST),  # host address of one byte a physical page, see memory/dirty_log.py
    Field("page_info", HOST),  # host address of one u64 a physical page: its map of code, see memory/physical.py
    Field("port_access", HOST),  # host address of 65536 bytes: NATIVE_READ, NATIVE_WRITE (bt/memory/bus.py)
    Field("port_values", HOST),  # host address of the 65536 values that are read and written so
    Field("native_registers", HOST),  # host addresses of what serves registers in native code: those of ports,
    Field("native_windows", HOST),  # and those in memory (bt/memory/native_registers.py)
    Field("engine", HOST),  # host address of the running engine's own control block
    Field("tlb_system", DERIVED),  # the same for the processor's own accesses, to descriptors for example
    Field("tlb_has_global", DERIVED),  # not 0: entries of global pages may be there
    Field("tlb_has_huge", DERIVED),  # the same of 1 GiB pages
    Field("tlb_filled", DERIVED, TLB_FILLED_SLOTS),  # a bit for each entry of the tables: it may not be empty
    Field("tlb_filled_slots", DERIVED, TLB_FILLED_SLOTS // 64),  # a bit for each of these: it may not be zero
    Field("tlb_filled_rows", DERIVED),  # and one for each of these
    Field("large_regions", DERIVED, LARGE_REGIONS_SLOTS),  # a bit for 4 MiB: entries of a large page may be there
    Field("tlb_fills", DERIVED),
    Field("tlb_flushes", DERIVED),
    Field("tlb_fill_cycles", DERIVED),  # host cycles in the software TLB's fills, by samples
    Field("native_accesses", DERIVED),  # to devices, answered by native code
    Field("statistic", DERIVED, 30),  # room for others
    Field("return_stack", DERIVED, 2 * RETURN_STACK_ENTRIES),
    Field("branch_cache", DERIVED, 2 * BRANCH_CACHE_ENTRIES),
    Field("record_cache", DERIVED, 2 * BRANCH_CACHE_ENTRIES),
    Field("tlb_supervisor", DERIVED, TLB_BYTES // 8),
    Field("tlb_user", DERIVED, TLB_BYTES // 8),
    Field("tlb_supervisor_64", DERIVED, TLB_BYTES // 8),  # the same for 64-bit mode, and the tables of long mode
    Field("tlb_user_64", DERIVED, TLB_BYTES // 8),
    Field("tlb_none", HOST, TLB_BYTES // 8),  # always empty: for accesses that are checked for alignment or breakpoints
    # -- tier 2 (bt/engine/identity)
    Field("unpaged_view", HOST),  # host address of the view of physical memory (bt/memory/host_mmu), 0: there is none
    Field("paged_views", HOST),  # host address of PAGED_VIEWs: the first for the CPLs below 3, the others for 3
    Field("paged_view_used", HOST),  # 1: pages may be mapped in one of them
    Field("user_view", HOST),  # host address of the one for the present CR3
    Field("paged_view_rests", HOST),  # instruction count up to which these are not worth it
    Field("view", HOST),  # host address of the one of these that is right for the present mode
    Field("view_wanted", HOST),  # 1: a view may be used, or opened
    # host addresses of one slot a guest address: below CPL 3, for CPL 3, and for REAL_16 one for each CS:IP
    Field("branch_tables", HOST, 3),
    Field("branch_table", HOST),  # the one for the present mode, from its slot for EIP 0 on
    Field("offset_probe", HOST),  # host address of 64 KiB that can be read, and nothing behind (making/paragraphs.py)
    Field("fault_registry", HOST),  # see bt/host/faults.py
    # host addresses of the bases of FS and GS, each where its segment is whole (readable and writable up to the end of
    # 4 GiB from its base on); else NOWHERE
    Field("whole_bases", DERIVED, 2),
    Field("view_open", DERIVED),  # 1: units may be entered in the present mode
    # READY_* bits without which no unit may be entered, because some have such instructions
    Field("units_need", HOST),
    Field("heat_wanted", HOST),  # so many times does a place run before it gets a unit
    Field("patience", HOST),  # host cycles in guest code after which places are counted at all, if they are not yet
    Field("heat_limit", DERIVED),  # the same while the mode is right, else 0
    Field("host_flags", DERIVED),  # at crossings: AH as LAHF has it, and OF in AL
    # for repairs of flags that units do late: EAX with AH as LAHF had it, a rotated result, a count in CL
    Field("noted_flags", DERIVED),
    Field("noted_result", DERIVED),
    Field("noted_count", DERIVED),
    Field("host_frame", DERIVED),  # rbp of tier 1, while tier 2 has its table there
    Field("unit_target", DERIVED),  # where a crossing leads
    Field("unit_number", DERIVED),  # of the unit where tier 2 was entered
    Field("unit_entered", DERIVED),  # the budget when tier 2 was entered
    Field("in_unit", DERIVED),  # 1: in tier 2, until that is left; for those who sample (bt/machine/accounts.py)
    Field("fault_linear", DERIVED),  # of an access that the view does not let through
    Field("fault_write", DERIVED),
    Field("fault_signal", DERIVED),
    Field("recording", DERIVED),  # 1: the path that is taken is noted
    Field("unit_addends", DERIVED, ADDENDS),  # of 64-bit code: from linear addresses to those in the host
    Field("flag_sources", DERIVED, 3),  # of 64-bit code: what recipes make flags from (identity/long/recipes.py)
    Field("reaches", HOST),  # host address of a list (bt/memory/soft_mmu/reaches.py), 0: there is none
    Field("unit_cache", DERIVED, 2 * BRANCH_CACHE_ENTRIES),  # tags of 64-bit code, and units that begin there
)


_CACHE_LINE = 64
# In bytes: as FXSAVE and SSE operands want it; and so that no entry of a table lies in two cache lines (sieve: 15 %).
_ALIGNMENT = dict.fromkeys(("fp_image", "fp_saved", "fp_operand"), 16) | dict.fromkeys(
    ("return_stack", "branch_cache", "record_cache", "unit_cache", *TLB_TABLES, "tlb_none"), _CACHE_LINE
)


def _layout() -> tuple[dict[str, int], int]:
    offsets: dict[str, int] = {}
    at = -POINTER_BIAS
    for name, _, slots, _, _ in FIELDS:
        at = (at + _ALIGNMENT.get(name, 8) - 1) & -_ALIGNMENT.get(name, 8)
        offsets[name] = at
        at += 8 * slots
    return offsets, (at + 7) // 8 * 8 + POINTER_BIAS


OFFSETS, STATE_BYTES = _layout()
# Index of each slot by what Python calls it: a key that is not here would be somebody else's slot. Caches and TLBs have
# their first slot only, which saves 10 ms at each start: nobody calls their entries by number.
_INDEX: dict[str | tuple[str, int], int] = {name: (at + POINTER_BIAS) // 8 for name, at in OFFSETS.items()}
_INDEX |= {(name, n): _INDEX[name] + n for name, _, slots, _, _ in FIELDS if slots <= MMIO_SLOTS for n in range(slots)}
_INDEX |= {("gpr", 8 + n): _INDEX["gpr_high", n] for n in range(8)}
_SEGMENT_INDEX = {
    (number, part): _INDEX["segment"] + len(SEGMENT_FIELDS) * number + place
    for number in range(len(SEGMENT_NAMES))
    for place, part in enumerate(SEGMENT_FIELDS)
}


SAVED_KINDS = (ARCHITECTURAL, PENDING)
FP_FIELDS = tuple(
    field for field in FIELDS if field.kind is ARCHITECTURAL and field.name.startswith(("fpu_", "mxcsr_", "fp_image"))
)
"""The guest's x87, MMX and SSE registers."""


def _saved_parts() -> tuple[tuple[int, int], ...]:
    """Where `save` finds its bytes in the block: neighbours together, from one byte to before another."""
    parts: list[tuple[int, int]] = []
    for name, kind, slots, _, _ in FIELDS:
        if kind in SAVED_KINDS:
            start = OFFSETS[name] + POINTER_BIAS
            if parts and parts[-1][1] == start:
                start = parts.pop()[0]
            parts.append((start, OFFSETS[name] + POINTER_BIAS + 8 * slots))
    return tuple(parts)


_SAVED = _saved_parts()
_EXIT_RECORD = struct.Struct("<Qqq5Q")
_EXIT_OFFSET = 8 * _INDEX["exit_reason"]


def slot_number(name: str) -> int:
    """Index of a field's first slot in `CpuState.slots`."""
    return _INDEX[name]


def offset(name: str, index: int = 0) -> int:
    """Displacement of a slot from the state pointer, in bytes."""
    if name == "gpr" and index >= len(GPR_NAMES):
        name, index = "gpr_high", index - len(GPR_NAMES)
    return OFFSETS[name] + 8 * index


def segment_offset(segment: int, name: str) -> int:
    """Displacement of one hidden or visible part of a segment register."""
    return OFFSETS["segment"] + SEGMENT_BYTES * segment + 8 * SEGMENT_FIELDS.index(name)


def register_offset(number: int, width: int) -> int:
    """Where a general register operand lives; 8-bit registers 4-7 are ah ch dh bh, those above their own low bytes."""
    if width == 8 and 4 <= number < len(GPR_NAMES):
        return offset("gpr", number - 4) + 1
    return offset("gpr", number)


class CpuState:
    """Python's view of one vCPU's block: `state["cr3"]`, `state["gpr", EAX]`, `state.segment(CS, "base")`.

    Slots hold 64 bits; what is written is cut to them. General registers, EIP and arithmetic flags may simply be
    written between two runs. After anything else that has a say in what code means or where memory is - control and
    debug registers, `cpl`, `efer`, segment registers (segment_cache.py fills them whole), `eflags_system`,
    `a20_mask`, `features` - call the vCPU's `flush`, which derives from it what the engines go by. Host addresses and
    caches are the engines' own: whoever writes those brings the process down.

    BadUsage for slots that there are not, Closed after `close`.
    """

    def __init__(self) -> None:
        self._area = Area(STATE_BYTES)
        self.slots: ctypes.Array[ctypes.c_uint64] | Released = (ctypes.c_uint64 * (STATE_BYTES // 8)).from_buffer(
            self._area.map
        )  # by `slot_number`
        self._map = self._area.map
        self.pointer = self._area.address + POINTER_BIAS

    @property
    def view(self) -> memoryview:
        """The block as bytes, which begins POINTER_BIAS bytes before `pointer`."""
        return memoryview(self._area.map)

    def exit_record(self) -> tuple[int, ...]:
        """`exit_reason` to `exit_extra`, in one go."""
        return _EXIT_RECORD.unpack_from(self._map, _EXIT_OFFSET)

    def __getitem__(self, key: str | tuple[str, int]) -> int:
        try:
            return self.slots[_INDEX[key]]
        except (KeyError, TypeError):
            raise BadUsage(f"{key!r}: no such CPU state; bt/x86/state.py lists what there is") from None

    def __setitem__(self, key: str | tuple[str, int], value: int) -> None:
        try:
            self.slots[_INDEX[key]] = value
        except (KeyError, TypeError):
            self[key]  # is it the key's fault?
            raise BadUsage(f"CPU state {key!r}: {value!r}: a whole number is wanted") from None

    def put_all(self, name: str, values: Sequence[int]) -> None:
        """Write to the slots of a field, from its first on."""
        at = slot_number(name)
        self._map[8 * at : 8 * (at + len(values))] = struct.pack(f"<{len(values)}Q", *values)

    def fill(self, field: Field, value: int) -> None:
        """Write `value` to all slots of a field."""
        at = OFFSETS[field.name] + POINTER_BIAS
        self._area.map[at : at + 8 * field.slots] = value.to_bytes(8, "little") * field.slots

    def save(self) -> bytes:
        """All that is ARCHITECTURAL or PENDING, between two runs. `restore` takes it, on any vCPU of the same model."""
        return b"".join([self._map[start:end] for start, end in _SAVED])

    def restore(self, saved: bytes) -> None:
        """Be what `save` has seen. The vCPU must forget its TLB afterwards, which derives the rest."""
        at = 0
        for start, end in _SAVED:
            self._map[start:end] = saved[at : at + end - start]
            at += end - start

    def address(self, name: str, index: int = 0) -> int:
        """Host address of a slot, good until `close`."""
        return self.pointer + offset(name, index)

    def segment(self, number: int, part: str) -> int:
        return self.slots[_segment_index(number, part)]

    def set_segment(self, number: int, part: str, value: int) -> None:
        self.slots[_segment_index(number, part)] = value

    def close(self) -> None:
        """Unmap the block; nothing may use `pointer` any more."""
        self.slots = Released()
        self._area.close()


def _segment_index(number: int, part: str) -> int:
    try:
        return _SEGMENT_INDEX[number, part]
    except KeyError:
        raise BadUsage(f"{number!r}, {part!r}: no such segment register, or no such part of it") from None
