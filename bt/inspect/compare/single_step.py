"""bt and QEMU, instruction by instruction: the first one after which they do not agree.

bt leads. QEMU gets bt's state, memory and all, before the first instruction; then both execute the same ones. What does
not come of the instruction alone is bt's word: QEMU takes over what devices answer, time stamps, what CPUID says, and
flags that the instruction leaves undefined. Interrupts are bt's: when one has come, or HLT has waited for one, QEMU
gets bt's state once more. So QEMU's devices do not matter, and the comparison may begin anywhere in a run.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from bt.end import End
from bt.inspect.code import Instruction, code_bits, next_instruction
from bt.inspect.compare.difference import Difference
from bt.inspect.compare.ignored import Ignored
from bt.inspect.compare.lockstep import HISTORY, Progress, Report
from bt.inspect.compare.peer import MachinePeer
from bt.inspect.compare.qemu_memory import QemuMemory
from bt.inspect.compare.qemu_state import StateCopy, cpu_option, hidden, shown, visible
from bt.inspect.compare.qemu_stub import QemuGone, QemuStub
from bt.inspect.compare.registers import describe
from bt.inspect.compare.stores import Stores
from bt.machine import Machine
from bt.x86 import flags
from bt.x86.decode import DecodeError, decode
from bt.x86.decode import Instruction as Decoded
from bt.x86.features import shown_by
from bt.x86.mode import CODE_64
from bt.x86.opcodes import Form, InstructionClass, eflags_mask
from bt.x86.state import CS, ECX, CpuState

NAME = "qemu"
RAM_PERIOD = 1000  # instructions between comparisons of all RAM
FEW_ITERATIONS = 8  # of a repeated instruction, which are stepped; more are run, with interrupts off
_32_BITS, _64_BITS = (1 << 32) - 1, (1 << 64) - 1
# registers in which an instruction answers for the world outside of the processor, or for what processor it is
_OUTSIDE: dict[str, tuple[str, ...]] = {
    "in": ("eax",),
    "cpuid": ("eax", "ebx", "ecx", "edx"),
    "rdtsc": ("eax", "edx"),
    "rdpmc": ("eax", "edx"),
    "rdmsr": ("eax", "edx"),
}
_DEEP_CLASSES = (InstructionClass.SENSITIVE, InstructionClass.PRIVILEGED)
_BY_BT = {"interrupt_window": "interrupt", "hlt": "HLT", "fp_error": "FERR#"}  # exits: QEMU gets bt's state then
_STUB_NAMES = {f"fpr{number}": f"st{number}" for number in range(8)}

Factory = Callable[[], MachinePeer]


class SingleStep:
    """Compares a machine that a factory makes with QEMU."""

    def __init__(
        self,
        make: Factory,
        *,
        advance: Callable[[Machine], None] = lambda machine: None,
        limit: int | None = None,
        every: int = RAM_PERIOD,
        ignore: Iterable[str] = (),
        progress: Progress = lambda text: None,
    ) -> None:
        """`advance` takes a new machine to where the comparison begins; `limit`: instructions compared at most;
        `every`: instructions between comparisons of RAM; `ignore`: what may differ (ignored.py).
        """
        self._make, self._advance, self._limit, self._every = make, advance, limit, every
        self._ignored = Ignored(ignore)
        self._progress = progress

    def run(self, most: int = 1) -> list[Report]:
        """Compare to the end of the guest, the limit, or so many differences, after each of which QEMU takes over bt's
        state. A report of each, and of what was alike if the last one is none. Raises QemuMissing.
        """
        with self._pair(self._advance) as pair:
            reports: list[Report] = []
            while len(reports) < most:
                report, agreed = pair.run(self._limit, self._every)
                reports.append(self._look_closer(report, agreed))
                if report.identical or report.culprit is None:
                    break
                pair.align()
            return reports

    def _look_closer(self, report: Report, agreed: int) -> Report:
        """Where only RAM differs, and since an instruction between, look at all of RAM after each."""
        between = report.instructions - agreed
        if report.culprit is None or between <= 1 or not all(d.what.startswith("RAM") for d in report.differences):
            return report
        self._progress(f"RAM differs since an instruction from {agreed + 1:,} to {report.instructions:,}")

        def run_to_agreed(machine: Machine) -> None:
            machine.run(max_insns=agreed)

        with self._pair(run_to_agreed) as pair:
            closer, _ = pair.run(between, 1)
        if closer.differences:
            return replace(closer, notes=report.notes)
        note = f"compared after instructions {agreed:,} and {report.instructions:,}; alike when looked at after each"
        return replace(report, notes=(*report.notes, note))

    @contextmanager
    def _pair(self, advance: Callable[[Machine], None]) -> Iterator[_Pair]:
        """A new machine, taken to where the comparison begins, and QEMU in the same state."""
        with ExitStack() as cleanup:
            peer = self._make()
            cleanup.callback(peer.close)
            peer.limit_pieces(1)
            advance(peer.machine)
            memory = cleanup.enter_context(QemuMemory(peer.machine.ram))
            long_mode = shown_by(peer.cpu.state, "lm")
            stub = QemuStub(memory=memory.ram, cpu=cpu_option(peer.machine.config.cpu), long_mode=long_mode)
            cleanup.callback(stub.close)
            yield _Pair(peer, stub, memory, self._ignored, self._progress)


def _decode(instruction: Instruction, bits: int) -> Decoded | None:
    """None for bytes that are no instruction."""
    try:
        return decode(instruction.code, bits=bits)
    except DecodeError:
        return None


def _is_repeated(decoded: Decoded | None) -> bool:
    """Whether REP counts."""
    return decoded is not None and decoded.rep is not None and decoded.form.rep is not None


def _may_be_bts(state: CpuState, decoded: Decoded | None) -> bool:
    """Whether QEMU is likely to get bt's state after the next instruction."""
    waits = decoded is not None and decoded.form.name == "hlt"
    return waits or bool(state["nmi_pending"]) or bool(state["intr_pending"] and state["eflags_system"] & flags.IF)


