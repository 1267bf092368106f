"""What re-encoding must know of each form: an array of FP_FORM structures, derived from the opcode table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from functools import cache

from bt.codegen.layout import Layout
from bt.x86.opcodes import FORMS, Form, Method, Width
from bt.x86.opcodes.encoding import parse_encoding
from bt.x86.opcodes.fp import READY_SSE, READY_X87, UNIT_X87, fp_use, is_fp

FP_FORM_BYTES = 16
FP_FORM = Layout(
    (
        ("prefix", 8),  # mandatory prefix, or 0
        ("escape", 8),  # its number in OPCODE_MAPS
        ("opcode", 8),
        ("reg", 8),  # what goes into ModRM.reg: 0-7 this, else FIELD_*
        ("rm", 8),  # and into ModRM.rm when it names a register
        ("modrm", 8),  # 1: there is a ModRM byte
        ("immediate", 8),  # 1: there is an immediate byte
        ("condition", 8),  # 1: FCMOVcc
        ("compares", 8),  # leaves its result in EFLAGS: COMPARES_* bits, or 0
        ("size", 8),  # bytes of the memory operand
        ("store", 8),
        ("aligned", 8),
        ("ready", 8),  # READY_* bits
        ("pointers", 8),  # 1: becomes the last x87 instruction that FNSTENV shows
        ("inline", 8),  # Inline: in place
        ("plain", 8),  # 1: executing it reads and writes nothing but FP registers and the memory operand
    ),
    FP_FORM_BYTES,
)
# As in the guest's instruction, an XMM register; a general register, renamed; the same or memory, with REX.W of 64;
# as in the instruction, whatever REX says.
FIELD_RECORD, FIELD_GPR, FIELD_GPR_WIDE, FIELD_LOW = range(8, 12)

# OF, SF and AF are clear; all six flags are the result; EAX and EDX are operands; ECX is a result
COMPARES, COMPARES_ANY, COMPARES_LENGTHS, COMPARES_INDEX = 1, 2, 4, 8


class Inline(IntEnum):
    """How a form can be done in place, among other host code, when everything is ready."""

    NOT = 0  # by a handler only
    EXECUTE = 1
    NOTHING = 2  # WAIT: there is nothing to wait for
    LOAD_CONTROL = 3  # FLDCW
    LOAD_MXCSR = 4


# Control instructions that are themselves while all exceptions are masked: what they store is the guest's.
_THEMSELVES = frozenset(("x87.fnstsw", "x87.fnstcw", "sse.stmxcsr"))
_SPECIAL = {"x87.wait": Inline.NOTHING, "x87.fldcw": Inline.LOAD_CONTROL, "sse.ldmxcsr": Inline.LOAD_MXCSR}
_FCMOVNE_OPCODE, _FCMOVNE_REG = 0xDB, 1


def inline(form: Form) -> Inline:
    """How a form can be done in place."""
    if (is_fp(form) and form.meaning != "fp.masked_store") or form.meaning in _THEMSELVES:
        return Inline.EXECUTE
    return _SPECIAL.get(form.meaning, Inline.NOT)


@cache
def fp_form_fields(form: Form, memory: bool) -> Mapping[str, int]:
    """Fields of one FP_FORM; empty for a form that the host does not execute."""
    how = inline(form)
    if not is_fp(form) and how is Inline.NOT:  # UNDEFINED among them
        return {}
    encoding = parse_encoding(form.encoding)
    use = fp_use(form, memory)
    units_ready = use.ready or READY_X87
    if form.meaning.startswith("sse."):
        units_ready = READY_SSE
    fields = {
        "prefix": encoding.prefix,
        "escape": encoding.opcode_map,
        "opcode": encoding.opcodes[0],
        "reg": _field(form, Method.REGISTER, Method.XMM_REGISTER),
        "rm": _field(form, Method.REGISTER_OR_MEMORY, Method.XMM_OR_MEMORY, Method.XMM_RM),
        "modrm": form.has_modrm,
        "immediate": any(operand.method is Method.IMMEDIATE for operand in form.operands),
        "condition": form.condition is not None,
        "compares": use.compares * COMPARES
        | use.tests * COMPARES_ANY
        | use.lengths * COMPARES_LENGTHS
        | use.indexes * COMPARES_INDEX,
        "size": use.memory,
        "store": use.store or form.meaning in _THEMSELVES,
        "aligned": use.aligned,
        "ready": units_ready,
        "pointers": is_fp(form) and use.units == UNIT_X87,
        "inline": how,
    }
    plain = how is Inline.EXECUTE and not use.gpr and not (use.compares or use.tests) and form.condition is None
    fields["plain"] = plain and (memory or form.meaning not in _THEMSELVES)
    if form.condition is not None:
        # the condition is worked out before: what is left is a move if it holds
        fields |= {"opcode": _FCMOVNE_OPCODE, "reg": _FCMOVNE_REG}
    return fields


def _field(form: Form, general: Method, *xmm: Method) -> int:
    """What goes into a field of ModRM, by the methods of operands that it can name."""
    for operand in form.operands:
        if operand.method is general:
            return FIELD_GPR_WIDE if operand.width is Width.Y else FIELD_GPR
        if operand.method in xmm:
            return FIELD_RECORD
    return FIELD_LOW


def fp_form_table() -> bytes:
    """FP_FORM of each form with a register and with a memory operand: index is form id * 2 + memory."""
    table = bytearray()
    for form in FORMS:
        for memory in (False, True):
            entry = bytearray(FP_FORM_BYTES)
            for name, value in fp_form_fields(form, memory).items():
                entry[FP_FORM.offsets[name]] = value
            table += entry
    return bytes(table)
