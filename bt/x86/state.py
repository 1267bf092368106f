"""The virtual CPU's state: one block of memory that generated code and Python both read and write.

Every architectural register is here (generated code may hold the general registers in host registers while it runs,
but spills them before anything else looks), and so is what the engines share: translation look-aside buffers, the
branch caches, the exit record. All slots are 64 bits wide, because long mode will come.

Generated code holds a pointer 128 bytes into the block, so that the 32 hottest slots are one-byte displacements.
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass, field

from bt.errors import BadUsage
from bt.host.area import (
    Area,
    Released,
)
from bt.x86.features import FEATURE_WORDS

POINTER_BIAS = 128

GPR_NAMES = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
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
ATTR_BIG, ATTR_GRANULAR = 1 << 14, 1 << 15
WHOLE_LIMIT = 0x1_0000_000F  # last byte of a flat segment: beyond 4 GiB, so that wrapping accesses pass as on hardware

# Software TLB: entry = read tag, write tag, addend (host = linear + addend), physical page. Invalid tags are all ones.
TLB_ENTRIES = 1024
TLB_ENTRY_BYTES = 32
TLB_BYTES = TLB_ENTRIES * TLB_ENTRY_BYTES

# Device accesses of one instruction: ENTER with 31 levels makes 64, of which each may be in two parts.
MMIO_SLOTS = 128

BRANCH_CACHE_ENTRIES, BRANCH_CACHE_ENTRY_BYTES = 4096, 16  # tag (code_tag | eip), host code or decoded record
RETURN_STACK_ENTRIES = 16
CLOCK_SCALE_SHIFT = 24  # fractional bits of clock_scale: the cycles of an hour times it still fit into 64 bits
VARIABLE_MTRRS, FIXED_MTRRS = 8, 11
CPUID_LEAVES = 16

# The longest way to a shutdown: interrupt, contributory exception, page fault, double fault (SDM vol. 3A table 6-5).
FAULT_CHAIN_ENTRIES = 4
# An exception or interrupt under delivery: vector (and FAULT_INTERRUPT), error code (all ones: none), where the
# processor was, and with which exception delivery failed.
FAULT_FIELDS = ("event", "error", "cr2", "cs", "cs_base", "eip", "mode", "cr3", "raised", "raised_error")
FAULT_BYTES = 8 * len(FAULT_FIELDS)
FAULT_INTERRUPT, FAULT_NO_ERROR = 1 << 8, (1 << 64) - 1

# (name, number of 64-bit slots). Order is layout: hot ones first.
_FIELDS: tuple[tuple[str, int], ...] = (
    ("gpr", 8),
    ("zero", 1),  # always 0: the "register" of an absent base or index
    ("flag_result", 1),  # lazy arithmetic flags, see bt/x86/flags.py
    ("flag_aux", 1),
    ("eip", 1),
    ("budget", 1),  # instructions left; host register while guest code runs
    ("tlb", 1),  # host address of the TLB table of the current privilege (user or supervisor)
    ("code_tag", 1),  # (epoch << 12 | mode) << 32: what an entry of the branch caches must match beside eip
    ("eflags_system", 1),  # EFLAGS without the six arithmetic flags
    ("return_top", 1),  # byte offset of the newest entry in return_stack
    ("site", 1),  # translator: number of the site that left translated code
    ("scratch", 1),  # translator: the scratch register T while spilled
    ("memory_value", 1),  # result of a slow memory read
    ("walk_flags", 1),  # second result of page_walk: bit 0 global page, bit 1 a write needs no further walk
    ("bounce", 2),  # operand of a read-modify-write that cannot use RAM directly
    ("bounce_linear", 1),
    ("bounce_size", 1),  # bytes; 0 = no such operand under way
    ("branch_lookups", 1),  # translated code: searches of branch_cache
    ("return_hits", 1),  # RETs that the return stack predicted
    ("fp_ready", 1),  # FP_READY_* bits: classes of FP instructions that may simply be executed, see system/fp_state.py
    ("fpu_ip", 1),  # the last x87 instruction but for control ones: EIP, offset of its operand (more below)
    ("fpu_dp", 1),
    ("slot_30", 2),  # room in the hot area
    # -- segments: es cs ss ds fs gs ldtr tr
    ("segment", 8 * len(SEGMENT_FIELDS)),
    ("gdtr_base", 1),
    ("gdtr_limit", 1),
    ("idtr_base", 1),
    ("idtr_limit", 1),
    ("cr0", 1),
    ("cr2", 1),
    ("cr3", 1),
    ("cr4", 1),
    ("dr", 8),
    ("cpl", 1),
    ("mode", 1),  # translation mode key, see bt/x86/mode.py
    ("epoch", 1),  # bumped whenever linear -> code mappings may have changed
    ("code_segment", 1),  # base of CS, and its limit << 32, when the epoch began
    ("sysenter_cs", 1),
    ("sysenter_esp", 1),
    ("sysenter_eip", 1),
    ("efer", 1),
    ("pat", 1),
    ("apic_base", 1),
    ("misc_enable", 1),
    ("mcg_status", 1),
    ("mtrr_default", 1),
    ("mtrr_variable", 2 * VARIABLE_MTRRS),  # base and mask each
    ("mtrr_fixed", FIXED_MTRRS),
    ("pdpte", 4),  # PAE: page-directory-pointer-table entries, as of the last load of CR3
    # -- what the CPU model allows (bt/x86/cpu_model.py)
    ("features", len(FEATURE_WORDS)),  # see bt/x86/features.py
    ("cr4_allowed", 1),
    ("physical_reserved", 1),  # physical address bits the processor has not
    ("signature", 1),
    ("cpuid", 5 * CPUID_LEAVES),  # leaf, eax, ebx, ecx, edx each; the last one answers for leaves that are missing
    # -- x87, MMX, SSE: see system/fp_state.py
    ("fp_loaded", 1),  # 1: the guest's registers are in the host's, and fp_image is out of date
    ("fpu_control", 1),  # the guest's x87 control word: the host's has every exception masked
    ("mxcsr_masks", 1),  # the guest's exception masks in MXCSR, in place: the host's are all set
    ("comparison_flags", 8),  # see flags.COMPARISON_FLAGS
    ("fpu_cs", 1),  # selectors and opcode of the last x87 instruction
    ("fpu_ds", 1),
    ("fpu_opcode", 1),
    ("ignore_fp_error", 1),  # 1: IGNNE#, x87 instructions run although an exception is pending
    ("host_control", 1),  # bt's own x87 control word and MXCSR while the guest's are loaded
    ("host_mxcsr", 1),
    ("fp_scratch", 14),  # words on their way to or from the host's registers; FNSAVE takes 108 bytes
    ("fp_image", 64),  # FXSAVE image of the guest's registers
    ("fp_saved", 64),  # the same before an instruction that may have to be undone
    ("fp_operand", 64),  # operand that is not plain RAM, or lies across two pages
    ("fp_operand_linear", 1),
    ("fp_operand_size", 1),  # bytes to be written back; 0: none
    ("tsc_offset", 1),  # what the guest's writes of the time stamp counter have added to the time
    ("icount_base", 1),  # instructions retired before this run; + (run_budget - budget) = now
    ("deferred", 1),  # part of the budget set aside while one instruction runs alone (see engine/boundary.py)
    ("service", 1),  # 1: the interpreter works for the translator and returns to it when its budget is used up
    ("block", 1),  # translator: host address of the block found last
    ("step_trap", 1),  # 1: the instruction that runs alone is followed by a single-step trap (TF)
    ("run_budget", 1),  # budget this run began with
    ("a20_mask", 1),  # ANDed to every physical address
    # -- events
    ("intr_pending", 1),  # the PIC's INTR line
    ("inhibit", 1),  # no interrupt while the instruction count is this (after sti, mov ss, pop ss); 0: none
    ("debug_shadow", 1),  # no trap and no breakpoint while the instruction count is this (after mov ss, pop ss)
    ("trapped_at", 1),  # a trap for this instruction count has been delivered; more of them cost an instruction each
    ("resume_at", 1),  # EFLAGS.RF: no instruction breakpoint while the instruction count is this
    ("loaded_resume_flag", 1),  # 1: IRET or a task switch has just loaded EFLAGS with RF set: shields what comes next
    ("debugging", 1),  # 1: DR7 enables breakpoints; derived by update_mode
    ("debug_hits", 1),  # DR6 bits of the breakpoints that the instruction's accesses hit
    ("pushed_resume_flag", 1),  # 1: the next event that is no fault pushes RF
    ("nmi_pending", 1),
    ("nmi_blocked", 1),  # from the delivery of an NMI to the next IRET
    ("delivering", 1),  # what is under delivery while a device takes part in it: DELIVERING_*
    ("fault_vector", 1),
    ("fault_error", 1),
    ("fault_has_error", 1),
    ("fault_depth", 1),  # deliveries that failed, one because of the other, since an event was last to be delivered
    ("fault_chain", FAULT_CHAIN_ENTRIES * len(FAULT_FIELDS)),  # these and the one under way, see fault_chain.py
    ("fault_in_new_task", 1),  # 1: the fault came after a task switch, EIP is the new task's, not the instruction's
    ("trap_vectors", 1),  # debugger: bit n = leave with an EXCEPTION exit instead of delivering vector n
    # -- time beside instructions
    ("port_ns", 1),  # time of the port access just served in native code, not yet accounted for
    ("clock_offset", 1),  # ns: with clock_scale 0 the time is the instruction count plus this, see system/timestamp.py
    ("clock_scale", 1),  # not 0: the time is the host's, so many ns * 2**CLOCK_SCALE_SHIFT a cycle of its counter
    ("clock_cycles", 1),  # host's counter when this run began, at the time clock_offset
    ("clock_last", 1),  # host's time as the guest saw it last: it does not go back
    # -- exits to Python
    ("exit_reason", 1),
    ("exit_instructions", 1),  # retired in the run that has ended
    ("exit_beside_ns", 1),  # what passed beside them; clock_offset when the run began while it lasts
    ("exit_address", 1),
    ("exit_size", 1),
    ("exit_write", 1),
    ("exit_value", 1),
    ("exit_extra", 1),
    ("mmio_count", 1),  # accesses of the current instruction already served
    ("mmio_used", 1),  # of these, replayed so far in this attempt
    ("mmio_value", MMIO_SLOTS),
    # -- memory
    ("ram_base", 1),  # host address of guest physical 0
    ("ram_size", 1),  # bytes
    ("page_info", 1),  # host address of one u64 a RAM page: its map of code, see memory/slow.py
    ("port_access", 1),  # host address of 65536 bytes: NATIVE_READ, NATIVE_WRITE (bt/memory/bus.py)
    ("port_values", 1),  # host address of the 65536 values that are read and written so
    ("engine", 1),  # host address of the running engine's own control block
    ("tlb_system", 1),  # host address of the TLB table of the processor's own accesses, to descriptors for example
    ("tlb_has_global", 1),  # not 0: entries of global pages may be there
    ("tlb_fills", 1),
    ("tlb_flushes", 1),
    ("statistic", 32),
    ("return_stack", 2 * RETURN_STACK_ENTRIES),
    ("branch_cache", 2 * BRANCH_CACHE_ENTRIES),
    ("record_cache", 2 * BRANCH_CACHE_ENTRIES),
    ("tlb_supervisor", TLB_BYTES // 8),
    ("tlb_user", TLB_BYTES // 8),
    ("tlb_none", TLB_BYTES // 8),  # always empty: for accesses that are checked for alignment or breakpoints
)


_ALIGNED = frozenset(("fp_image", "fp_saved", "fp_operand"))  # to 16 bytes, as FXSAVE and SSE operands want it


def _layout() -> tuple[dict[str, int], int]:
    offsets, at = {}, -POINTER_BIAS
    for name, slots in _FIELDS:
        if name in _ALIGNED:
            at = (at + 15) & -16
        offsets[name] = at
        at += 8 * slots
    return offsets, (at + 7) // 8 * 8 + POINTER_BIAS


OFFSETS, STATE_BYTES = _layout()
# Index of each slot by what Python calls it: a key that is not here would be somebody else's slot. Caches and TLBs have
# their first slot only, which saves 10 ms at each start: nobody calls their entries by number.
_INDEX: dict[str | tuple[str, int], int] = {name: (at + POINTER_BIAS) // 8 for name, at in OFFSETS.items()}
_INDEX |= {(name, n): _INDEX[name] + n for name, slots in _FIELDS if slots <= MMIO_SLOTS for n in range(slots)}
_SEGMENT_INDEX = {
    (number, part): _INDEX["segment"] + len(SEGMENT_FIELDS) * number + place
    for number in range(len(SEGMENT_NAMES))
    for place, part in enumerate(SEGMENT_FIELDS)
}


_EXIT_RECORD = struct.Struct("<Qqq5Q")
_EXIT_OFFSET = 8 * _INDEX["exit_reason"]


def slot_number(name: str) -> int:
    """Index of a field's first slot in `CpuState.slots`."""
    return _INDEX[name]


