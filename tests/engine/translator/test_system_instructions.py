"""System instructions that translated code does without the interpreter: that it does, and that nobody can tell.

See bt/engine/translator/gates/system_instructions.py. All run in loops, so that the TLB has what their short ways need.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from bt.engine.vcpu import Vcpu
from bt.x86.exits import ExitReason
from bt.x86.reset import read_eflags
from bt.x86.state import GPR_NAMES, SEGMENT_NAMES
from guest_images.assembler import assemble
from tests import tables
from tests.engines import factories
from tests.smc.guest import (
    ALIAS,
    DONE,
    FRAME,
    GDT,
    IDT,
    KERNEL_CODE,
    KERNEL_DATA,
    KERNEL_STACK,
    MAPPED,
    OTHER_FRAME,
    PROGRAM,
    STUBS,
    TABLE,
    USER_CODE,
    USER_DATA,
    USER_STACK,
    Mode,
    Paging,
    guest,
    stencils,
)

DIVIDE_ERROR, DEBUG, NMI, PROTECTION, CALL = 0, 1, 2, 13, 0x33
HANDLERS, BASED, BASE = PROGRAM + 0x800, 0x30, MAPPED - 0x1000
ENTRY = TABLE + 4 * (MAPPED - ALIAS >> 12)
IA32_SYSENTER_CS, IA32_SYSENTER_ESP, IA32_SYSENTER_EIP = 0x174, 0x175, 0x176
FAR_IN = 300  # instructions: everything has happened a few times by then
COUNTER, NOWHERE = PROGRAM + 0x1000, 0xF000_0000

# What steps over a faulting instruction of so many bytes, by vector: some push an error code.
_STEP = "add dword [esp], {length}\ninc ebx\niretd"
_STEP_WITH_CODE = "add esp, 4\n" + _STEP


@dataclass(frozen=True)
class Program:
    """The body of a loop, and handlers by vector."""

    body: str
    handlers: Mapping[int, str] = field(default_factory=dict)
    level: int = 0
    before: str = ""  # the loop, once, at its level
    kernel_gates: tuple[int, ...] = ()  # vectors whose gates are for level 0 alone

    def memory(self, times: int) -> dict[int, bytes]:
        loop = f"mov ebp, {times}\n{self.before}\nagain:\n{self.body}\ndec ebp\njnz again\nint {DONE}\n"
        found = {PROGRAM: assemble(loop, 32, PROGRAM), GDT + BASED: tables.descriptor(tables.DATA, base=BASE)}
        found |= {FRAME: b"\1", OTHER_FRAME: b"\3"}
        targets = {DONE: STUBS}
        for number, (vector, text) in enumerate(self.handlers.items()):
            targets[vector] = at = HANDLERS + 0x40 * number
            found[at] = assemble(text, 32, at)
        found[IDT] = b"".join(
            tables.interrupt_gate(
                KERNEL_CODE, targets.get(vector, NOWHERE), dpl=0 if vector in self.kernel_gates else 3
            )
            for vector in range(64)
        )
        return found


def _enter_user(kernel: str) -> str:
    """SYSENTER's registers, `kernel` behind it, and on at level 3 with the next line."""
    registers = {
        IA32_SYSENTER_CS: str(KERNEL_CODE),
        IA32_SYSENTER_ESP: str(KERNEL_STACK),
        IA32_SYSENTER_EIP: "entry",
    }
    text = "".join(f"mov ecx, {number}\nmov eax, {value}\nxor edx, edx\nwrmsr\n" for number, value in registers.items())
    frame = "".join(f"push {value}\n" for value in (USER_DATA, USER_STACK, 0x202, USER_CODE, "user"))
    return f"{text}{frame}iretd\nentry:\n{kernel}\nuser:\nmov eax, {USER_DATA}\nmov ds, eax\nmov es, eax"


