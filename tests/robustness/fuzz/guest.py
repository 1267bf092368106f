"""One engine that runs the fuzzer's programs, and what must be the same on another one."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from bt.engine.library.library import Library
from bt.engine.structures import MAX_BLOCK_INSNS
from bt.engine.translator.vcpu import SITES
from bt.engine.vcpu import BLOCKS, Vcpu
from bt.inspect.compare.registers import FX_GUEST_SLOTS, FX_VISIBLE, read_registers
from bt.memory.map import PhysicalMap
from bt.memory.ram import GuestRam
from bt.x86 import cpu_model, reset
from bt.x86.exits import ExitReason
from bt.x86.state import EXACTLY, FIELDS, WHILE_NOW, offset
from tests import tables
from tests.engines import EngineFactory
from tests.robustness.fuzz import long_world, world
from tests.robustness.fuzz.long_settings import LONG_SETTINGS, LongSetting, start_long
from tests.robustness.fuzz.program import Event, Program
from tests.robustness.fuzz.settings import SETTINGS, Setting, calm, start

RESTARTS = 12
"""A program that shuts down goes on in another setting, so many times."""
MOST_EXITS = 400
"""A program ends after so many: a repeated string instruction can make thousands."""
_FEW_SITES = 1000
_A20 = 1 << 20
_ALL_OF_A20 = (1 << 64) - 1

_EXACT = tuple(field for field in FIELDS if field.comparison is EXACTLY and field.name != "fp_image")
"""Must agree byte for byte; of the FXSAVE image only what is the guest's."""
_MOMENTS = tuple(field.name for field in FIELDS if field.comparison is WHILE_NOW)
_ACCESSES = (ExitReason.IO, ExitReason.MMIO)


class UnexpectedExit(Exception):
    """The engine answers what no guest should be able to bring about."""


