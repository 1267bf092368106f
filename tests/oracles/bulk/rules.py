"""What the operands of some instructions must be like, so that they do not fault and something happens.

A rule is found by the form's meaning; most instructions take anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from bt.x86.opcodes import Form
from bt.x86.opcodes.fp import fp_use, is_fp
from tests.oracles.bulk import arrange, fp_arrange
from tests.oracles.bulk.batch import Batch
from tests.oracles.bulk.states import States
from tests.oracles.bulk.variant import Where
from tests.oracles.random_fp import IGNORED_IMAGE

_EAX, _ECX, _EDX, _EBX, _ESP, _EBP, _ESI, _EDI = range(8)
_STACK_BYTES = 128
"""PUSHA and POPA take 32 bytes to either side of ESP, ENTER with eight levels somewhat more."""
_FRAME = 100
"""Offset of EBP where ENTER and LEAVE find frames."""


Kind = Literal["plain", "stack", "string", "xlat", "masked", "divide", "control", "segment"]


@dataclass(frozen=True)
class Rule:
    """How an instruction is to be encoded and given operands."""

    kind: Kind = "plain"
    arrange: Callable[[Batch], None] | None = None
    arrange_fp: Callable[[Batch, States], None] | None = None
    window: int = 32
    operand: int | None = None  # offset of the memory operand in the window
    busy: tuple[int, ...] = ()  # registers that no address is made of
    register_busy: bool = False  # the same for the one ModRM.reg names
    stack: bool = False  # ESP in the middle of the window
    frame: bool = False  # EBP behind it
    anywhere: bool = False  # the memory operand is not accessed
    immediates: tuple[int, ...] = ()  # the only ones
    shift: bool = False  # of 16 bits by no more than 16
    alone: bool = False  # no other instruction changes flags before it
    operand_sizes: bool = True  # 66 may be tried
    pointers: Callable[[int], Iterable[int]] | None = None  # offsets of FIP and its kin in the operand, by operand size

    undefined_result: int = 0  # bits of the 32-bit result in the register that ModRM.reg names

    def pointers_of(self, operand_bits: int) -> Iterable[int]:
        """Bytes of the memory operand that processors fill in by different rules."""
        return self.pointers(operand_bits) if self.pointers is not None else ()

    def fixed(self, where: Where) -> Mapping[int, int]:
        """Registers with the same value in every record."""
        found = {_ESP: where.middle} if self.stack else {}
        return found | ({_EBP: where.window + _FRAME} if self.frame else {})


_PLAIN: Final = Rule()
_STACK: Final = Rule("stack", window=_STACK_BYTES, busy=(_ESP,), stack=True)
_STRING: Final = Rule("string", arrange.string, window=128)
_SELECTOR: Final = Rule(arrange=arrange.any_selector)
_RIGHTS_LIMIT: Final = 0xF_0000
"""Undefined bits of what LAR answers (SDM vol. 2 LAR): bits 19-16 of the limit on AMD processors, 0 on bt's."""
_FAR_POINTER: Final = Rule("segment", arrange.load_far_pointer)
_BITS: Final = Rule(arrange=arrange.bit_offset, window=64, operand=32, register_busy=True)
_LENGTHS: Final = Rule(arrange=arrange.lengths, busy=(_EAX, _EDX))
_COUNTED: Final = Rule("control", arrange.counted)


def _stack(change: Callable[[Batch], None] | None = None, kind: Kind = "stack") -> Rule:
    return Rule(kind, change, window=_STACK_BYTES, busy=(_ESP,), stack=True)


def _environment_pointers(operand_bits: int) -> Iterable[int]:
    return range(6, 14) if operand_bits == 16 else range(12, 28)


