"""A vCPU's state in QEMU's terms: read, compared, and copied into a stopped QEMU.

QEMU's stub sets most registers itself. The rest is loaded by instructions of ours, a few bytes that QEMU executes in
real mode or just after it with segments of its own, below 64 KiB where nothing of them remains.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from bt.engine.linear import translate
from bt.engine.vcpu import Vcpu
from bt.inspect.code import IN_LDT, RPL, SELECTOR_INDEX
from bt.inspect.compare import qemu_long_mode
from bt.inspect.compare.qemu_stub import QemuStub
from bt.x86 import cpu_model, flags, reset
from bt.x86.features import IMPLIED, shown_by
from bt.x86.mode import CODE_64
from bt.x86.state import CS, FS, GPR_NAMES, GS, LDTR, SEGMENT_NAMES, SS, TR, CpuState
from bt.x86.system.registers.control_registers import CR0_PE, EFER_LMA

_SELECTORS = SEGMENT_NAMES[:6]
_BASES = {"fs_base": FS, "gs_base": GS}
_OF_LONG_MODE = {"lm", "syscall", "pdpe1gb"}  # which qemu-system-i386 has not
_CONTROL = ("cr0", "cr2", "cr3", "cr4", "efer")
_TABLES = ("gdtr_base", "gdtr_limit", "idtr_base", "idtr_limit")
_DEBUG = (0, 1, 2, 3, 6, 7)
_MSRS = {0x174: "sysenter_cs", 0x175: "sysenter_esp", 0x176: "sysenter_eip", 0x277: "pat"}
_CODE, _OPERAND, _DESCRIPTOR, _FP = 0x1000, 0x1040, 0x1080, 0x1100  # physical: what QEMU executes, and its operands
_SCRATCH_END = 0x1200
_CR0_ET = 1 << 4
_BUSY, _LDT = 2, 0x82  # attributes
_MXCSR_MASKS = 0x1F80
_ONLY_SHOWN = {"ss", "ht"}  # features that are nothing but bits of CPUID
_FP_SUMMARY = 0x8080  # B and ES: they follow from the flags and masks of the control word
_TOP_SHIFT = 11
_ST, _XMM = 4, 20  # slots of an FXSAVE image, two a register
REGISTERS = frozenset(
    (
        *(*GPR_NAMES, "eip", "eflags", *SEGMENT_NAMES, *_CONTROL, "fctrl", "fstat", "mxcsr", *_TABLES, "cpl", "ftw"),
        *(f"fpr{number}" for number in range(8)),
        *(f"xmm{number}" for number in range(16)),
        *(f"r{number}" for number in range(8, 16)),
        *_BASES,
        "k_gs_base",
        *(f"dr{number}" for number in _DEBUG),
        *(f"{segment}.{part}" for segment in SEGMENT_NAMES for part in ("base", "limit")),
    )
)
"""All names that `visible` and `hidden` use."""


def cpu_option(text: str) -> str:
    """QEMU's -cpu for one of bt's models: the same features on QEMU's oldest processor (what CPUID says is bt's)."""
    wanted = cpu_model.parse(text).features
    features = sorted(cpu_model.available_features() - IMPLIED - _ONLY_SHOWN)
    if "lm" not in wanted:
        features = [name for name in features if name not in _OF_LONG_MODE]
    return ",".join(("486", *(f"{name}={'on' if name in wanted else 'off'}" for name in features)))


def visible(cpu: CpuState) -> dict[str, int]:
    """What the stub shows of a processor, by its names; of the x87 registers only those in use, as `fpr0`...

    Without RF, which bt keeps as an instruction count, and which no instruction but one that faults shows.
    """
    is_wide = bool(cpu["mode"] & CODE_64)
    mask = (1 << 64) - 1 if is_wide else (1 << 32) - 1
    found = {name: cpu["gpr", number] & mask for number, name in enumerate(GPR_NAMES)}
    if shown_by(cpu, "lm"):
        # QEMU's stub shows zeros where they are out of reach
        found |= {f"r{number}": cpu["gpr", number] if is_wide else 0 for number in range(8, 16)}
        if is_wide:
            found |= {name: cpu.segment(number, "base") for name, number in _BASES.items()}
            found["k_gs_base"] = cpu["kernel_gs_base"]
    found["eip"], found["eflags"] = cpu["eip"], reset.read_eflags(cpu) & ~flags.RF
    found |= {name: cpu.segment(number, "selector") for number, name in enumerate(_SELECTORS)}
    found |= {name: cpu[name] for name in _CONTROL}
    status = cpu["fp_image", 0] >> 16 & 0xFFFF
    found["fctrl"], found["fstat"] = cpu["fpu_control"], status & ~_FP_SUMMARY
    top, tags = status >> _TOP_SHIFT & 7, cpu["fp_image", 0] >> 32 & 0xFF
    for number in range(8):
        if tags >> number & 1:
            slot = _ST + 2 * ((number - top) & 7)
            found[f"fpr{number}"] = cpu["fp_image", slot] | (cpu["fp_image", slot + 1] & 0xFFFF) << 64
    for number in range(16 if is_wide else 8):
        found[f"xmm{number}"] = cpu["fp_image", _XMM + 2 * number] | cpu["fp_image", _XMM + 2 * number + 1] << 64
    found["mxcsr"] = cpu["fp_image", 3] & 0xFFFF & ~_MXCSR_MASKS | cpu["mxcsr_masks"]
    return found


def shown(stub: QemuStub) -> dict[str, int]:
    """The same of QEMU; all eight x87 registers."""
    found = stub.described_registers()
    for number in range(8):
        found[f"fpr{number}"] = found.pop(f"st{number}")  # the stub counts them as the processor does, not from TOP
    found["fstat"] &= ~_FP_SUMMARY
    found["eflags"] &= ~flags.RF
    return found


def hidden(cpu: CpuState) -> dict[str, int]:
    """What the monitor shows beyond that: bases, limits, descriptor tables, debug registers, CPL, x87 tags.

    Of segments that are not usable just the selector; nothing of what accesses have no use for.
    """
    found = {name: cpu[name] for name in (*_TABLES, "cpl")}
    found |= {f"dr{number}": cpu["dr", number] for number in _DEBUG}
    found["ftw"] = cpu["fp_image", 0] >> 32 & 0xFF
    protected = bool(cpu["cr0"] & CR0_PE) and not cpu["eflags_system"] & flags.VM
    for number, name in enumerate(SEGMENT_NAMES):
        selector = cpu.segment(number, "selector")
        found[name] = selector
        if (protected or number < LDTR) and not (protected and selector & ~RPL == 0):
            found[f"{name}.base"] = cpu.segment(number, "base")
            found[f"{name}.limit"] = cpu.segment(number, "limit")
    return found


def _packed(base: int, limit: int, attributes: int) -> bytes:
    """A descriptor (SDM vol. 3A 3.4.5); `attributes` are bits 8 to 23 of its second half, less the limit's."""
    high = base & 0xFF00_0000 | limit & 0xF_0000 | (attributes & 0xF0FF) << 8 | base >> 16 & 0xFF
    return struct.pack("<II", (base & 0xFFFF) << 16 | limit & 0xFFFF, high)