# The page at MAPPED is another one from now on; what is in it.
_REMAP = f"xor dword [{ENTRY}], {FRAME ^ OTHER_FRAME}\n"
_READ = f"add ebx, [{MAPPED}]"
_LOAD_BASED = f"mov eax, {BASED}\nmov fs, eax"
_SYSTEM_CALL = "mov ecx, esp\nmov edx, back\nsysenter\nback:"
USUAL = {
    "div by zero": Program("xor ecx, ecx\ndiv ecx", {DIVIDE_ERROR: _STEP.format(length=2)}),
    "idiv that overflows": Program("mov ecx, 1\nmov edx, 5\nidiv ecx", {DIVIDE_ERROR: _STEP.format(length=2)}),
    "div of 16 bits": Program("xor ecx, ecx\ndiv cx", {DIVIDE_ERROR: _STEP.format(length=3)}),
    "div by memory": Program(f"div dword [{COUNTER}]", {DIVIDE_ERROR: _STEP.format(length=6)}),
    "div at level 3": Program("xor ecx, ecx\ndiv ecx", {DIVIDE_ERROR: _STEP.format(length=2)}, level=3),
    "int": Program(f"int {CALL}", {CALL: "inc ebx\niretd"}),
    "int at level 3": Program(f"int {CALL}", {CALL: "inc ebx\niretd"}, level=3),
    "iret": Program(f"push 2\npush {KERNEL_CODE}\npush next\niretd\nnext:"),
    "sysenter": Program(_SYSTEM_CALL, before=_enter_user("inc ebx\nsysexit")),
    "mov cr3": Program("mov cr3, ecx\ninc ebx", before="mov ecx, cr3"),
    "invlpg": Program(f"{_REMAP}invlpg [{MAPPED}]\n{_READ}"),
    "invlpg with registers": Program(f"{_REMAP}mov ecx, {MAPPED - 64}\nmov esi, 8\ninvlpg [ecx+esi*8]\n{_READ}"),
    "invlpg in a segment": Program(f"{_REMAP}invlpg fs:[0x1000]\n{_READ}", before=_LOAD_BASED),
    "invlpg of 16 bits": Program(
        f"{_REMAP}mov ecx, ebx\nmov ebx, 0x12341000\n.byte 0x64, 0x67, 0x0f, 0x01, 0x3f\nmov ebx, ecx\n{_READ}",
        before=_LOAD_BASED,
    ),
}
UNUSUAL = {
    "invlpg at level 3": Program("xor ecx, ecx\ninvlpg [ecx]", {PROTECTION: _STEP_WITH_CODE.format(length=3)}, level=3),
    "mov cr3 at level 3": Program("mov cr3, ecx", {PROTECTION: _STEP_WITH_CODE.format(length=3)}, level=3),
    "invlpg of its own page": Program("inc ebx\ninvlpg [again]\ninc eax\ninc ecx"),
    "other control registers": Program("mov cr2, ebp\nmov ecx, cr0\nmov cr0, ecx\nmov ecx, cr4\nmov cr4, ecx"),
    "sysexit at level 3": Program("sysexit", {PROTECTION: _STEP_WITH_CODE.format(length=2)}, level=3),
    "sysenter to nowhere": Program("sysenter", {PROTECTION: _STEP_WITH_CODE.format(length=2)}),
    "a gate of level 0": Program(
        f"int {CALL}", {CALL: "iretd", PROTECTION: _STEP_WITH_CODE.format(length=2)}, level=3, kernel_gates=(CALL,)
    ),
    "iret to a trap": Program(
        "pushfd\nor dword [esp], 0x100\npush cs\npush next\niretd\nnext:\ninc ecx\ninc edx",
        {DEBUG: "and dword [esp+8], 0xfffffeff\ninc ebx\niretd"},
    ),
    "iret with a resume flag": Program("pushfd\nor dword [esp], 0x10000\npush cs\npush next\niretd\nnext:\ninc ecx"),
    "iret out of a nested task": Program(
        "pushfd\nor dword [esp], 0x4000\npopfd\npushfd\npop eax\nand eax, 0xffffbfff\npush eax\npopfd\ninc ebx"
    ),
    "iret to another level 0 segment": Program(
        f"pushfd\npush {KERNEL_CODE}\npush next\niretd\nnext:\nmov eax, {KERNEL_DATA}\nmov ss, eax"
    ),
}
ALL = USUAL | UNUSUAL


