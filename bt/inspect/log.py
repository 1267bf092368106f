"""What a guest does, in the words of QEMU's -d: scripts that read QEMU's log can read this one.

Nothing of it costs anything unless it is asked for: exceptions leave the engine because the processor is told to,
INT instructions because they have another handler, and blocks are listed after the run in which they were decoded. All
of it comes at the same instruction under both engines. What is left out: NMIs, and system management mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bt.engine.linear import read_linear
from bt.engine.protocol import Exit
from bt.engine.vcpu import Vcpu, own_vcpu
from bt.errors import BadUsage
from bt.inspect.code import LONGEST_INSTRUCTION, code_bits, text_of
from bt.inspect.cpu_dump import dump
from bt.machine import Machine
from bt.memory.ram import OutsideRam
from bt.x86 import flags, reset
from bt.x86.decode import DecodeError, decode
from bt.x86.exits import ExitReason
from bt.x86.mode import FLAT_CS
from bt.x86.page import PAGE
from bt.x86.state import CS, EAX, ESP, FAULT_FIELDS, SS
from bt.x86.system.interrupts.exceptions import CLASSES
from bt.x86.system.registers.control_registers import CR0_PE, CR0_PG
from bt.x86.vectors import Vector

ITEMS = {
    "int": "show interrupts/exceptions in short format",
    "cpu_reset": "show CPU state before CPU resets",
    "in_asm": "show target assembly code for each compiled TB",
    "exec": "show trace before each executed instruction (slow)",
    "guest_errors": "log when the guest OS does something invalid",
}
_SOFTWARE_INTERRUPTS = {"int": None, "int3": Vector.BP, "int1": Vector.DB, "into": Vector.OF}
_NONE = 0xFFFF_FFFF  # no exception is under delivery
Write = Callable[[str], object]


def items_of(text: str) -> frozenset[str]:
    """The items of "int,cpu_reset". Raises BadUsage for others than ITEMS."""
    found = frozenset(part for part in text.split(",") if part)
    for item in found - ITEMS.keys():
        raise BadUsage(f"-d {item}: there are {', '.join(ITEMS)}")
    return found


class GuestLog:
    """Writes lines, with their line ends, about one machine from now on."""

    def __init__(self, machine: Machine, items: Iterable[str], write: Write) -> None:
        """`items` of ITEMS. Raises BadUsage for an engine that is not bt's own."""
        self._pc, self._cpu = machine, own_vcpu(machine.cpu)
        self._items = items_of(",".join(items))
        self._write = write
        self._events = 0  # counted, as QEMU does
        self._blocks_seen = 0
        if "in_asm" in self._items:
            self._cpu.listen(self._list_blocks)
        if "int" in self._items:
            self._watch_events()
        if "cpu_reset" in self._items:
            machine.restarted(self._reset)
        if "guest_errors" in self._items:
            self._around(ExitReason.MMIO, self._accessed)
        if "exec" in self._items:
            machine.trace(self._executed)

    def _lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._write(f"{line}\n")

    def _around(self, reason: ExitReason, before: Callable[[Exit], None]) -> None:
        """Do this before the machine serves such an exit."""
        serve = self._pc.server(reason)

        def both(leave: Exit) -> None:
            before(leave)
            serve(leave)

        self._pc.serve(reason, both)

    # -- int ----------------------------------------------------------------------------------------------------------

    def _watch_events(self) -> None:
        self._cpu.watch_exceptions(True)
        self._cpu.stop_before_instructions(_SOFTWARE_INTERRUPTS)
        self._pc.serve(ExitReason.EXCEPTION, self._exception)
        self._pc.interrupt_taken(self._interrupt)
        self._around(ExitReason.BREAKPOINT, self._software_interrupt)
        self._around(ExitReason.SHUTDOWN, self._shutdown)

    def _exception(self, leave: Exit) -> None:
        self._check_exception(leave.address)
        self._event(leave.address, leave.value if leave.extra & 1 else 0, is_int=False)
        self._cpu.deliver_exception(leave)

    def _check_exception(self, new: int) -> None:
        """Of a failed delivery: the exception that failed, and what it raised."""
        depth, old = self._cpu.state["fault_depth"], _NONE
        if depth:
            old, new = (self._failure(depth - 1, name) for name in ("event", "raised"))
            if old not in CLASSES:  # QEMU forgets those that make no double fault, and interrupts
                old = _NONE
        self._lines((f"check_exception old: {old:#x} new {new:#x}",))

    def _failure(self, number: int, name: str) -> int:
        return self._cpu.state["fault_chain", number * len(FAULT_FIELDS) + FAULT_FIELDS.index(name)]

    def _interrupt(self, vector: int) -> None:
        self._lines((f"Servicing hardware INT={vector:#04x}",))
        self._event(vector, 0, is_int=False)

    def _software_interrupt(self, leave: Exit) -> None:
        code = read_linear(self._cpu, leave.address, LONGEST_INSTRUCTION)
        try:
            instruction = decode(code, bits=code_bits(self._cpu.state["mode"]))
        except DecodeError:
            return
        name = instruction.form.name
        if name not in _SOFTWARE_INTERRUPTS:
            return  # somebody wants to stop at its address
        vector = _SOFTWARE_INTERRUPTS[name]
        if vector is Vector.OF and not reset.read_eflags(self._cpu.state) & flags.OF:
            return
        self._event(code[instruction.length - 1] if vector is None else vector, 0, is_int=True)

    def _shutdown(self, leave: Exit) -> None:
        self._check_exception(Vector.DF)
        if "cpu_reset" in self._items:
            self._lines(("Triple fault",))

    def _event(self, vector: int, error: int, *, is_int: bool) -> None:
        state = self._cpu.state
        if not state["cr0"] & CR0_PE:
            return
        eip, base = state["eip"], state.segment(CS, "base")
        last = f"CR2={state['cr2']:08x}" if vector == Vector.PF else f"env->regs[R_EAX]={state['gpr', EAX]:08x}"
        line = (
            f"{self._events:6}: v={vector:02x} e={error:04x} i={int(is_int)} cpl={state['cpl']} "
            f"IP={state.segment(CS, 'selector'):04x}:{eip:08x} pc={(base + eip) & 0xFFFF_FFFF:08x} "
            f"SP={state.segment(SS, 'selector'):04x}:{state['gpr', ESP]:08x} {last}"
        )
        self._events += 1
        self._lines((line, *dump(state, flag_source=True, fpu=False)))

    # -- the other items ----------------------------------------------------------------------------------------------

    def _reset(self) -> None:
        self._lines(("CPU Reset (CPU 0)", *dump(self._cpu.state, flag_source=True)))

    def _accessed(self, leave: Exit) -> None:
        if not self._pc.mmio.answers(leave.address):
            self._lines(
                (f"Invalid access at addr 0x{leave.address:X}, size {leave.size}, region '(null)', reason: rejected",)
            )

    def _executed(self, run: Callable[[int, int, int], Exit]) -> Callable[[int, int, int], Exit]:
        state = self._cpu.state

        def traced(budget: int, offset_ns: int = 0, clock_scale: int = 0) -> Exit:
            base, eip = state.segment(CS, "base"), state["eip"]
            mode = state["mode"]
            leave = run(1, offset_ns, clock_scale)
            if leave.instructions:
                pc = (base + eip) & 0xFFFF_FFFF
                self._lines((f"Trace 0: {state.pointer:#x} [{base:08x}/{pc:08x}/{mode:08x}/00000001] ",))
            return leave

        return traced

    def _list_blocks(self) -> None:
        count = self._cpu.block_count
        if count < self._blocks_seen:
            self._blocks_seen = 0
        for physical, eip, mode, size in self._cpu.blocks_since(self._blocks_seen + 1):
            linear = eip if mode & FLAT_CS or self._cpu.state["cr0"] & CR0_PG else physical
            self._lines(("-" * 16, "IN: ", *_listing(self._cpu, physical, linear, mode, size), ""))
        self._blocks_seen = count


def _listing(cpu: Vcpu, physical: int, linear: int, mode: int, size: int) -> Iterable[str]:
    """The instructions of a block, whose bytes are what is there now."""
    bits = code_bits(mode)
    in_page = min(size, PAGE - physical % PAGE)
    try:
        code = cpu.memory.read(physical, in_page)
        if in_page < size:
            code += read_linear(cpu, linear + in_page, size - in_page)
    except OutsideRam:
        return
    at = 0
    while at < len(code):
        try:
            length = decode(code[at:], bits=bits).length
            text = text_of(code[at : at + length], linear + at, bits) or "(bad)"
        except DecodeError:
            length, text = len(code) - at, "(bad)"
        mnemonic, _, operands = text.partition(" ")
        yield f"0x{linear + at:08x}:  {code[at : at + length].hex(' '):<24} {mnemonic:<8} {operands}".rstrip()
        at += length
