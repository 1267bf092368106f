"""The part of copying a state into QEMU that only 64-bit code can do: tables, LDT and task anywhere, wide breakpoints.

QEMU is put into 64-bit mode of our own, with page tables that map the first 2 MiB to themselves, in low memory of which
nothing remains.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from bt.inspect.code import IN_LDT, RPL, SELECTOR_INDEX
from bt.inspect.compare.qemu_stub import QemuMissing, QemuStub
from bt.x86.state import ATTR_GRANULAR, CS, LDTR, SEGMENT_NAMES, SS, TR, CpuState
from bt.x86.system.registers.control_registers import CR0_PE, CR0_PG, CR4_PAE, EFER_LME, EFER_NXE, EFER_SCE

# Physical addresses: what QEMU executes, its operands, and the page tables
_CODE, _OPERAND, _DESCRIPTOR, _TABLES = 0x1000, 0x1040, 0x1080, 0x2000
_SCRATCH_END = 0x5000
_PRESENT_WRITABLE, _LARGE = 3, 0x80
_CR0_ET = 1 << 4
_CODE_64 = struct.pack("<II", 0xFFFF, 0x00AF9B00)
_OWN_CODE = 8  # selector
_BUSY = 2
_LGDT, _LIDT = 2, 3  # ModRM.reg
_BREAKPOINTS = 4
MSRS = {
    0xC000_0081: "star",
    0xC000_0082: "lstar",
    0xC000_0083: "cstar",
    0xC000_0084: "sfmask",
}
"""Those that long mode has, by the state's names."""


def enter(stub: QemuStub) -> bytes:
    """From real mode to 64-bit mode. What has been in the memory that is used."""
    saved = stub.read(_CODE, _SCRATCH_END - _CODE)
    top, pointers, directory = (_TABLES + 0x1000 * n for n in range(3))
    for at, entry in ((top, pointers), (pointers, directory), (directory, _LARGE)):
        stub.write(at, struct.pack("<Q", entry | _PRESENT_WRITABLE).ljust(0x1000, b"\0"))
    stub.write(_DESCRIPTOR + _OWN_CODE, _CODE_64)
    stub.write(_OPERAND, struct.pack("<HI", 0xFFFF, _DESCRIPTOR))
    stub.write(_CODE, b"\x66\x2e\x0f\x01\x16" + _OPERAND.to_bytes(2, "little"))
    stub.set_registers({"eip": _CODE})
    stub.step()
    stub.set_registers({"cr4": CR4_PAE, "efer": EFER_LME | EFER_SCE | EFER_NXE, "cr3": top})
    stub.set_registers({"cr0": _CR0_ET | CR0_PE | CR0_PG})
    stub.set_registers({"cs": _OWN_CODE})
    return saved


def load(stub: QemuStub, state: CpuState, descriptor: Callable[[int], bytes]) -> None:
    """In that mode: the data segments, LDT, task, tables and bases of a state; `descriptor` makes one of a register."""
    for number in range(6):
        if number not in (CS, SS):
            selector = state.segment(number, "selector")
            if selector & IN_LDT:
                raise QemuMissing("QEMU cannot take over a segment of the LDT in long mode")
            _load_table(stub, _LGDT, _DESCRIPTOR - (selector & SELECTOR_INDEX), 0xFFFF)
            stub.write(_DESCRIPTOR, descriptor(number))
            stub.set_registers({SEGMENT_NAMES[number]: selector ^ 8})
            stub.set_registers({SEGMENT_NAMES[number]: selector})
    for number, modrm in ((LDTR, 0xD0), (TR, 0xD8)):
        selector = state.segment(number, "selector")
        if selector & ~RPL == 0 and number == TR:
            continue
        entry = bytearray(descriptor(number)) + struct.pack("<Q", state.segment(number, "base") >> 32)
        if number == TR:
            entry[5] &= ~_BUSY & 0xFF
        stub.write(_DESCRIPTOR, bytes(entry))
        _load_table(stub, _LGDT, _DESCRIPTOR - (selector & SELECTOR_INDEX), 0xFFFF)
        _execute(stub, b"\xb8" + selector.to_bytes(4, "little"), bytes((0x0F, 0x00, modrm)))
    for number in range(_BREAKPOINTS):
        _execute(stub, b"\x48\xb8" + state["dr", number].to_bytes(8, "little"), bytes((0x0F, 0x23, 0xC0 | number << 3)))
    _load_table(stub, _LIDT, state["idtr_base"], state["idtr_limit"])
    _load_table(stub, _LGDT, state["gdtr_base"], state["gdtr_limit"])
    bases = {"fs_base": state.segment(4, "base"), "gs_base": state.segment(5, "base")}
    stub.set_registers(bases | {"k_gs_base": state["kernel_gs_base"]})


def granular(limit: int, attributes: int) -> tuple[int, int]:
    """The limit field of a descriptor and its attributes, for a limit in bytes."""
    if limit > 0xFFFFF:
        attributes |= ATTR_GRANULAR
    return (limit >> 12 if attributes & ATTR_GRANULAR else limit), attributes


def leave(stub: QemuStub, saved: bytes) -> None:
    """Put the memory back that was used."""
    stub.write(_CODE, saved)


def _execute(stub: QemuStub, *instructions: bytes) -> None:
    stub.write(_CODE, b"".join(instructions))
    stub.set_registers({"eip": _CODE})
    for _ in instructions:
        stub.step()


def _load_table(stub: QemuStub, reg: int, base: int, limit: int) -> None:
    stub.write(_OPERAND, struct.pack("<HQ", limit, base & (1 << 64) - 1))
    _execute(stub, bytes((0x0F, 0x01, 0x04 | reg << 3, 0x25)) + _OPERAND.to_bytes(4, "little"))
