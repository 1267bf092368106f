"""The structures generated code and Python share inside the engine: decoded records, blocks, the control block."""

from __future__ import annotations

from bt.codegen.layout import Layout
from bt.memory.soft_mmu.layout import HOLES

RECORD_BYTES = 64
# What both kinds of record have, in the same places. Register operands are stored twice: as displacements from the
# state pointer (what interpreter handlers load through) and as numbers (what the translator selects stencils by).
_ANY_RECORD = (
    ("base", 16),  # displacement of the base register's slot; of `zero` when there is none
    ("index", 16),
    ("reg", 16),  # ModRM.reg as a general register
    ("rm", 16),  # ModRM.rm or the opcode's register as a general register
    ("form", 16),
    ("number", 16),  # place in its block, from 0
    ("thunk", 32),  # FP instructions: what executes it, as offset from CONTROL.thunks; 0: not made yet
    ("scale", 8),  # shift count
    ("segment", 8),  # segment register number of the memory operand
    ("variant", 8),  # VARIANT_* bits and operand size
    ("length", 8),
    ("reg_number", 8),
    ("rm_number", 8),
    ("base_number", 8),  # NO_REGISTER, NO_REGISTER_LONG: none
    ("index_number", 8),
    ("modrm", 8),
    ("flags_live", 8),  # translator: 1 if somebody sees this instruction's arithmetic flags
)
# One decoded instruction of 16-bit or 32-bit code.
RECORD = Layout(
    (
        ("handler", 64),
        ("eip", 32),
        ("next_eip", 32),
        ("immediate", 32),  # zero-extended to the operand size; branch target for relative jumps
        ("immediate2", 32),  # selector of a far pointer, nesting level of ENTER
        ("displacement", 32),
        ("address_mask", 32),  # 0xffff or 0xffffffff
        *_ANY_RECORD,
    ),
    RECORD_BYTES,
)
# One of 64-bit code: what lies behind it is `length` further.
LONG_RECORD = Layout(
    (
        ("handler", 64),
        ("eip", 64),
        ("immediate", 64),  # sign-extended; branch target for relative jumps
        ("displacement", 64),  # relative to nothing any more: RIP has been added
        *_ANY_RECORD,
        ("immediate2", 16),  # nesting level of ENTER
        ("address_size_32", 8),  # 1: offsets are cut to 32 bits (prefix 67)
        ("rex", 8),  # the prefix, 0: none
        ("heat", 16),  # of the first of a block: how often it has been come to
    ),
    RECORD_BYTES,
)
assert all(RECORD.offsets[name] == LONG_RECORD.offsets[name] for name, _ in (*_ANY_RECORD, ("handler", 64)))
NO_REGISTER, NO_REGISTER_LONG = 8, 16
# A record's variant: three bits, and above them the operand size as its place among these. The tables that have a row
# a variant end with the last size that the decoder finds: those of 64-bit code have one more.
OPERAND_SIZES = (32, 16)
LONG_OPERAND_SIZES = (*OPERAND_SIZES, 64)
VARIANT_MEMORY = 1  # ModRM names memory
VARIANT_REPZ = 2
VARIANT_REPNZ = 4
VARIANT_SIZE_SHIFT = 3
VARIANTS = len(OPERAND_SIZES) << VARIANT_SIZE_SHIFT
LONG_VARIANTS = len(LONG_OPERAND_SIZES) << VARIANT_SIZE_SHIFT
VARIANT_SIZE = {size: code << VARIANT_SIZE_SHIFT for code, size in enumerate(LONG_OPERAND_SIZES)}  # its bits, by size

BLOCK_BYTES = 80
BLOCK = Layout(
    (
        ("physical", 64),  # guest physical address of the first byte
        ("records", 64),  # host address of the first record
        ("host", 64),  # host address of the translation, 0 if there is none
        ("physical2", 64),  # page of the second part when its only instruction crosses a page, else NO_PAGE
        ("stale_stub", 64),  # translator: where the head of a dead translation leads
        ("eip", 64),
        ("mode", 32),
        ("hash_next", 32),  # block numbers; 0 ends a list
        ("page_next", 32),
        ("page2_next", 32),
        ("count", 16),  # instructions
        ("bytes", 16),
        ("dead", 8),
        ("in_units", 8),  # tier 2: IN_UNIT, and UNIT_HEAD if one begins here
        ("unit", 32),  # with UNIT_HEAD: its number
    ),
    BLOCK_BYTES,
)
IN_UNIT, UNIT_HEAD = 1, 2
NO_PAGE = (1 << 64) - 1
MAX_BLOCK_INSNS = 64


