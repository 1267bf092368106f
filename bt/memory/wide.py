"""Memory operands of more than a register's width: x87 and XMM operands, environments, FXSAVE areas.

The instruction works on a host pointer: straight into guest RAM where the operand lies in one page of it, else to the
copy in `fp_operand`. A write back from there that has to leave for a device restores the FP registers as they were
before the instruction, because it will run again.
"""

from __future__ import annotations

from bt.codegen import host_fp
from bt.codegen.abi import Signature
from bt.codegen.value import Value
from bt.memory.access import ACCESS_CODE, Body, NativeContext
from bt.memory.backend import (
    OPERAND_BEGIN,
    OPERAND_COMMIT,
    OPERAND_COMMIT_MASKED,
    OPERAND_FILL,
    OPERAND_WRITE,
    RESOLVE,
    SLOW_READ,
    SLOW_WRITE,
)
from bt.x86.context import AC, OK
from bt.x86.fp.fp_state import THUNK
from bt.x86.mode import ALIGNMENT_FREE
from bt.x86.page import PAGE
from bt.x86.services import WATCH_ACCESS, WATCH_READ, WATCH_WRITE
from bt.x86.system.operating_mode import further

_PIECE = 8  # bytes moved at a time
_EXTENDED_BYTES = 10


def _check_alignment(b: NativeContext, linear: Value, size: Value) -> None:
    """#AC(0) (SDM vol. 3A table 6-7), before page faults: operands up to 16 bytes by their size, those of 80 bits as
    those of 64, environments by their words. 128 bits that need no alignment "may" raise it: on AMD processors they do.
    """
    checked = (b.get("mode") & ALIGNMENT_FREE) == 0
    words = b.select((size & 3) != 0, b.const(1, 32), 3)
    odd = b.select(size == _EXTENDED_BYTES, b.const(7, 32), words)
    even = b.select(size.ule(16), size - 1, 0)  # FXSAVE areas are aligned anyway
    mask = b.select((size & (size - 1)) == 0, even, odd)
    b.fault_if(checked & ((linear.trunc(32) & mask) != 0), AC, 0)


def _piece(b: NativeContext, linear: Value, left: Value) -> Value:
    """Largest power of two up to 8 that is not above `left` bytes and to which `linear` is aligned, i32.

    Whether the whole is aligned has been checked; an environment of aligned words must not fail for its pieces.
    """
    small = b.select((left & 4) != 0, b.const(4, 32), b.select((left & 2) != 0, b.const(2, 32), 1))
    fits = b.select(left.uge(_PIECE), b.const(_PIECE, 32), small)
    capped = linear.trunc(32) | _PIECE
    return b.intrinsic("umin", "i32", fits, capped & -capped)


def _operand_begin(b: NativeContext) -> None:
    _, linear, size, flags = b.arguments
    write = flags & OPERAND_WRITE
    _check_alignment(b, linear, size)
    b.attempt(RESOLVE, b.cpu, linear, write, 0)
    host, physical = b.get("memory_value"), b.get("exit_address")
    crosses = ((linear.trunc(32) & (PAGE - 1)) + size).ugt(PAGE)
    with b.If(crosses):
        b.attempt(RESOLVE, b.cpu, further(b, linear, (size - 1).zext(64)) & -PAGE, write, 0)
    b.put("exit_address", physical)
    with b.Unlikely(b.get("debugging") != 0):
        kind = b.select(write != 0, b.const(WATCH_WRITE, 32), WATCH_READ)
        b.call(WATCH_ACCESS, b.cpu, linear, size, kind)
    direct = (write == 0) | ACCESS_CODE.probe(b, linear, size, write=True).hit
    with b.If((host != 0) & ~crosses & direct):
        b.put("memory_value", host)
        b.ret(OK)
    with b.If((write == 0) | ((flags & OPERAND_FILL) != 0)):
        _fill(b, linear, size)
    b.put("fp_operand_linear", linear)
    b.put("fp_operand_size", size)
    with b.If((write != 0) & (b.get("fp_loaded") != 0)):
        b.call(host_fp.FXSAVE, b.slot("fp_saved"))
    b.put("memory_value", b.slot("fp_operand").zext(64))


def _fill(b: NativeContext, linear: Value, size: Value) -> None:
    done = b.local(32, 0)
    with b.Loop() as loop:
        at = done.get()
        loop.break_if(at == size)
        there = further(b, linear, at.zext(64))
        piece = _piece(b, there, size - at)
        b.attempt(SLOW_READ, b.cpu, there, piece, 0)
        # beyond the piece are bytes of the next one, or nobody's
        b.store(b.slot("fp_operand") + at, b.get("memory_value"))
        done.set(at + piece)


def _operand_commit(b: NativeContext) -> None:
    linear, size = b.get("fp_operand_linear"), b.get("fp_operand_size", width=32)
    done = b.local(32, 0)
    with b.Loop() as loop:
        at = done.get()
        loop.break_if(at == size)
        there = further(b, linear, at.zext(64))
        piece = _piece(b, there, size - at)
        value = b.load(b.slot("fp_operand") + at, 64)
        status = b.call(SLOW_WRITE, b.cpu, there, piece, value, 0)
        _check_written(b, status)
        done.set(at + piece)


def _check_written(b: NativeContext, status: Value) -> None:
    with b.Unlikely(status != OK):
        with b.If(b.get("fp_loaded") != 0):
            b.call(host_fp.FXRSTOR, b.slot("fp_saved"))
        b.ret(status)


def _operand_commit_masked(b: NativeContext) -> None:
    """Write the bytes that the instruction writes: those that come out the same over zeros and over ones."""
    thunk = b.arguments[1]
    operand, over_zeros = b.slot("fp_operand"), b.slot("fp_scratch")
    for background, result in ((0, over_zeros), (-1, operand)):
        for half in (0, 8):
            b.store(operand + half, b.const(background, 64))
        b.call_pointer(thunk, THUNK, operand, b.const(0, 64))
        for half in (0, 8):
            b.store(result + half, b.load(operand + half, 64))
    linear, size = b.get("fp_operand_linear"), b.get("fp_operand_size", width=32)
    done = b.local(32, 0)
    with b.Loop() as loop:
        at = done.get()
        loop.break_if(at == size)
        byte = b.load(operand + at, 8)
        with b.If(byte == b.load(over_zeros + at, 8)):
            _check_written(b, b.call(SLOW_WRITE, b.cpu, further(b, linear, at.zext(64)), 1, byte.zext(64), 0))
        done.set(at + 1)


RUNTIME: tuple[tuple[Signature, Body], ...] = (
    (OPERAND_BEGIN, _operand_begin),
    (OPERAND_COMMIT, _operand_commit),
    (OPERAND_COMMIT_MASKED, _operand_commit_masked),
)
