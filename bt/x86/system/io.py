"""IN, OUT, INS and OUTS (SDM vol. 2; vol. 1 chapter 19): the permission check, then the port bus."""

from __future__ import annotations

from bt.codegen.value import Value
from bt.x86.context import Context, Operand
from bt.x86.semantics.string import advance, index, repeat_elements, step
from bt.x86.services import PORT_READ, PORT_WRITE
from bt.x86.state import EDI, ES, ESI
from bt.x86.system.tasks.task_state import CHECK_PORT


def _read_port(b: Context, port: Value, width: int) -> Value:
    b.put("accessed_at", b.icount())
    b.attempt(PORT_READ, b.cpu, port, width // 8)
    return b.get("memory_value", width=width)


def _write_port(b: Context, port: Value, value: Value) -> None:
    b.put("accessed_at", b.icount())
    b.attempt(PORT_WRITE, b.cpu, port, value.width // 8, value.zext(32))


def _settle(b: Context) -> None:
    """An access that native code served takes its time now, before the next instruction: an event may be due."""
    with b.Unlikely(b.get("access_ns") != 0):
        b.retire_accesses()
        b.put("eip", b.next_eip())
        b.resume()


def in_(b: Context, dst: Operand, src: Operand) -> None:
    port = src.read().zext(32)
    cell = b.port_cell(port, dst.width, write=False)
    if cell is not None:
        dst.write(b.load(cell, dst.width))
        return
    b.attempt(CHECK_PORT, b.cpu, port, dst.width // 8)
    dst.write(_read_port(b, port, dst.width))
    _settle(b)


def out(b: Context, dst: Operand, src: Operand) -> None:
    port, value = dst.read().zext(32), src.read()
    cell = b.port_cell(port, value.width, write=True)
    if cell is not None:
        b.store(cell, value)
        return
    b.attempt(CHECK_PORT, b.cpu, port, value.width // 8)
    _write_port(b, port, value)
    _settle(b)


def ins(b: Context, dst: Operand, src: Operand) -> None:
    """INS: memory is proved writable before the port is read, because reading a port cannot be undone."""
    width = dst.width

    def element() -> None:
        port = src.read().zext(32)
        b.attempt(CHECK_PORT, b.cpu, port, width // 8)
        pointer = b.operand_pointer(ES, index(b, EDI), width // 8, write=True)
        b.store(pointer, _read_port(b, port, width))
        b.commit_operand(pointer)
        advance(b, EDI, step(b, width))

    repeat_elements(b, element)
    _settle(b)


def outs(b: Context, dst: Operand, src: Operand) -> None:
    width = src.width

    def element() -> None:
        port = dst.read().zext(32)
        b.attempt(CHECK_PORT, b.cpu, port, width // 8)
        value = b.read_memory(b.source_segment(), index(b, ESI), width)
        _write_port(b, port, value)
        advance(b, ESI, step(b, width))

    repeat_elements(b, element)
    _settle(b)