def operand_size_of(variant: int) -> int:
    """Operand size of a record's variant, bits."""
    return LONG_OPERAND_SIZES[variant >> VARIANT_SIZE_SHIFT]


# The state's `delivering`; the vector is added to the latter.
DELIVERING_EXCEPTION, DELIVERING_INTERRUPT = 1, 0x100

HASH_ENTRIES = 1 << 18

# The engine's own state, one per vCPU; `engine` in the CPU state points to it.
CONTROL = Layout(
    (
        ("dispatch", 64),  # opcode tables, see bt/x86/opcodes/table.py
        ("shapes", 64),  # one SHAPE a form, then one an opcode of each map for its undefined encodings
        ("handlers", 64),  # VARIANTS handler addresses a form
        ("stale_handler", 64),  # handler of records whose code has changed
        ("chain_handler", 64),  # handler of the record behind a block that ends without a transfer
        ("length_handler", 64),  # handler of an instruction longer than 15 bytes
        ("long_dispatch", 64),  # the same four for 64-bit code, and LONG_VARIANTS handler addresses a form
        ("long_handlers", 64),
        ("long_stale_handler", 64),
        ("long_chain_handler", 64),
        ("long_length_handler", 64),
        ("long_breakpoint_handler", 64),
        ("records_next", 64),
        ("records_end", 64),
        ("blocks_base", 64),
        ("blocks_next", 64),  # number of the next block
        ("blocks_end", 64),
        ("block_limit", 64),  # instructions; at most MAX_BLOCK_INSNS
        ("hash", 64),
        ("page_blocks", 64),  # u32 a physical page: newest block with code from it
        ("code_bytes", 64),  # rows of bt/engine/code_bytes.py
        ("open_bus", 64),  # a page of ones: what is fetched where there is no RAM
        ("fetch", 64),  # 32 bytes: an instruction that crosses a page, put together
        ("fetch1", 64),
        ("fetch2", 64),
        ("fetch3", 64),
        ("status", 64),  # why find_block failed
        ("blocks_made", 64),
        ("insns_decoded", 64),
        ("blocks_killed", 64),
        ("write_delta", 64),  # added to a host address to write there (W^X: two mappings)
        ("fp_forms", 64),  # one FP_FORM a form and mod, see reencode/forms.py
        ("thunks", 64),  # what offsets of thunks count from: the arena's beginning, where there is none
        ("thunks_next", 64),
        ("thunks_end", 64),
        # -- translator (bt/engine/translator)
        ("stencils", 64),  # table of STENCIL, their code, their relocations
        ("stencil_code", 64),
        ("stencil_relocations", 64),
        ("stencil_index", 64),  # u32 stencil numbers that plans and helpers index
        ("flat_plans", 64),  # one PLAN a form and variant, for code in flat segments
        ("real_plans", 64),  # for real mode and the like
        ("other_plans", 64),
        ("hot_next", 64),  # host addresses in one piece of the code cache: fragments grow up, cold stubs grow down
        ("cold_next", 64),
        ("sites", 64),
        ("sites_next", 64),
        ("sites_end", 64),
        ("fragments", 64),
        ("translated_insns", 64),
        ("translated_bytes", 64),
        ("identity", 64),  # translated instructions whose stencil is the instruction itself
        ("serviced", 64),  # translated instructions that only the interpreter does
        ("translate_cycles", 64),
        ("slow_paths", 64),
        ("services", 64),
        ("chains", 64),
        ("branch_misses", 64),
        ("dispatches", 64),
        ("interpreted_runs", 64),
        ("interpreted_insns", 64),  # in these, but for units
        ("long_insns", 64),  # of 64-bit code
        ("long_unit_insns", 64),  # in units of these
        ("exits", 64),  # direct exits that can be chained
        ("run_cycles", 64),  # host cycles in run_bt
        ("callouts", 64),  # u64 a form: times the interpreter did it for translated code
        ("trace_next", 64),  # where the next TRACE goes; 0 = no diary is kept
        ("trace_end", 64),
        ("decode_cycles", 64),  # host cycles in making blocks
        # -- where to leave (bt/engine/breakpoints.py)
        ("breakpoints", 64),  # host address of the table; 0: nowhere
        ("breakpoint_handler", 64),
        ("passed_at", 64),  # instruction count and EIP at which the guest was left, and goes on
        ("passed_eip", 64),
        # -- tier 2 (bt/engine/identity)
        ("heat", 64),  # u16 an address, HEAT_ENTRIES of them
        ("recorded", 64),  # u64 a block: the path that was recorded
        ("recorded_count", 64),
        ("recorded_insns", 64),
        ("recorded_base", 64),  # base of CS where it begins
        ("units", 64),  # UNIT
        ("units_next", 64),
        ("members", 64),  # u32 block, u32 unit that has code from it
        ("members_next", 64),
        ("ways", 64),  # WAY: the slots of branch tables that lead to units
        ("ways_next", 64),
        ("wide_units", 64),  # so many units have code from several pages
        ("earned", 64),  # instructions that units have retired beyond what opening pages has cost
        ("reckoned", 64),  # of `unit_insns`, so many are in it
        ("next_rest", 64),  # instructions for which views with paging are given up, should they not pay again
        ("samples", 64),  # u8 a page: how often the guest was there when its time was over
        ("unit_sites", 64),  # UNIT_SITE, in the order of their host addresses
        ("unit_sites_next", 64),
        ("unit_code", 64),  # host address that sites count from
        ("fault_gate", 64),  # where the signal handler goes on
        ("miss_gate", 64),
        ("trapping", 64),  # u64: EIP of an instruction whose accesses keep trapping; bit 32: outside of the view
        ("trapping_next", 64),
        # -- its units of 64-bit code (bt/engine/identity/long)
        ("long_count_handler", 64),  # handler of the first record of a block; 0: nothing is counted
        ("long_heat_wanted", 64),
        ("long_recorded", 64),  # u64 a block: the first records along the path that is being recorded
        ("long_recorded_count", 64),  # 0: none is
        ("long_resume", 64),  # host code: the guest's registers, then on to a unit
        ("long_units", 64),  # LONG_UNIT
        ("long_dear_unit", 64),  # LONG_UNIT that is to be made anew, without neighbours; 0: none
        ("long_hot_unit", 64),  # the same, with reaches
        ("long_samples_wanted", 64),
        ("long_members", 64),  # u32 block, u32 unit that has code from it
        ("long_members_next", 64),
        ("unit_insns", 64),  # statistics: instructions retired in units
        ("unit_faults", 64),
        ("unit_services", 64),
        ("unit_misses", 64),
        ("unit_ends", 64),  # the budget did not cover the next unit
        ("units_made", 64),
        ("units_killed", 64),
        ("pages_opened", 64),  # for writing
        ("table_pages", 64),  # of the branch table, that have memory
        ("table_limit", 64),  # when there are more, all of it is given back
    )
)

