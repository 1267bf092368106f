"""A vCPU: the state block, the areas for decoded code, and the loop around generated code."""

from __future__ import annotations

import ctypes
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from typing import NamedTuple

from bt import arguments
from bt.engine.breakpoints import Breakpoints
from bt.engine.code_bytes import ROW_BYTES, ROWS
from bt.engine.library.library import Library
from bt.engine.library.pieces import Pieces
from bt.engine.library.tables import open_bus
from bt.engine.protocol import Engine, Exit
from bt.engine.structures import (
    BLOCK,
    BLOCK_BYTES,
    CONTROL,
    DELIVERING_EXCEPTION,
    DELIVERING_INTERRUPT,
    HASH_ENTRIES,
    MAX_BLOCK_INSNS,
    RECORD_BYTES,
    THUNK_BYTES,
)
from bt.errors import BadUsage
from bt.host.area import (
    Area,
    Released,
)
from bt.memory.dirty_log import Marks
from bt.memory.map import PhysicalMap
from bt.memory.map_layout import PAGES
from bt.memory.mmu import Mmu
from bt.memory.native_registers import REGISTER_BYTES, REGISTERS, WINDOW_BYTES, WINDOWS, NativeRegisters
from bt.memory.soft_mmu.mmu import SoftMmu
from bt.x86 import cpu_model, flags
from bt.x86.cpu_model import CpuModel
from bt.x86.exits import ExitReason
from bt.x86.page import PAGE
from bt.x86.state import MMIO_SLOTS, CpuState, slot_number

RECORDS = 1 << 20
BLOCKS = 1 << 18
THUNK_PIECES = 4  # 1 MiB
PORTS = 1 << 16
ALL_EXCEPTIONS = (1 << 32) - 1  # of trap_vectors
_OF_STATE = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)
_OF_STATE_AND_NUMBER = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32)
_CODE_WRITTEN = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32)
_COPY_PAGES = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_char_p, ctypes.c_uint64)
_FORGET_MARKED = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_char_p, ctypes.c_uint64)
_CACHE_FULL, _PROMOTE = int(ExitReason.CACHE_FULL), int(ExitReason.PROMOTE)
_EXIT_REASON, _BUDGET, _DELIVERING = slot_number("exit_reason"), slot_number("budget"), slot_number("delivering")
_CLOCK_OFFSET, _CLOCK_SCALE = slot_number("clock_offset"), slot_number("clock_scale")
_MMIO_COUNT, _MMIO_VALUE = slot_number("mmio_count"), slot_number("mmio_value")
_make_exit = partial(tuple.__new__, Exit)  # 0.2 us; Exit's own constructor takes 0.8
_MASK_64 = (1 << 64) - 1
_TABLES = ("handlers", "dispatch", "shapes", "fp_forms", "long_handlers", "long_dispatch")


class VcpuSnapshot(NamedTuple):
    """A processor between two runs, without RAM and time."""

    model: CpuModel
    state: bytes  # CpuState.save