class _Pair:
    """bt's machine and QEMU, in the same state."""

    def __init__(
        self, peer: MachinePeer, stub: QemuStub, memory: QemuMemory, ignored: Ignored, progress: Progress
    ) -> None:
        self._peer, self._stub, self._memory, self._ignored, self._progress = peer, stub, memory, ignored, progress
        self._cpu = peer.cpu
        self._copy = StateCopy(self._cpu, stub)
        self._taken: Counter[str] = Counter()
        self._trail: deque[Instruction] = deque(maxlen=HISTORY + 1)
        self._start = peer.instructions
        self._theirs: dict[str, int] = {}  # QEMU's registers, as of the last instruction
        stub.use_physical_addresses()
        memory.fill(stub)
        self._copy.registers()

    def run(self, limit: int | None, every: int) -> tuple[Report, int]:
        """Go on until the machines differ. The report, and after how many instructions all of RAM was alike."""
        peer = self._peer
        agreed = peer.instructions
        self._theirs = shown(self._stub)
        found = self._differences(self._theirs, deep=True) + self._memory.differences()
        while not found and not self._over(limit):
            found = self._step()
            if not found and (self._over(limit) or peer.instructions - agreed >= every):
                self._progress(f"{peer.instructions - self._start:,} instructions alike")
                found = self._ram_differences()
                if not found:
                    agreed = peer.instructions
        return self._report(found), agreed

    def align(self) -> None:
        """QEMU takes over bt's state."""
        self._memory.follow(self._stub)
        self._copy.registers()
        self._theirs = shown(self._stub)

    def _over(self, limit: int | None) -> bool:
        return self._peer.ended is not None or (limit is not None and self._peer.instructions - self._start >= limit)

    def _report(self, found: list[Difference]) -> Report:
        trail = list(self._trail)
        names = (self._peer.name, NAME)
        notes = [f"{count:,} x {what}" for what, count in self._taken.most_common()]
        return Report(
            names,
            self._peer.instructions if found else self._peer.instructions - self._start,
            self._peer.ended,
            tuple(found),
            culprit=trail[-1] if found and trail else None,
            before=tuple(trail[:-1]) if found else (),
            notes=(f"taken over from {names[0]}: {', '.join(notes)}",) if notes else (),
        )

    # -- one instruction ---------------------------------------------------------------------------------------------

    def _step(self) -> list[Difference]:
        """Both execute one. What differs then."""
        cpu, machine = self._cpu, self._peer.machine
        instruction = next_instruction(cpu)
        self._trail.append(instruction)
        decoded = _decode(instruction, code_bits(cpu.state["mode"]))
        if _may_be_bts(cpu.state, decoded) and (found := self._ram_differences()):
            self._trail.pop()  # it was one before; what comes now is no reason to take it over
            return found
        stores = Stores(cpu, decoded)
        exits = Counter(machine.exits)
        self._peer.run_to(self._peer.instructions + 1)
        if _is_repeated(decoded):
            while cpu.state["eip"] == instruction.eip and self._peer.ended is None and cpu.state["gpr", ECX]:
                self._peer.run_to(self._peer.instructions + 1)  # bt counts every so many iterations as an instruction
        left_for = Counter(machine.exits) - exits
        if by_bt := [what for reason, what in _BY_BT.items() if left_for[reason]]:
            if self._peer.ended is not None:
                return []
            self._taken.update(by_bt)
            self.align()
            return []
        try:
            theirs = self._step_qemu(instruction, decoded)
        except QemuGone:
            if self._peer.ended is None:
                return [Difference("guest", "goes on", "shuts down or resets the machine")]
            return []
        if (ended := self._peer.ended) is not None:
            over = self._peer.end in (End.TRIPLE_FAULT, End.RESET)  # else by a device that QEMU has not
            return [Difference("guest", ended, "goes on")] if over and self._stub.goes_on() else []
        form = decoded.form if decoded is not None else None
        theirs = self._take_over(form, bool(left_for["mmio"]), stores, theirs)
        deep = form is None or form.cls in _DEEP_CLASSES or form.cpuid is not None or theirs["cs"] != self._theirs["cs"]
        self._theirs = theirs
        found = self._differences(theirs, deep=deep)
        touched = [*stores.extents(), *(stores.descriptors() if deep else ())]
        if any(self._memory.differences_at(physical, size) for physical, size in touched):
            self._forgive()
        for physical, size in touched:
            found += self._memory.differences_at(physical, size)
        return found

    def _step_qemu(self, instruction: Instruction, decoded: Decoded | None) -> dict[str, int]:
        """QEMU's registers after the same instruction."""
        theirs = self._single_step()
        eip = self._cpu.state["eip"]
        if theirs == self._theirs and eip != instruction.eip:  # now and then a step ends before it has begun
            theirs = self._single_step()
        if decoded is None or not _is_repeated(decoded):
            return theirs
        # QEMU executes an iteration at a time, and bt very many
        mask = (1 << decoded.address_size) - 1
        ecx = self._cpu.state["gpr", ECX] & mask
        is_wide = bool(self._cpu.state["mode"] & CODE_64)
        after = instruction.eip + decoded.length
        base = 0 if is_wide else self._cpu.state.segment(CS, "base")
        after &= _64_BITS if is_wide else _32_BITS
        if theirs["eip"] == instruction.eip and eip == after and theirs["ecx"] & mask > ecx + FEW_ITERATIONS:
            self._stub.set_registers({"eflags": theirs["eflags"] & ~flags.IF})
            self._stub.run_to((base + after) & (_64_BITS if is_wide else _32_BITS))
            theirs = shown(self._stub)
            theirs["eflags"] |= self._theirs["eflags"] & flags.IF
            self._stub.set_registers({"eflags": theirs["eflags"]})
        while theirs["eip"] == instruction.eip and (eip != instruction.eip or theirs["ecx"] & mask > ecx):
            theirs = self._single_step()
        return theirs

    def _single_step(self) -> dict[str, int]:
        self._stub.step()
        return shown(self._stub)

    def _take_over(self, form: Form | None, mmio: bool, stores: Stores, theirs: dict[str, int]) -> dict[str, int]:
        """QEMU takes what is bt's word, and what may differ. QEMU's registers then."""
        ours = visible(self._cpu.state)
        taken: dict[str, int] = {}
        for name, value in ours.items():
            if value != theirs[name] and (why := self._why_taken(name, value, theirs[name], form, mmio)):
                taken[name] = value
                self._taken[why] += 1
        if mmio or (form is not None and form.name == "ins"):
            for physical, size in stores.extents():
                self._memory.take_over(self._stub, physical, size)
        self._stub.set_registers({_STUB_NAMES.get(name, name): value for name, value in taken.items()})
        return theirs | taken

    def _why_taken(self, name: str, ours: int, theirs: int, form: Form | None, mmio: bool) -> str:
        """For people, why QEMU takes over a register that differs; empty if there is no reason."""
        if mmio and name != "eip":
            return "MMIO"
        if form is not None and name in _OUTSIDE.get(form.name, ()):
            return form.name
        if self._ignored.admits(name, ours, theirs):
            return name
        undefined = eflags_mask(form.undefines) if form is not None and name == "eflags" else 0
        return (
            "undefined flags"
            if undefined and self._ignored.admits(name, ours & ~undefined, theirs & ~undefined)
            else ""
        )

    def _ram_differences(self) -> list[Difference]:
        """In all of it."""
        found = self._memory.differences()
        if found:
            self._forgive()
            found = self._memory.differences()
        return found

    def _forgive(self) -> None:
        """QEMU takes over what may differ in memory."""
        for address in list(self._ignored.bytes_of(self._cpu, self._memory)):
            self._memory.take_over(self._stub, address, 1)
            self._taken["ignored byte"] += 1

    def _differences(self, theirs: dict[str, int], *, deep: bool) -> list[Difference]:
        ours = visible(self._cpu.state)
        if deep:
            ours, theirs = ours | hidden(self._cpu.state), theirs | self._stub.registers()
        return [
            Difference(name, describe(name, value), describe(name, theirs[name]))
            for name, value in ours.items()
            if value != theirs[name] and not self._ignored.admits(name, value, theirs[name])
        ]