# Room in the code cache that translating one instruction, or the rest of a block, may need; hot and cold each.
BYTES_PER_INSN = BYTES_PER_BLOCK = 400
BLOCK_ROOM = 2 * (MAX_BLOCK_INSNS * BYTES_PER_INSN + BYTES_PER_BLOCK)  # of any block, hot and cold
THUNK_BYTES = 32  # room for one thunk (bt/engine/reencode/encode.py)

# What decoding must know of a form.
SHAPE_BYTES = 8
SHAPE = Layout(
    (
        ("flags", 8),
        ("immediate", 8),
        ("reg_byte", 8),  # 1: ModRM.reg names a byte register
        ("rm_byte", 8),  # 1: ModRM.rm (or the opcode's register) names a byte register
        ("condition", 8),  # condition code of Jcc and kin
    ),
    SHAPE_BYTES,
)
SHAPE_MODRM, SHAPE_ENDS, SHAPE_LOCK, SHAPE_REP, SHAPE_OPCODE_REGISTER, SHAPE_REGISTER_RM = 1, 2, 4, 8, 16, 32
SHAPE_DEFAULT_64, SHAPE_FORCED_64 = 64, 128  # operand size in 64-bit code, see Form.long
(
    IMMEDIATE_NONE,
    IMMEDIATE_BYTE,
    IMMEDIATE_WORD,
    IMMEDIATE_FULL,  # operand size
    IMMEDIATE_SIGNED_BYTE,
    IMMEDIATE_JUMP_BYTE,
    IMMEDIATE_JUMP,
    IMMEDIATE_FAR,
    IMMEDIATE_OFFSET,  # address size, no ModRM
    IMMEDIATE_ENTER,
    IMMEDIATE_WHOLE,  # operand size, 64 bits as well
) = range(11)