def _services(program: Program, times: int) -> int:
    machine = stencils()
    before = machine.cpu.statistics()["services"]
    machine.run(Mode(Paging.SMALL, program.level), program.memory(times))
    return machine.cpu.statistics()["services"] - before


@pytest.mark.parametrize("name", [name for name in USUAL if name.startswith("invlpg")])
@pytest.mark.parametrize("engine", factories(unpaged=False))
def test_invlpg_has_the_page_walked_to(name: str, engine: str) -> None:
    _, total = guest(engine).run(Mode(Paging.SMALL, 0), USUAL[name].memory(10))
    assert total == 5 * 1 + 5 * 3


@pytest.mark.parametrize("name", USUAL)
def test_the_interpreter_is_not_called(name: str) -> None:
    assert _services(USUAL[name], 200) == _services(USUAL[name], 20)


def _started(engine: str, program: Program) -> Vcpu:
    return guest(engine).start(Mode(Paging.SMALL, program.level), program.memory(1000))


def _outcome(cpu: Vcpu) -> dict[str, object]:
    state = cpu.state
    found: dict[str, object] = {name: state["gpr", number] for number, name in enumerate(GPR_NAMES)}
    found |= {name: state[name] for name in ("eip", "cpl", "cr2", "cr3", "nmi_blocked")}
    found |= {name: state.segment(number, "selector") for number, name in enumerate(SEGMENT_NAMES)}
    return found | {"eflags": read_eflags(state), "instructions": cpu.instructions}


@pytest.mark.parametrize("engine", factories(unpaged=False))
@pytest.mark.parametrize("name", ALL)
def test_the_guest_is_where_the_interpreter_has_it(name: str, engine: str) -> None:
    for amount in range(FAR_IN, FAR_IN + 25):
        found = []
        for each in ("interp", engine):
            cpu = _started(each, ALL[name])
            begun = cpu.instructions
            leave = cpu.run(amount)
            assert leave.reason is ExitReason.BUDGET, leave
            outcome = _outcome(cpu)
            found.append(outcome | {"instructions": cpu.instructions - begun})
        assert found[0] == found[1], amount


_OPENING = Program("cli\npushfd\nor dword [esp], 0x200\npush cs\npush next\niretd\nnext:\ninc ebx")


@pytest.mark.parametrize("engine", factories(unpaged=False))
def test_an_interrupt_comes_with_the_iret_that_lets_it_in(engine: str) -> None:
    cpu = _started(engine, _OPENING)
    cpu.run(FAR_IN)
    while read_eflags(cpu.state) & 0x200:
        cpu.run(1)
    cpu.state["intr_pending"] = 1
    leave = cpu.run(1000)
    cpu.state["intr_pending"] = 0
    assert leave.reason is ExitReason.INTERRUPT_WINDOW
    assert leave.instructions < 8, "and not for a later one"
    text = assemble(f"mov ebp, 1000\nagain:\n{_OPENING.body}", 32, PROGRAM)
    assert cpu.state["eip"] == PROGRAM + len(text) - len(assemble("inc ebx", 32, PROGRAM))


@pytest.mark.parametrize("engine", factories(unpaged=False))
def test_iret_lets_an_nmi_in(engine: str) -> None:
    program = Program("push eax\npop eax\npushfd\npush cs\npush next\niretd\nnext:\ninc ecx", {NMI: "inc ebx\niretd"})
    found = []
    for each in ("interp", engine):
        cpu = _started(each, program)
        cpu.run(FAR_IN)
        cpu.state["nmi_pending"] = cpu.state["nmi_blocked"] = 1
        begun = cpu.instructions
        cpu.run(100)
        assert cpu.state["gpr", 3] == 1, "its handler has run"
        found.append(_outcome(cpu) | {"instructions": cpu.instructions - begun})
    assert found[0] == found[1]
