"""The slow paths of guest memory: page-crossing accesses, MMIO, stores to pages that hold code.

All are runtime functions (bt/x86/services.py explains their results). An access to a device leaves to Python and the
whole instruction runs again once Python has the answer: `mmio_value` then replays the accesses already made, in order,
as a hypervisor's instruction emulator does. Nothing of the instruction was committed, so it cannot tell.

What native code answers (bt/memory/native_registers.py) is noted in the same way: should the instruction leave or
fail later on, it is replayed. A device wants to know the time, so an instruction that comes upon a window that is
served natively runs again alone, if it does not already: then it is known how many have retired.
"""

from __future__ import annotations

from bt.codegen.abi import Signature, native
from bt.codegen.value import PTR, Value
from bt.memory.access import ACCESS_CODE, Body, NativeContext
from bt.memory.backend import (
    ACCESS_SYSTEM,
    RESOLVE,
    SLOW_READ,
    SLOW_WRITE,
    UPDATE_BEGIN,
    UPDATE_COMMIT,
)
from bt.memory.bus import DEVICE_WINDOW_ACCESS_NS, NATIVE_CODE, NATIVE_READ, NATIVE_WRITE, PORT_ACCESS_NS
from bt.memory.native_registers import REGISTER, REGISTER_BYTES, SERVE, WINDOW, WINDOW_BYTES
from bt.memory.physical import CODE_GRANULE_SHIFT, PhysicalPage, code_map_slot
from bt.x86 import services
from bt.x86.context import AC, EXIT, OK
from bt.x86.exits import ExitReason
from bt.x86.mode import ALIGNMENT_FREE
from bt.x86.page import PAGE
from bt.x86.system.operating_mode import further

# One device access, replayed or by leaving to Python: reason, address, bytes, write, value; result in memory_value.
DEVICE_ACCESS = native("device_access", PTR, "i32", "i64", "i32", "i32", "i64")


def _device_access(b: NativeContext) -> None:
    _, reason, address, size, write, value = b.arguments
    used = b.get("mmio_used")
    slot = b.slot("mmio_value") + (used << 3)
    with b.If(used.ult(b.get("mmio_count"))):
        b.put("memory_value", b.load(slot, 64))
        b.put("mmio_used", used + 1)
        b.ret(OK)
    # of an operand that is moved in pieces, `value` has more than this one
    value = value & (b.const(-1, 64) >> (64 - (size << 3)).zext(64))
    with b.If(reason == int(ExitReason.MMIO)):
        _serve_window(b, address, size, write, value)
    b.put("exit_address", address)
    b.put("exit_size", size)
    b.put("exit_write", write)
    b.put("exit_value", value)
    b.put("exit_reason", reason)
    b.ret(EXIT)


def _serve_window(b: NativeContext, address: Value, size: Value, write: Value, value: Value) -> None:
    """Return if native code answers for a window at this physical address, or will when the instruction is alone."""
    row = b.local(PTR, b.get_pointer("native_windows"))
    with b.Loop() as loop:
        start, end = (WINDOW.get(b, row.get(), name) for name in ("start", "end"))
        loop.break_if(end == 0)
        with b.If(address.uge(start) & (address + size.zext(64)).ule(end)):
            with b.If(b.get("accessed_at") == 0):
                b.put("wants_alone", 1)
                b.ret(EXIT)
            register = WINDOW.pointer(row.get(), "read")
            offset = (address - start + REGISTER.get(b, register, "offset")).trunc(32)
            _serve(b, register, offset, size, write != 0, value, DEVICE_WINDOW_ACCESS_NS)
        row.set(row.get() + WINDOW_BYTES)


def _serve(
    b: NativeContext, register: Value, offset: Value, size: Value, write: Value, value: Value, access_ns: int
) -> None:
    """Return if the device's native code answers."""
    code = b.select(write, REGISTER.get_pointer(b, register, "write"), REGISTER.get_pointer(b, register, "read"))
    with b.If(code != 0):
        block = REGISTER.get_pointer(b, register, "block")
        with b.If(b.call_pointer(code, SERVE, b.cpu, block, offset, size, value) == OK):
            _note_served(b, access_ns)


def _note_served(b: NativeContext, access_ns: int) -> None:
    """An access has been answered here, as if by Python: should the instruction run again, it is not made once more."""
    made = b.get("mmio_count")
    b.put("access_ns", b.get("access_ns") + access_ns)
    b.store(b.slot("mmio_value") + (made << 3), b.get("memory_value"))
    b.put("mmio_count", made + 1)
    b.put("mmio_used", made + 1)
    b.count("native_accesses")
    b.ret(OK)