# -- translator ------------------------------------------------------------------------------------------------------

STENCIL = Layout(
    (
        ("code", 32),  # offset in stencil_code
        ("length", 16),  # bytes
        ("relocations", 16),  # how many
        ("first", 32),  # number of the first
        ("flags", 8),
    ),
    16,
)
STENCIL_COLD, STENCIL_SERVICE, STENCIL_IDENTITY = 1, 2, 4  # has a slow path; has a way out to the interpreter

RELOCATION = Layout((("offset", 16), ("kind", 8), ("slot", 8), ("addend", 32)))
RELOCATION_ABS32, RELOCATION_PC32, RELOCATION_ABS64, RELOCATION_ABS8 = range(4)
# What a relocation's symbol stands for, filled in by the emitter for each use of a stencil.
SLOTS = (
    "IMMEDIATE",
    "OFFSET",
    "NEXT",
    "TARGET",
    *HOLES,
    "COUNT",
    "BEHIND",
    "LANDING",
    "CONT",
    "TAKEN",
    "COLD",
    "SERVICE",
    "BRANCH_MISS",
    "HEAD_COLD",
)

PLAN_BYTES = 32
PLAN = Layout(
    (
        ("live", 32),  # first entry in stencil_index; NO_PLAN
        ("dead", 32),
        ("fused", 32),
        ("absolute", 32),  # from each of these to the stencil for an operand at a known address; 0: none
        ("stride_rm", 16),
        ("stride_reg", 16),
        ("stride_count", 16),
        ("stride_address", 8),  # to the stencil for 16-bit addresses, of forms that count in CX or ECX by address size
        ("pre", 8),
        ("linear", 8),
        ("size", 8),  # bytes
        ("write", 8),
        ("ending", 8),
        ("calls", 8),
        ("observes", 8),
        ("effect", 8),  # FLAGS_* bits
        ("gate", 8),  # Gate (plan/plan.py): where what stencils do not do is done
    ),
    PLAN_BYTES,
)
NO_PLAN = (1 << 32) - 1
FLAGS_READ, FLAGS_WRITTEN, FLAGS_KILLED = 1, 2, 4
FLAGS_KILLED_BY_COUNT = 16  # killed if the immediate (a shift count) is not 0 modulo 32
FLAGS_CONDITION = 8  # a Jcc: its condition code is in `stride_count`

# A place in translated code that can leave it.
SITE_BYTES = 56
SITE = Layout(
    (
        ("retry", 64),  # host address: the stencil again (slow path), what follows (interpreter service), or the head
        ("patch", 64),  # host address of the rel32 that a chained exit goes through
        ("record", 64),  # the decoded instruction
        ("page", 64),  # guest physical page of the block; of a head: physical address
        ("eip", 64),  # of the instruction; of the target, for an exit
        ("refund", 32),  # instructions of the block from this one on
        ("x87_eip", 32),  # of the last x87 instruction of the block before it whose pointers are not noted yet
        ("linear", 8),
        ("size", 8),  # of an access, bytes; of a head: how many fragments it replaces one after the other
        ("write", 8),
        ("ends", 8),  # 1: nothing of the block follows
        ("x87_segment", 8),  # of the last x87 operand
        ("backward", 8),  # 1: an exit that leads back, as loops do
    ),
    SITE_BYTES,
)

NO_X87_EIP = (1 << 32) - 1  # no x87 instruction begins there: it would go on beyond the end
NO_X87_SEGMENT = 8

# One entry of the translator's diary (translator/trace.py). `hot`, `cold`: host addresses where code goes next.
TRACE = Layout((("kind", 64), ("subject", 64), ("hot", 64), ("cold", 64)))
(
    TRACE_BEGIN,  # subject: the block; its guest bytes follow, padded to whole entries
    TRACE_RECORD,  # subject: the decoded instruction whose code begins here
    TRACE_STENCIL,  # subject: stencil number; `hot` is where it is copied to, which may be among the cold stubs
    TRACE_STUB,  # subject: site; `hot` as above
    TRACE_JUMP,  # a patchable jump; subject: its site
    TRACE_LINK,  # what leads on to the next block begins here
    TRACE_COPY,  # code off the hot path that does several instructions once more; subject: its bytes
    TRACE_END,
) = range(1, 9)
TRACE_BLOCK_ROOM = 32 << 10  # bytes: more than the entries of any one block
