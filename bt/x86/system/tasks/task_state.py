"""The task-state segment (SDM vol. 3A 7.2): stacks of the inner rings and the I/O permission bitmap.

Room for later: task switches (vol. 3A 7.3) belong beside these.
"""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86 import flags
from bt.x86.context import GP, OK, TS, Context
from bt.x86.state import TR
from bt.x86.system.operating_mode import system_linear
from bt.x86.system.segmentation.descriptor_table import error_code

# The stack the current TSS names for a privilege level: level 0-2, EXT bit for error codes.
# Answers in memory_value: SS above a 32-bit ESP.
INNER_STACK = native("inner_stack", PTR, "i32", "i32")
# #GP(0) unless I/O to a port is allowed: port, size in bytes (1 2 4).
CHECK_PORT = native("check_port", PTR, "i32", "i32")

# Byte offsets within the two formats
ESP0_32, STACK_BYTES_32, SS_AT_32 = 4, 8, 4
SP0_16, STACK_BYTES_16, SS_AT_16 = 2, 4, 2
IO_MAP_BASE = 102


def is_32_bit(b: Context) -> Value:
    """Whether TR holds a 32-bit TSS (type 9 or 11), i1."""
    return (b.get_segment(TR, "attributes", width=32) & 8) != 0


def _inner_stack(b: Context) -> None:
    _, level, external = b.arguments
    base = b.get_segment(TR, "base", width=32)
    wide = is_32_bit(b)
    start = b.select(wide, level * STACK_BYTES_32 + ESP0_32, level * STACK_BYTES_16 + SP0_16)
    last = start + b.select(wide, b.const(SS_AT_32 + 1, 32), SS_AT_16 + 1)
    task = b.get_segment(TR, "selector", width=32)
    with b.Unlikely(last.zext(64).ugt(b.get_segment(TR, "limit"))):
        b.fault(TS, error_code(task, external))
    pointer, selector = b.local(32), b.local(32)
    with b.IfElse(wide) as arm:
        with arm.then():
            pointer.set(b.read_linear(base + start, 32, system=True))
            selector.set(b.read_linear(base + start + SS_AT_32, 16, system=True).zext(32))
        with arm.otherwise():
            pointer.set(b.read_linear(base + start, 16, system=True).zext(32))
            selector.set(b.read_linear(base + start + SS_AT_16, 16, system=True).zext(32))
    b.put("memory_value", pointer.get().zext(64) | (selector.get().zext(64) << 32))


def may_access_all_ports(b: Context) -> Value:
    """Whether CPL and IOPL alone let every port be accessed (SDM vol. 1 19.5.1), i1."""
    system = b.get("eflags_system", width=32)
    iopl = (system & flags.IOPL) >> flags.IOPL_SHIFT
    return b.get("cpl", width=32).ule(iopl) & ((system & flags.VM) == 0)


def _check_port(b: Context) -> None:
    """SDM vol. 1 19.5.2: with CPL above IOPL the bitmap decides; two bytes of it are read whatever the size.

    In virtual-8086 mode it always decides.
    """
    _, port, size = b.arguments
    with b.If(may_access_all_ports(b)):
        b.ret(OK)
    limit = b.get_segment(TR, "limit")
    b.fault_if(~is_32_bit(b) | limit.ult(IO_MAP_BASE + 1), GP, 0)
    base = b.get_segment(TR, "base")
    at = b.read_linear(system_linear(b, base + IO_MAP_BASE), 16, system=True).zext(32) + (port >> 3)
    b.fault_if((at + 1).zext(64).ugt(limit), GP, 0)
    bits = b.read_linear(system_linear(b, base + at.zext(64)), 16, system=True).zext(32) >> (port & 7)
    ports = (b.const(1, 32) << size) - 1
    b.fault_if((bits & ports) != 0, GP, 0)


RUNTIME = ((INNER_STACK, _inner_stack), (CHECK_PORT, _check_port))