def _pieces(b: NativeContext, linear: Value, size: Value) -> tuple[Value, Value]:
    """Bytes of an access on its first and on its second page (i32 each)."""
    room = b.const(PAGE, 32) - (linear & (PAGE - 1)).trunc(32)
    first = b.select(room.ult(size), room, size)
    return first, size - first


def _read_bytes(b: NativeContext, pointer: Value, size: Value) -> Value:
    """Little-endian value of 0-8 bytes at a host pointer, i64."""
    value, index = b.local(64, 0), b.local(32, 0)
    with b.Loop() as loop:
        i = index.get()
        loop.break_if(i.uge(size))
        value.set(value.get() | (b.load(pointer + i.zext(64), 8).zext(64) << (i << 3).zext(64)))
        index.set(i + 1)
    return value.get()


def _write_bytes(b: NativeContext, pointer: Value, size: Value, value: Value) -> None:
    index = b.local(32, 0)
    with b.Loop() as loop:
        i = index.get()
        loop.break_if(i.uge(size))
        b.store(pointer + i.zext(64), (value >> (i << 3).zext(64)).trunc(8))
        index.set(i + 1)


def _read_piece(b: NativeContext, host: Value, physical: Value, size: Value) -> Value:
    result = b.local(64, 0)
    with b.IfElse(host != 0) as arm:
        with arm.then():
            result.set(_read_bytes(b, host.to_pointer(), size))
        with arm.otherwise():
            b.attempt(DEVICE_ACCESS, b.cpu, int(ExitReason.MMIO), physical, size, 0, 0)
            result.set(b.get("memory_value"))
    return result.get()


def _check_alignment(b: NativeContext, linear: Value, size: Value, flags: Value | int) -> None:
    """#AC(0) where alignment is checked and not given (SDM vol. 3A 6.15): before page faults, as on hardware."""
    checked = (b.get("mode") & ALIGNMENT_FREE) == 0
    system = (flags if isinstance(flags, Value) else b.const(flags, 32)) & ACCESS_SYSTEM
    b.fault_if(checked & (system == 0) & ((linear.trunc(32) & (size - 1)) != 0), AC, 0)


def _watch(b: NativeContext, linear: Value, size: Value, write: int) -> None:
    """Data breakpoints: on the processor's own accesses to its tables and stacks too."""
    with b.Unlikely(b.get("debugging") != 0):
        kind = services.WATCH_WRITE if write else services.WATCH_READ
        b.call(services.WATCH_ACCESS, b.cpu, linear, size, kind)


def _both_pages(b: NativeContext, write: int, flags: Value | int) -> tuple[Value, Value, Value, Value, Value, Value]:
    """Resolve both pages before anything is touched: (host, physical, size) of the first and second piece."""
    linear, size = b.arguments[1], b.arguments[2]
    _check_alignment(b, linear, size, flags)
    first, second = _pieces(b, linear, size)
    b.attempt(RESOLVE, b.cpu, linear, write, flags)
    host, physical = b.get("memory_value"), b.get("exit_address")
    host2, physical2 = b.local(64, 0), b.local(64, 0)
    with b.If(second != 0):
        b.attempt(RESOLVE, b.cpu, further(b, linear, first.zext(64)), write, flags)
        host2.set(b.get("memory_value"))
        physical2.set(b.get("exit_address"))
    _watch(b, linear, size, write)
    return host, physical, first, host2.get(), physical2.get(), second


def _slow_read(b: NativeContext) -> None:
    host, physical, first, host2, physical2, second = _both_pages(b, 0, b.arguments[3])
    value = b.local(64, _read_piece(b, host, physical, first))
    with b.If(second != 0):
        high = _read_piece(b, host2, physical2, second)
        value.set(value.get() | (high << (first << 3).zext(64)))
    b.put("memory_value", value.get())


def _write_piece(b: NativeContext, host: Value, physical: Value, size: Value, value: Value) -> None:
    with b.If(host == 0):
        b.attempt(DEVICE_ACCESS, b.cpu, int(ExitReason.MMIO), physical, size, 1, value)
    page = PhysicalPage(b, physical)
    with b.If((host != 0) & page.is_writable):
        _write_bytes(b, host.to_pointer(), size, value)
        _note_code_write(b, physical, size)
    # what is stored to ROM vanishes, or goes to the RAM behind it, from where no code is executed
    with b.If((host != 0) & page.is_over_ram):
        _write_bytes(b, page.host_behind.to_pointer(), size, value)