class StateCopy:
    """Copies what a vCPU is into QEMU, stopped, whatever QEMU is at the moment. Memory is somebody else's."""

    def __init__(self, cpu: Vcpu, stub: QemuStub) -> None:
        """The stub takes physical addresses."""
        self._cpu, self._state, self._stub = cpu, cpu.state, stub

    def registers(self) -> None:
        """All of the processor's state but for time stamp, MTRRs and what only interrupts look at."""
        stub, state = self._stub, self._state
        saved = stub.read(_CODE, _SCRATCH_END - _CODE)
        stub.set_registers({"cr0": _CR0_ET, "cr4": 0, "efer": 0, "eflags": flags.ALWAYS_ONE})
        for selector in (1, 0):  # the stub takes no notice of a selector that is there already
            stub.set_registers(dict.fromkeys(("cs", "ss", "ds"), selector))
        self._load_x87()
        self._execute(bytes((0xB0, 2 if state["a20_mask"] >> 20 & 1 else 0)), b"\xe6\x92")  # port 92: A20
        for number in _DEBUG:
            self._execute(
                b"\x66\xb8" + state["dr", number].to_bytes(4, "little"), bytes((0x0F, 0x23, 0xC0 | number << 3))
            )
        if shown_by(state, "msr"):
            msrs = _MSRS | (qemu_long_mode.MSRS if shown_by(state, "lm") else {})
            for number, name in msrs.items():
                low, high = state[name] & 0xFFFF_FFFF, state[name] >> 32
                loads = struct.pack("<HIHIHI", 0xB966, number, 0xB866, low, 0xBA66, high)
                self._execute(loads[:6], loads[6:12], loads[12:], b"\x0f\x30")
        if state["efer"] & EFER_LMA:
            stub.write(_CODE, saved)
            self._finish_in_long_mode()
            return
        self._load_table(0x1E, state["idtr_base"], state["idtr_limit"])
        stub.set_registers({"cr0": _CR0_ET | CR0_PE})
        self._load_system_segment(TR, 0xD8, ~_BUSY)
        plain = [number for number in range(6) if self._is_paragraph(number)]
        others = [number for number in range(6) if number not in plain]
        for number in others:
            if SEGMENT_NAMES[number] not in ("cs", "ss"):
                self._load_segment(number)
        self._load_system_segment(LDTR, 0xD0, ~0)
        self._load_table(0x16, state["gdtr_base"], state["gdtr_limit"])
        stub.write(_CODE, saved)
        stub.set_registers({name: state[name] for name in ("cr3", "cr4", "efer")} | {"cr0": state["cr0"] | CR0_PE})
        for number in others:
            if SEGMENT_NAMES[number] in ("cs", "ss"):
                self._load_in_place(number)
        self._load_values(plain)

    def _finish_in_long_mode(self) -> None:
        """From real mode on, where what follows is 64-bit code's to do."""
        stub, state = self._stub, self._state
        saved = qemu_long_mode.enter(stub)
        qemu_long_mode.load(stub, state, self._descriptor)
        qemu_long_mode.leave(stub, saved)
        stub.set_registers({name: state[name] for name in ("cr3", "cr4", "efer", "cr0")})
        for number in (CS, SS):
            self._load_in_place(number)
        self._load_values(())

    def _load_values(self, paragraphs: Iterable[int]) -> None:
        """What the stub itself sets, and segment registers that hold paragraphs, once EFLAGS are there."""
        stub, values = self._stub, visible(self._state)
        stub.set_registers({name: values[name] for name in ("cr0", "cr2", "eflags")})
        for number in paragraphs:
            self._select(number)
        others = [name for name in values if name.startswith(("xmm", "r")) or name == "mxcsr"]
        stub.set_registers({name: values[name] for name in (*GPR_NAMES, "eip", *others)})

    def _execute(self, *instructions: bytes) -> None:
        self._stub.write(_CODE, b"".join(instructions))
        self._stub.set_registers({"eip": _CODE})
        for _ in instructions:
            self._stub.step()

    def _load_table(self, modrm: int, base: int, limit: int) -> None:
        """LGDT or LIDT, with a 32-bit base; the operand behind CS, for DS may be the guest's already."""
        self._stub.write(_OPERAND, struct.pack("<HI", limit, base & 0xFFFF_FFFF))
        self._execute(b"\x66\x2e\x0f\x01" + bytes((modrm,)) + _OPERAND.to_bytes(2, "little"))

    def _load_x87(self) -> None:
        """FRSTOR: the tags come with the registers."""
        state = self._state
        image = state["fp_image", 0]
        status, tags = image >> 16 & 0xFFFF, image >> 32 & 0xFF
        words = sum((0 if tags >> number & 1 else 3) << 2 * number for number in range(8))
        data = struct.pack("<IIIIIII", state["fpu_control"], status, words, *[0] * 4)
        for number in range(8):
            slot = _ST + 2 * number
            data += struct.pack("<QH", state["fp_image", slot], state["fp_image", slot + 1] & 0xFFFF)
        self._stub.write(_FP, data)
        self._execute(b"\x66\x2e\xdd\x26" + _FP.to_bytes(2, "little"))

    def _descriptor(self, number: int) -> bytes:
        """What the hidden part of a segment register was, or could have been, loaded from."""
        base, limit, attributes = (self._state.segment(number, part) for part in ("base", "limit", "attributes"))
        return _packed(base & 0xFFFF_FFFF, *qemu_long_mode.granular(limit, attributes))

    def _load_segment(self, number: int) -> None:
        """From a table of one descriptor, which lies where the selector's index says."""
        selector = self._state.segment(number, "selector")
        index = selector & SELECTOR_INDEX
        base = _DESCRIPTOR - index
        if selector & IN_LDT:
            table = _packed(base & 0xFFFF_FFFF, 0xFFFF, _LDT)
            self._stub.write(_DESCRIPTOR, table)
            self._load_table(0x16, _DESCRIPTOR - 8, 0xFFFF)
            self._execute(b"\xb8\x08\x00", b"\x0f\x00\xd0")
        else:
            self._load_table(0x16, base, 0xFFFF)
        self._stub.write(_DESCRIPTOR, self._descriptor(number))
        self._select(number)

    def _load_system_segment(self, number: int, modrm: int, mask: int) -> None:
        """LLDT or LTR; the latter does not take a busy task, and has no null selector."""
        selector = self._state.segment(number, "selector")
        if selector & ~RPL == 0 and number == TR:
            return
        descriptor = bytearray(self._descriptor(number))
        descriptor[5] &= mask & 0xFF
        self._stub.write(_DESCRIPTOR, bytes(descriptor))
        self._load_table(0x16, _DESCRIPTOR - (selector & SELECTOR_INDEX), 0xFFFF)
        self._execute(b"\xb8" + selector.to_bytes(2, "little"), bytes((0x0F, 0x00, modrm)))

    def _load_in_place(self, number: int) -> None:
        """From the guest's own tables, whatever they hold now: behind CS and SS no instruction of ours can follow."""
        selector = self._state.segment(number, "selector")
        base = self._state.segment(LDTR, "base") if selector & IN_LDT else self._state["gdtr_base"]
        linear = base + (selector & SELECTOR_INDEX)
        physical = translate(self._cpu, linear).physical
        if physical is None:
            return
        saved = self._stub.read(physical, 8)
        self._stub.write(physical, self._descriptor(number))
        self._select(number)
        self._stub.write(physical, saved)

    def _select(self, number: int) -> None:
        name, selector = SEGMENT_NAMES[number], self._state.segment(number, "selector")
        self._stub.set_registers({name: selector ^ 8})
        self._stub.set_registers({name: selector})

    def _is_paragraph(self, number: int) -> bool:
        """Whether a segment register is what real or virtual-8086 mode makes of its selector."""
        state = self._state
        if state["cr0"] & CR0_PE and not state["eflags_system"] & flags.VM:
            return False
        return (state.segment(number, "base"), state.segment(number, "limit")) == (
            state.segment(number, "selector") << 4,
            0xFFFF,
        )