RULES: Final[Mapping[str, Rule]] = {
    "arith.div": Rule("divide", arrange.divide, busy=(_EAX, _EDX)),
    "arith.idiv": Rule("divide", arrange.divide, busy=(_EAX, _EDX)),
    "arith.cmpxchg": Rule(arrange=arrange.comparand, busy=(_EAX,)),
    "arith.cmpxchg8b": Rule(arrange=arrange.comparand, busy=(_EAX, _EDX)),
    "bcd.aam": Rule(immediates=(1, 2, 9, 10, 11, 16, 0x7F, 0x80, 0xFF)),
    "bits.bt": _BITS,
    "bits.bts": _BITS,
    "bits.btr": _BITS,
    "bits.btc": _BITS,
    "control.bound": Rule(arrange=arrange.limits, register_busy=True),
    "control.call": _stack(kind="control"),
    "control.call_indirect": _stack(arrange.branch_target, "control"),
    "control.jcc": Rule("control"),
    "control.jcxz": _COUNTED,
    "control.jmp": Rule("control"),
    "control.jmp_indirect": Rule("control", arrange.branch_target),
    "control.loop": _COUNTED,
    "control.loope": _COUNTED,
    "control.loopne": _COUNTED,
    "control.ret": _stack(arrange.return_address, "control"),
    "flags.popf": _stack(arrange.pop_flags),
    "flags.pushf": _STACK,
    "fp.masked_store": Rule("masked", arrange.masked_store),
    "fp.test_lengths": _LENGTHS,
    "fp.test_lengths_index": _LENGTHS,
    # not 80h, which is a system call of the host
    "interrupts.int_": Rule(immediates=(0, 1, 2, 3, 4, 5, 8, 13, 14, 0x20, 0x21, 0x7F, 0x81, 0xFF)),
    "interrupts.into": Rule(arrange=arrange.no_overflow, alone=True),
    "interrupts.iret": _stack(arrange.interrupt_return, "control"),
    "move.lea": Rule(anywhere=True),
    "move.nop": Rule(anywhere=True, operand_sizes=False),
    "move.xlat": Rule("xlat", arrange.xlat),
    "segment.call_far": _stack(arrange.far_target, "control"),
    "segment.jmp_far": Rule("control", arrange.far_target),
    "segment.lar": Rule(arrange=arrange.any_selector, undefined_result=_RIGHTS_LIMIT),
    "segment.lds": _FAR_POINTER,
    "segment.les": _FAR_POINTER,
    "segment.lfs": _FAR_POINTER,
    "segment.lgs": _FAR_POINTER,
    "segment.load": Rule("segment", arrange.load_selector),
    "segment.lsl": _SELECTOR,
    "segment.lss": _FAR_POINTER,
    "segment.pop": _stack(arrange.pop_selector, "segment"),
    "segment.push": _STACK,
    "segment.ret_far": _stack(arrange.far_return, "control"),
    "segment.verr": _SELECTOR,
    "segment.verw": _SELECTOR,
    "shift.shld": Rule(arrange=arrange.limited_shift, busy=(_ECX,), shift=True),
    "shift.shrd": Rule(arrange=arrange.limited_shift, busy=(_ECX,), shift=True),
    "sse.fxrstor": Rule(arrange_fp=fp_arrange.image, window=512),
    "sse.fxsave": Rule(window=512, pointers=lambda _: IGNORED_IMAGE),
    "sse.ldmxcsr": Rule(arrange_fp=fp_arrange.mxcsr),
    "stack.enter": Rule(
        "stack",
        window=_STACK_BYTES,
        busy=(_ESP,),
        stack=True,
        frame=True,
        immediates=(0, 1, 2, 3, 4, 5, 8, 32, 33, 40),
    ),
    "stack.leave": Rule("stack", window=_STACK_BYTES, busy=(_ESP,), stack=True, frame=True),
    "stack.pop": _STACK,
    "stack.popa": _STACK,
    "stack.push": _STACK,
    "stack.pusha": _STACK,
    "string.cmps": _STRING,
    "string.lods": _STRING,
    "string.movs": _STRING,
    "string.scas": _STRING,
    "string.stos": _STRING,
    "x87.fldcw": Rule(arrange_fp=fp_arrange.control_word),
    "x87.fldenv": Rule(arrange_fp=fp_arrange.environment, window=112),
    "x87.fnsave": Rule(window=112, pointers=_environment_pointers),
    "x87.fnstenv": Rule(window=112, pointers=_environment_pointers),
    "x87.frstor": Rule(arrange_fp=fp_arrange.registers, window=112),
}


def rule_of(form: Form) -> Rule:
    """The form's rule."""
    return RULES.get(form.meaning, _PLAIN)


def uses_fp(form: Form) -> bool:
    """Whether FP state is part of its records."""
    return is_fp(form) or form.meaning.startswith(("x87.", "sse."))


def alignment(form: Form) -> int:
    """What its memory operand must be aligned to, in bytes."""
    if form.meaning in ("sse.fxsave", "sse.fxrstor"):
        return 16
    return 16 if is_fp(form) and fp_use(form, True).aligned else 1