def _note_code_write(b: NativeContext, physical: Value, size: Value) -> None:
    """Tell the engine if translated code came from the 64-byte granules written to."""
    code_map = b.load(code_map_slot(b, physical), 64)
    granule = (physical >> CODE_GRANULE_SHIFT) & 63
    last = ((physical + size.zext(64) - 1) >> CODE_GRANULE_SHIFT) & 63
    hit = ((code_map >> granule) | (code_map >> last)) & 1
    with b.If(hit != 0):
        b.call(services.CODE_WRITTEN, b.cpu, physical, size)


def _slow_write(b: NativeContext) -> None:
    value = b.arguments[3]
    host, physical, first, host2, physical2, second = _both_pages(b, 1, b.arguments[4])
    _write_piece(b, host, physical, first, value)
    with b.If(second != 0):
        _write_piece(b, host2, physical2, second, value >> (first << 3).zext(64))


def _update_begin(b: NativeContext) -> None:
    _, linear, size = b.arguments
    host, physical, first, host2, physical2, second = _both_pages(b, 1, 0)
    with b.If(ACCESS_CODE.probe(b, linear, size, write=True).hit):  # which it is not, if it crosses a page
        b.put("memory_value", host)
        b.ret(OK)
    value = b.local(64, _read_piece(b, host, physical, first))
    with b.If(second != 0):
        value.set(value.get() | (_read_piece(b, host2, physical2, second) << (first << 3).zext(64)))
    b.put("bounce", value.get())
    b.put("bounce_linear", linear)
    b.put("bounce_size", size)
    b.put("memory_value", b.slot("bounce").zext(64))


def _update_commit(b: NativeContext) -> None:
    linear, size = b.get("bounce_linear"), b.get("bounce_size", width=32)
    b.attempt(SLOW_WRITE, b.cpu, linear, size, b.get("bounce"), 0)


def _port(b: NativeContext, *, write: bool) -> None:
    port, size = b.arguments[1], b.arguments[2]
    index = port.zext(64) & 0xFFFF
    with b.Unlikely(b.get("debugging") != 0):
        b.call(services.WATCH_ACCESS, b.cpu, index, size, services.WATCH_PORT)
    allowed = b.load(b.get_pointer("port_access") + index, 8)
    out = b.arguments[3].zext(64) if write else b.const(0, 64)
    with b.If((allowed != 0) & (b.get("mmio_used") == b.get("mmio_count"))):  # if not, this one is replayed
        value = b.get_pointer("port_values") + index
        with b.If(((allowed & (NATIVE_WRITE if write else NATIVE_READ)) != 0) & (size == 1)):
            if write:
                b.store(value, b.arguments[3].trunc(8))
            else:
                b.put("memory_value", b.load(value, 8))
            _note_served(b, PORT_ACCESS_NS)
        with b.If((allowed & NATIVE_CODE) != 0):
            register = b.get_pointer("native_registers") + b.load(value, 8).zext(64) * REGISTER_BYTES
            offset = REGISTER.get(b, register, "offset").trunc(32)
            _serve(b, register, offset, size, b.const(int(write), 1), out, PORT_ACCESS_NS)
    b.attempt(DEVICE_ACCESS, b.cpu, int(ExitReason.IO), index, size, int(write), out)


def _local_apic(b: NativeContext, *, write: bool) -> None:
    """It is a device at the address that IA32_APIC_BASE has, whatever else is there."""
    address = (b.get("apic_base") & -PAGE) + b.arguments[1].zext(64)
    out = b.arguments[2].zext(64) if write else b.const(0, 64)
    b.attempt(DEVICE_ACCESS, b.cpu, int(ExitReason.MMIO), address, 4, int(write), out)


RUNTIME: tuple[tuple[Signature, Body], ...] = (
    (DEVICE_ACCESS, _device_access),
    (SLOW_READ, _slow_read),
    (SLOW_WRITE, _slow_write),
    (UPDATE_BEGIN, _update_begin),
    (UPDATE_COMMIT, _update_commit),
    (services.READ_LOCAL_APIC, lambda b: _local_apic(b, write=False)),
    (services.WRITE_LOCAL_APIC, lambda b: _local_apic(b, write=True)),
    (services.PORT_READ, lambda b: _port(b, write=False)),
    (services.PORT_WRITE, lambda b: _port(b, write=True)),
)
