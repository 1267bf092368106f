"""The structures generated code and Python share inside the engine: decoded records, blocks, the control block."""

from __future__ import annotations

from bt.codegen.layout import Layout

RECORD_BYTES = 64
# One decoded instruction. Register operands are stored twice: as displacements from the state pointer (what
# interpreter handlers load through) and as numbers (what the translator selects stencils by).
RECORD = Layout(
    (
        ("handler", 64),
        ("eip", 32),
        ("next_eip", 32),
        ("immediate", 32),  # zero-extended to the operand size; branch target for relative jumps
        ("immediate2", 32),  # selector of a far pointer, nesting level of ENTER
        ("displacement", 32),
        ("address_mask", 32),  # 0xffff or 0xffffffff
        ("base", 16),  # displacement of the base register's slot; of `zero` when there is none
        ("index", 16),
        ("reg", 16),  # ModRM.reg as a general register
        ("rm", 16),  # ModRM.rm or the opcode's register as a general register
        ("form", 16),
        ("number", 16),  # place in its block, from 0
        ("scale", 8),  # shift count
        ("segment", 8),  # segment register number of the memory operand
        ("variant", 8),  # VARIANT_* bits
        ("length", 8),
        ("reg_number", 8),
        ("rm_number", 8),
        ("base_number", 8),  # 8: none
        ("index_number", 8),  # 8: none
        ("flags_live", 8),  # translator: 1 if somebody sees this instruction's arithmetic flags
    ),
    RECORD_BYTES,
)
NO_REGISTER = 8
VARIANT_16 = 1  # 16-bit operand size
VARIANT_MEMORY = 2  # ModRM names memory
VARIANT_REPZ = 4
VARIANT_REPNZ = 8
VARIANTS = 16

BLOCK_BYTES = 64
BLOCK = Layout(
    (
        ("physical", 64),  # guest physical address of the first byte
        ("records", 64),  # host address of the first record
        ("host", 64),  # host address of the translation, 0 if there is none
        ("physical2", 64),  # page of the second part when its only instruction crosses a page, else NO_PAGE
        ("eip", 32),
        ("mode", 32),
        ("hash_next", 32),  # block numbers; 0 ends a list
        ("page_next", 32),
        ("page2_next", 32),
        ("count", 16),  # instructions
        ("bytes", 16),
        ("dead", 8),
    ),
    BLOCK_BYTES,
)
NO_PAGE = (1 << 64) - 1
MAX_BLOCK_INSNS = 64

HASH_ENTRIES = 1 << 16

# The engine's own state, one per vCPU; `engine` in the CPU state points to it.
CONTROL = Layout(
    (
        ("disasm_iter", 64),  # capstone's cs_disasm_iter, a handle per code size, an instruction buffer
        ("handle16", 64),
        ("handle32", 64),
        ("insn", 64),
        ("dispatch", 64),  # opcode tables, see bt/x86/opcodes/table.py
        ("shapes", 64),  # one SHAPE a form
        ("handlers", 64),  # VARIANTS handler addresses a form
        ("stale_handler", 64),  # handler of records whose code has changed
        ("chain_handler", 64),  # handler of the record behind a block that ends without a transfer
        ("length_handler", 64),  # handler of an instruction longer than 15 bytes
        ("records_next", 64),
        ("records_end", 64),
        ("blocks_base", 64),
        ("blocks_next", 64),  # number of the next block
        ("blocks_end", 64),
        ("hash", 64),
        ("page_blocks", 64),  # u32 a RAM page: newest block with code from it
        ("open_bus", 64),  # a page of ones: what is fetched where there is no RAM
        ("override_physical", 64),  # Python's verdict on bytes that capstone refused, NO_PAGE = none
        ("override_length", 64),
        ("fetch", 64),  # 32 bytes: an instruction that crosses a page, put together
        ("fetch1", 64),
        ("fetch2", 64),
        ("fetch3", 64),
        ("status", 64),  # why find_block failed
        ("blocks_made", 64),
        ("insns_decoded", 64),
        ("blocks_killed", 64),
    )
)

# What decoding must know of a form.
SHAPE_BYTES = 8
SHAPE = Layout(
    (
        ("flags", 8),
        ("immediate", 8),
        ("reg_byte", 8),  # 1: ModRM.reg names a byte register
        ("rm_byte", 8),  # 1: ModRM.rm (or the opcode's register) names a byte register
    ),
    SHAPE_BYTES,
)
SHAPE_MODRM, SHAPE_ENDS, SHAPE_LOCK, SHAPE_REP, SHAPE_OPCODE_REGISTER, SHAPE_REGISTER_RM = 1, 2, 4, 8, 16, 32
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
) = range(10)