@dataclass
class Guest:
    """One vCPU of one CPU model for all programs."""

    engine: str
    factory: EngineFactory
    library: Library
    model: str
    exits: list[tuple[int, ...]] = field(default_factory=list)
    """Of the program so far: instructions retired, reason, address, size, write, value."""

    def __post_init__(self) -> None:
        self.ram = GuestRam(world.RAM_BYTES)
        self.cpu: Vcpu = self.factory(self.library, PhysicalMap(self.ram), cpu_model.parse(self.model))
        pointer = self.cpu.state.pointer
        self._parts = [(pointer + offset(field.name), 8 * field.slots) for field in _EXACT]
        self._fp = pointer + offset("fp_image")

    def close(self) -> None:
        """Give everything back."""
        self.cpu.close()
        self.ram.close()

    def load(self, program: Program) -> None:
        """Put the program in place and the processor at its start."""
        self._set_limits(program)
        self.program = program
        self.restarts = self.waits = 0
        self.ended = False
        self.exits = []
        self._random = Random(program.seed + " exits")
        self.vector = world.TIMER
        self.cpu.state["icount_base"] = 0
        self.ram.write(0, bytes(world.DATA))
        self.ram.write(world.DATA, world.data_template())
        self._restart(program.setting)
        self.ram.write(world.CODE, program.code)
        self.ram.write(world.CODE_COPY, program.code)
        self.cpu.flush()

    def _set_limits(self, program: Program) -> None:
        """How long a block may be, and how many there may be before the engine begins afresh."""
        insns, blocks, sites = MAX_BLOCK_INSNS, BLOCKS, SITES
        if program.limited:
            random = Random(f"{program.seed} {self.engine}")
            insns = random.choice((insns, insns, 1, 2, 5))
            blocks = random.choice((blocks, blocks, 6, 40))
            sites = random.choice((sites, sites, _FEW_SITES))
        for name, value in (("block_limit", insns), ("blocks_end", blocks), ("sites_end", sites)):
            self.cpu.set_control(name, value)

    @property
    def instructions(self) -> int:
        return self.cpu.instructions

    def _restart(self, setting: str) -> None:
        self.restarts += 1
        self._setting = setting
        seed = f"{self.program.seed} {self.restarts}"
        self.ram.write(0, bytes(world.CODE))
        for address, content in self._system_memory().items():
            self.ram.write(address, content)
        self.cpu.state["a20_mask"] = _ALL_OF_A20
        if setting in LONG_SETTINGS:
            start_long(self.cpu, LONG_SETTINGS[setting], Random(seed))
            return
        start(self.cpu, SETTINGS[setting], Random(seed))
        if self.program.calm:
            calm(self.cpu)

    @property
    def _is_long(self) -> bool:
        return self.program.setting in LONG_SETTINGS

    def _system_memory(self) -> dict[int, bytes]:
        """As it was at the last start."""
        seed = f"{self.program.seed} {self.restarts}"
        if self._is_long:
            return long_world.system_memory(seed)
        return world.system_memory(seed, SETTINGS[self._setting].directory)

    @property
    def _paging(self) -> dict[int, int]:
        """Bytes of each paging structure, by address."""
        return long_world.PAGING if self._is_long else world.PAGING

    def run_to(self, instructions: int) -> None:
        """Go on until so many instructions have retired in all, or the program is at its end."""
        while not self.ended and (left := instructions - self.instructions) > 0:
            leave = self.cpu.run(left)
            if leave.reason is ExitReason.BUDGET:
                continue
            access = (leave.address, leave.size, leave.write, leave.value) if leave.reason in _ACCESSES else ()
            self.exits.append((self.instructions, leave.reason, *access))
            self.ended |= len(self.exits) == MOST_EXITS
            self._serve(leave.reason, leave.size)

    def _serve(self, reason: ExitReason, size: int) -> None:
        match reason:
            case ExitReason.IO | ExitReason.MMIO:
                self.cpu.complete(self._random.getrandbits(8 * size))
            case ExitReason.INTERRUPT_WINDOW:
                self.cpu.state["intr_pending"] = 0
                self.cpu.interrupt(self.vector)
            case ExitReason.HLT:
                self._wake()
            case ExitReason.FP_ERROR if self.cpu.interrupts_enabled:
                self._wake()
            case ExitReason.FP_ERROR:
                self.cpu.state["ignore_fp_error"] = 1
            case ExitReason.MSR:
                pass  # a board would move or disable its local APIC: there is none here
            case ExitReason.SHUTDOWN:
                self._start_again()
            case _:
                raise UnexpectedExit(f"{reason.name} at EIP {self.cpu.state['eip']:#x}")

    def _wake(self) -> None:
        if self.cpu.interrupts_enabled:
            self.vector = world.MOVER
            self.cpu.state["intr_pending"] = 1
        elif self.cpu.state["nmi_blocked"]:
            self._start_again()
        else:
            self.cpu.nmi()

    def _start_again(self) -> None:
        """A program must not end just because its guest has shut down: go on with other code in another setting."""
        if self.restarts > RESTARTS:
            self.ended = True
            return
        settings: Mapping[str, Setting | LongSetting] = LONG_SETTINGS if self._is_long else SETTINGS
        bits = settings[self.program.setting].bits
        self._restart(self._random.choice([name for name, s in settings.items() if s.bits == bits]))

    def happen(self, event: Event) -> None:
        """Do to the guest what an event says."""
        state, value = self.cpu.state, event.value
        match event.kind:
            case "interrupt":
                self.vector = value
                state["intr_pending"] = 1
            case "nmi":
                self.cpu.nmi()
            case "write":
                address = world.CODE + value % (world.CODE_BYTES - 16)
                self.ram.write(address, Random(value).randbytes(8))
            case "a20":  # as Vcpu.set_a20 does
                state["a20_mask"] ^= _A20
                self.cpu.flush()

    @property
    def has_changed_page_tables(self) -> bool:
        """Whether the guest has written to page tables, or uses others than the world's."""
        directories = long_world.DIRECTORIES if self._is_long else world.DIRECTORIES
        if self.cpu.state["cr3"] & ~(tables.PAGE_BYTES - 1) not in directories:
            return True
        start = self._system_memory()
        return any(world.without_access_bits(start[at]) != self._entries(at, size) for at, size in self._paging.items())

    @property
    def ram_without_access_bits(self) -> bytes:
        """All of RAM but A and D of paging entries: what guests have cleared there, a TLB need not know."""
        ram = bytearray(self.ram.view)
        for at, size in self._paging.items():
            ram[at : at + size] = self._entries(at, size)
        return bytes(ram)

    def _entries(self, address: int, size: int) -> bytes:
        return world.without_access_bits(self.ram.read(address, size))

    # -- what is compared --------------------------------------------------------------------------------------------

    def image(self) -> tuple[object, ...]:
        """All registers, quickly, and the exits: equal if the guest cannot tell the difference. No RAM."""
        state, now = self.cpu.state, self.instructions
        fp = (ctypes.c_uint64 * FX_GUEST_SLOTS).from_address(self._fp)
        return (
            now,
            *(ctypes.string_at(address, size) for address, size in self._parts),
            reset.read_eflags(state),
            *(fp[slot] & mask for slot, mask in FX_VISIBLE.items()),
            bytes(fp)[8 * len(FX_VISIBLE) :],
            *(state[name] == now for name in _MOMENTS),
            self.exits,
            self.restarts,
        )

    def registers(self) -> dict[str, object]:
        """The same for people."""
        found: dict[str, object] = dict(read_registers(self.cpu.state, self.instructions))
        return found | {"exits": self.exits, "instructions": self.instructions, "restarts": self.restarts}
