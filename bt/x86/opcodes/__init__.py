"""The one table of x86 instructions: decoder, dispatch, flag liveness, callout classes, docs and tests read it.

    FORMS               every instruction form; FORMS[form.id] is form
    PLAIN_FORMS         those that not only 64-bit mode has
    lookup(...)         opcode bytes -> form
    dispatch_table()    the same as bytes, for generated code

Adding an instruction is one line in one_byte.py, two_byte.py, map_0f38.py, map_0f3a.py, x87.py, simd.py, sse.py or
long.py; an encoding that is taken twice or belongs to nobody stops `dispatch_table` with its name.
"""

from .form import (
    ALL_FLAGS,
    CONDITIONS,
    EFLAGS_BITS,
    TREATMENTS,
    Form,
    InstructionClass,
    Method,
    Operand,
    Width,
    eflags_mask,
)
from .table import (
    FORMS,
    PLAIN_FORMS,
    PREFIXES,
    UNDEFINED,
    UNDEFINED_ENCODINGS,
    dispatch_table,
    lookup,
    needs_modrm,
    undefined_form,
)

__all__ = [
    "ALL_FLAGS",
    "CONDITIONS",
    "EFLAGS_BITS",
    "FORMS",
    "PLAIN_FORMS",
    "PREFIXES",
    "TREATMENTS",
    "UNDEFINED",
    "UNDEFINED_ENCODINGS",
    "Form",
    "InstructionClass",
    "Method",
    "Operand",
    "Width",
    "dispatch_table",
    "eflags_mask",
    "lookup",
    "needs_modrm",
    "undefined_form",
]