class Vcpu:
    """One virtual CPU under one engine: `interp` here; the translator subclasses it.

    `run` and what it calls are for one thread at a time, which `Machine.run` sees to (bt/host/sole_use.py). After
    `close` everything that needs the processor raises Closed.
    """

    name = "interp"

    def __init__(self, library: Library, memory: PhysicalMap, model: CpuModel | None = None) -> None:
        """`model`: the processor the guest sees; the default one if None.

        Raises ArenaFull or BadUsage where there is no room for one more, Closed if library or RAM are closed.
        """
        self.library = library
        self.model = model or cpu_model.parse()
        self.memory, self.ram = memory, memory.ram
        self._held = ExitStack()
        self._areas: list[Area] = []
        self._held.callback(_close_all, self._areas)
        # without a reference to the vCPU, so that one that is forgotten gives back what it has too
        self._give_back = weakref.finalize(self, self._held.close)
        self._give_back.atexit = False  # a daemon thread may still run it while the interpreter goes down
        try:
            self._acquire()
            self._wire()
            self._begin()
            memory.watch(self)
        except BaseException:
            self._give_back()
            raise

    def _acquire(self) -> None:
        """Take all that `close` gives back."""
        library = self.library
        self._thunks = self.pieces(THUNK_PIECES)
        self.state = CpuState()
        self._breakpoints = Breakpoints()
        self.mmu: Mmu = SoftMmu(self.state, self.call, self.library.symbols)
        self._after_run: Callable[[], None] | None = None  # who wants to hear that a run has ended
        self._held.enter_context(closing(self.state))
        self._records, self._blocks = self.area(RECORDS * RECORD_BYTES), self.area(BLOCKS * BLOCK_BYTES)
        self._hash, self._page_blocks = self.area(4 * HASH_ENTRIES), self.area(4 * PAGES, sparse=True)
        self._page_info = self.area(8 * PAGES, sparse=True)
        self._code_bytes = self.area(ROWS * ROW_BYTES)
        self.port_access, self.port_values = self.area(PORTS), self.area(PORTS)
        registers, windows = self.area(REGISTERS * REGISTER_BYTES), self.area(WINDOWS * WINDOW_BYTES)
        self.native_registers = NativeRegisters(registers.map, windows.map)
        self.state["native_registers"], self.state["native_windows"] = registers.address, windows.address
        self._control = self.area(PAGE)
        self._tables = library.tables(self.model)
        self._entry = _OF_STATE(library.symbols[self._entry_name()])
        self._deliver_pending = _OF_STATE(library.symbols["deliver_pending"])
        self._code_written = _CODE_WRITTEN(library.symbols["code_written"])

    def area(self, size: int, *, sparse: bool = False) -> Area:
        """Memory of `size` bytes for generated code, given back with the vCPU's own."""
        area = Area(size, sparse=sparse)
        self._areas.append(area)
        return area

    def pieces(self, most: int) -> Pieces:
        """Room for code, 1 to `most` pieces, given back with the vCPU's own."""
        pieces = Pieces(self.library, most)
        self._held.enter_context(closing(pieces))
        return pieces

    @staticmethod
    def _entry_name() -> str:
        return "run_interp"

    def _wire(self) -> None:
        symbols, arena = self.library.symbols, self.library.arena
        for name, value in {
            **{name: self._tables.address(name) for name in _TABLES},
            "thunks": arena.exec_base,
            "write_delta": (arena.write_base - arena.exec_base) & ((1 << 64) - 1),
            "stale_handler": symbols["interp_stale"],
            "chain_handler": symbols["interp_chain"],
            "length_handler": symbols["interp_too_long"],
            "breakpoint_handler": symbols["interp_breakpoint"],
            "long_stale_handler": symbols["interp_long_stale"],
            "long_chain_handler": symbols["interp_long_chain"],
            "long_length_handler": symbols["interp_long_too_long"],
            "long_breakpoint_handler": symbols["interp_long_breakpoint"],
            "blocks_base": self._blocks.address,
            "blocks_end": BLOCKS,
            "block_limit": MAX_BLOCK_INSNS,
            "hash": self._hash.address,
            "page_blocks": self._page_blocks.address,
            "code_bytes": self._code_bytes.address,
            "open_bus": open_bus(),
        }.items():
            self.set_control(name, value)
        s = self.state
        self.model.install(s)
        s["engine"] = self._control.address
        s["memory_map"], s["dirty_log"] = self.memory.address, self.memory.dirty_address
        s["ram_entry"] = self.memory.ram_entry
        s["page_info"] = self._page_info.address
        s["port_access"], s["port_values"] = self.port_access.address, self.port_values.address
        s.put_all("comparison_flags", flags.COMPARISON_FLAGS)

    def control(self, name: str) -> int:
        """A field of the engine's control block (statistics among them)."""
        return int.from_bytes(self._control.map[CONTROL.offsets[name] :][:8], "little")

    def set_control(self, name: str, value: int) -> None:
        at = CONTROL.offsets[name]
        self._control.map[at : at + 8] = value.to_bytes(8, "little")

    # -- Engine ---------------------------------------------------------------------------------------------------

    @property
    def instructions(self) -> int:
        """Instructions retired so far."""
        return self.state["icount_base"]

    def flush(self) -> None:
        """Forget everything decoded, the TLBs too, and derive the mode afresh.

        To be called after the CPU state was changed from outside: see CpuState for which parts of it.
        """
        with self.ram.sole_use:
            self._flush()

    def _flush(self) -> None:
        if self._after_run is not None:
            self._after_run()
        for area in (self._hash, self._page_blocks, self._page_info, self._code_bytes):
            area.clear()
        self._thunks.shrink()
        self._begin()

    def _begin(self) -> None:
        """Nothing is decoded."""
        self.set_control("records_next", self._records.address)
        self.set_control("records_end", self._records.address + self._records.size)
        self.set_control("blocks_next", 1)  # 0 ends lists
        self._begin_thunks()
        self.mmu.invalidate_all()

    def _begin_thunks(self) -> None:
        self.set_control("thunks_next", self._thunks.current)
        self.set_control("thunks_end", self._thunks.end)

    def _grow(self) -> bool:
        """After CACHE_FULL: begin another piece of what has no room left. False where that is not it, or there is none.

        Only what grows is looked at: should something else be full as well, that is found out at once.
        """
        if self.control("thunks_end") - self.control("thunks_next") >= THUNK_BYTES or not self._thunks.grow():
            return False
        self._begin_thunks()
        return True

    def _promote(self) -> None:
        """After PROMOTE: a path has been recorded. The interpreter records none."""

    def written(self, physical: int, size: int) -> None:
        """Forget what was decoded from `size` bytes at a guest physical address: they were written from outside.

        The map calls it at each write. Costs next to nothing for pages without code, unlike `flush`.
        """
        end = physical + size
        first = physical // PAGE
        code_maps = self._page_info.map[8 * first : -8 * (-end // PAGE)]
        if not code_maps.strip(b"\0"):
            return
        while physical < end:
            part = min(end, (physical | PAGE - 1) + 1) - physical
            code_map = 8 * (physical // PAGE - first)
            if any(code_maps[code_map : code_map + 8]):
                self._code_written(self.state.pointer, physical, part)
            physical += part

    def copy_pages(self, source: int, marks: Marks) -> None:
        """Store the marked pages of a copy of RAM at host address `source`, unmarked in the log, and forget their code.

        Bits of paging entries may be among it: `forget_translations` or `flush` comes next.
        """
        with self.ram.sole_use:
            _COPY_PAGES(self.library.symbols["copy_pages"])(self.ram.address, source, marks, len(marks))
            forget_marked = _FORGET_MARKED(self.library.symbols["forget_marked"])
            for each in self.memory:
                if each.memory is self.ram:
                    first = each.offset // PAGE
                    part = marks[first : first + each.length // PAGE]
                    forget_marked(self.state.pointer, each.start, part, len(part))

    def forget_translations(self) -> None:
        """Have the next access to each page walk the page tables."""
        self.mmu.invalidate_all()

    def remapped(self, physical: int, size: int) -> None:
        """Forget what was known of these addresses: something else is there now. The map calls it."""
        self.written(physical, size)
        self.mmu.remapped(physical, size)

    def protect(self, physical: int, size: int) -> None:
        """The next store to each of these pages goes into the dirty log. The map calls it."""
        self.mmu.protect(physical, size)

    def watch_exceptions(self, wanted: bool) -> None:
        """Leave with EXCEPTION before an exception is delivered, until `deliver_exception`; or deliver them at once."""
        self.state["trap_vectors"] = ALL_EXCEPTIONS if wanted else 0

    def deliver_exception(self, leave: Exit) -> None:
        """Deliver what the processor was left for with EXCEPTION. Another one that comes of it leaves again."""
        state = self.state
        state["trap_vectors"] = ALL_EXCEPTIONS & ~(1 << leave.address)
        state["delivering"] = DELIVERING_EXCEPTION
        state["pushed_resume_flag"] = leave.extra >> 1
        self.call("deliver_pending")
        if not state["delivering"]:  # else a device takes part in it, and it goes on in the next run
            state["trap_vectors"] = ALL_EXCEPTIONS

    def listen(self, heard: Callable[[], None]) -> None:
        """Call `heard()` whenever a run has ended, and before anything decoded is forgotten."""
        before = self._after_run

        def both() -> None:
            if before is not None:
                before()
            heard()

        self._after_run = both

    def blocks_since(self, number: int) -> Iterator[tuple[int, int, int, int]]:
        """Physical address, EIP, mode key and bytes of each block decoded, from number `number` (1 at first) on."""
        for each in range(number, self.block_count + 1):
            at = each * BLOCK_BYTES
            fields = self._blocks.map[at : at + BLOCK_BYTES]
            physical, eip, mode, size = (BLOCK.read(fields, name) for name in ("physical", "eip", "mode", "bytes"))
            yield physical, eip, mode, size

    @property
    def block_count(self) -> int:
        """How many blocks there are since all was last forgotten."""
        return self.control("blocks_next") - 1

    def snapshot(self) -> VcpuSnapshot:
        """The processor after any exit, before or after `complete`. BadUsage while it runs."""
        with self.ram.sole_use.at_rest():
            assert not self.state["fp_loaded"], "the guest's FP registers are in its state after every exit"
            return VcpuSnapshot(self.model, self.state.save())

    def restore(self, snapshot: VcpuSnapshot) -> None:
        """Go on from `snapshot`, of any vCPU of the same model, with RAM as it was then. BadUsage while it runs."""
        with self.ram.sole_use.at_rest():
            if snapshot.model != self.model:
                raise BadUsage(f"snapshot of another processor: {snapshot.model.name}, here {self.model.name}")
            self.state.restore(snapshot.state)
            self.mmu.invalidate_all()

    def call(self, name: str, argument: int | None = None) -> int:
        """Call a runtime function from outside the run of code; answers its status."""
        with self.ram.sole_use:
            if self.closed:
                Released().refuse()
            address = self.library.symbols[name]
            if argument is None:
                return int(_OF_STATE(address)(self.state.pointer))
            return int(_OF_STATE_AND_NUMBER(address)(self.state.pointer, argument))

    def complete(self, value: int) -> None:
        slots = self.state.slots
        count = slots[_MMIO_COUNT]
        assert count < MMIO_SLOTS, "more device accesses than any instruction makes"
        slots[_MMIO_VALUE + count] = value & _MASK_64
        slots[_MMIO_COUNT] = count + 1

    def run(self, budget: int, offset_ns: int = 0, clock_scale: int = 0) -> Exit:
        state, retired, beside_ns = self.state, 0, 0
        while True:
            # every access of a guest to a device comes through here: a slot by number takes 40 ns, by name 120
            slots = state.slots
            slots[_BUDGET], slots[_CLOCK_OFFSET], slots[_CLOCK_SCALE] = budget, offset_ns, clock_scale
            self._entry(state.pointer)
            record = state.exit_record()
            slots[_EXIT_REASON] = 0  # only now: what `interrupt` came upon is an exit too
            leave: Exit = _make_exit(record)
            if record[0] != _CACHE_FULL and record[0] != _PROMOTE:
                if self._after_run is not None:
                    self._after_run()
                if retired or beside_ns:
                    return leave.after(retired, beside_ns)
                return leave
            if record[0] == _PROMOTE:
                self._promote()
            elif not self._grow():
                self.flush()
            retired, beside_ns = retired + leave.instructions, beside_ns + leave.beside_ns
            budget -= leave.instructions + leave.beside_ns
            offset_ns += leave.beside_ns

    def close(self) -> None:
        """Give everything back at once; the vCPU is of no use afterwards. Twice is fine; BadUsage while it runs."""
        with self.ram.sole_use.at_rest():
            if not self.closed:
                self.memory.forget(self)
                self._give_back()

    @property
    def closed(self) -> bool:
        return not self._give_back.alive

    @property
    def refused(self) -> str:
        """Why the host does not have what makes guests fast (tier 2); empty while it does, or nobody has asked."""
        return ""

    @property
    def interrupts_enabled(self) -> bool:
        """EFLAGS.IF."""
        return bool(self.state["eflags_system"] & flags.IF)

    def stop_before(self, addresses: Collection[int]) -> None:
        """From now on leave with BREAKPOINT before the instructions at these linear addresses, and at no others.

        BadUsage for more of them than there is room for (bt/engine/breakpoints.py), and while it runs elsewhere.
        """
        with self.ram.sole_use:
            self._breakpoints.at(self, addresses)

    def stop_before_instructions(self, mnemonics: Collection[str]) -> None:
        """The same before instructions called so in the opcode table, wherever they are, and before no others."""
        with self.ram.sole_use:
            self._breakpoints.on(self, mnemonics)

    def pass_breakpoint(self) -> None:
        """The next instruction is one that the guest was left before already, if the next run begins with it."""
        self._breakpoints.pass_once(self)

    def interrupt(self, vector: int) -> None:
        """Take an external interrupt now (after an INTERRUPT_WINDOW exit). Raises BadUsage for a vector beyond 255."""
        arguments.whole_number("vector", vector, "a vector of 0 to 255 is wanted", least=0, most=255)
        self.state.slots[_DELIVERING] = DELIVERING_INTERRUPT + vector
        with self.ram.sole_use:
            self._deliver_pending(self.state.pointer)

    @property
    def interrupt_waits(self) -> bool:
        """Whether something is there that ends HLT: an NMI, or INTR while EFLAGS.IF is set."""
        state = self.state
        return bool(state["nmi_pending"] or (state["intr_pending"] and self.interrupts_enabled))

    def set_intr(self, level: bool) -> None:
        """The INTR pin."""
        self.state["intr_pending"] = int(level)

    def set_a20(self, enabled: bool) -> None:
        """The A20 gate: closed, bit 20 of every physical address is 0."""
        self.mmu.set_a20(enabled)

    def ignore_fp_error(self) -> None:
        """IGNNE#: x87 instructions ignore an exception that is pending, until it has been cleared."""
        self.state["ignore_fp_error"] = 1

    def host_cycles(self) -> int:
        """The host's time stamp counter, which tells the guest's time in clock mode "host"."""
        self.call("host_cycles")
        return self.state["memory_value"]

    @property
    def in_unit(self) -> bool:
        return bool(self.state["in_unit"])

    def nmi(self) -> None:
        """Raise a non-maskable interrupt: vector 2, before the next instruction unless one is still being served."""
        self.state["nmi_pending"] = 1

    def callouts(self) -> Counter[str]:
        """Instructions of translated code that went through the interpreter: here everything does, so none."""
        return Counter()

    def statistics(self) -> dict[str, int]:
        """Counters of the engine."""
        names = ("blocks_made", "insns_decoded", "blocks_killed", "decode_cycles")
        return {name: self.control(name) for name in names} | {
            name: self.state[name] for name in ("tlb_fills", "tlb_fill_cycles", "tlb_flushes", "native_accesses")
        }


def own_vcpu(engine: Engine) -> Vcpu:
    """An engine of bt's own, for those who look inside. Raises BadUsage for any other."""
    if not isinstance(engine, Vcpu):
        raise BadUsage(f"engine {engine.name}: not one of bt's own, whose insides are known")
    return engine


def _close_all(areas: Iterable[Area]) -> None:
    for area in areas:
        area.close()