def offset(name: str, index: int = 0) -> int:
    """Displacement of a slot from the state pointer, in bytes."""
    return OFFSETS[name] + 8 * index


def segment_offset(segment: int, name: str) -> int:
    """Displacement of one hidden or visible part of a segment register."""
    return OFFSETS["segment"] + SEGMENT_BYTES * segment + 8 * SEGMENT_FIELDS.index(name)


def register_offset(number: int, width: int) -> int:
    """Where a general register operand lives; 8-bit registers 4-7 are ah ch dh bh."""
    if width == 8 and number >= 4:
        return offset("gpr", number - 4) + 1
    return offset("gpr", number)


@dataclass
class CpuState:
    """Python's view of one vCPU's block: `state["cr3"]`, `state["gpr", EAX]`, `state.segment(CS, "base")`.

    Slots hold 64 bits; what is written is cut to them. General registers, EIP and arithmetic flags may simply be
    written between two runs. After anything else that has a say in what code means or where memory is - control and
    debug registers, `cpl`, `efer`, segment registers (segment_cache.py fills them whole), `eflags_system`,
    `a20_mask`, `features` - call the vCPU's `flush`, which derives from it what the engines go by. Host addresses and
    caches are the engines' own: whoever writes those brings the process down.

    BadUsage for slots that there are not, Closed after `close`.
    """

    _area: Area = field(default_factory=lambda: Area(STATE_BYTES))

    def __post_init__(self) -> None:
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
