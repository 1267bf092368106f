"""Tier 2 of one processor: its view, its branch table, its units, and who decides what becomes one.

Nothing of it exists before the first path has been recorded. Whatever the host refuses ends it: `refused` says why, and
the guest goes on in tier 1.
"""

from __future__ import annotations

import ctypes
import mmap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bt.codegen.abi import FLAT_32
from bt.codegen.host_bytes import JUMP_REL32, based, move_immediate, rex
from bt.engine.identity.code_space import CodeSpace
from bt.engine.identity.crossing import (
    CLEAN_REGISTERS,
    ENTER_TABLES,
    NOTE_ENTRY,
    UNIT_END,
    UNIT_ENTER,
    UNIT_FAULT,
    UNIT_MISS,
    UNIT_SERVICE,
    add_to_budget,
    note_number,
    way_out,
)
from bt.engine.identity.layout import (
    BIAS,
    HEAT_DONE,
    HEAT_ENTRIES,
    HEAT_UNIT,
    MEMBERS,
    TRAP_BESIDE_CODE,
    TRAP_OUTSIDE,
    TRAPPING,
    UNIT,
    UNIT_BYTES,
    UNIT_SITE_BYTES,
    UNIT_SITES,
    UNITS,
    WAYS_AREA_BYTES,
)
from bt.engine.identity.making.paths import LONGEST_TRACE, Choice, Trace, recorded_path, trace_of
from bt.engine.identity.making.undefined_flags import ask_host
from bt.engine.identity.making.unit import Unit, UnitWriter
from bt.engine.structures import (
    BLOCK,
    BLOCK_BYTES,
    IN_UNIT,
    UNIT_HEAD,
)
from bt.host.faults import FAULTS
from bt.host.reserved import Refused, Reserved, has_gs_base
from bt.memory.host_mmu.layout import PAGED_VIEW_BYTES, PAGED_VIEWS, PROBE_BYTES
from bt.memory.host_mmu.mmu import HostMmu
from bt.x86 import state
from bt.x86.fp.control import ready_now
from bt.x86.mode import PARAGRAPH_SLOTS_SHIFT, PARAGRAPHS, USER
from bt.x86.state import CS
from bt.x86.system.registers.control_registers import CR0_PG

if TYPE_CHECKING:
    from bt.engine.translator.vcpu import TranslatingVcpu

TABLE_BYTES = 8 << 32
_PROBED = 1 << 32  # as far as an effective address goes
_SLOT_BYTES = 8
MOST_SITES = 8 * LONGEST_TRACE  # of a unit
MOST_CODE = 32 << 10  # B, of a unit; the longest has about half as much
_MOST_MADE = 8  # units from one place; what they were made from keeps changing
_SUB_SHORT, _SUB_LONG, _JS = b"\x49\x83\xef", b"\x49\x81\xef", b"\x0f\x88"
_NOT_FREE = bytes((rex(base=FLAT_32.number("free")), 0xF7, 0xD0 | FLAT_32.number("free") & 7))
_STATE, _BUDGET, _FREE = FLAT_32.number("state"), FLAT_32.number("budget"), FLAT_32.number("free")


class IdentityTier:
    """Made at the first promotion. Raises Refused where the host does not have what it takes."""

    def __init__(self, cpu: TranslatingVcpu, *, everything: bool) -> None:
        self._cpu, self._everything = cpu, everything
        self.places: Counter[int] = Counter()  # units made, by linear address
        self.reasons: Counter[str] = Counter()  # why paths became none
        self._trapping: Counter[int] = Counter()  # by EIP
        self._wrapping: frozenset[int] = frozenset()
        self._beside: frozenset[int] = frozenset()
        self._missing = cpu.library.forms_without(cpu.model)
        if not has_gs_base():
            raise Refused("the host has no FSGSBASE")
        library = cpu.library
        # from now on it is more than the soft MMU that the processor began with
        cpu.mmu = mmu = HostMmu(cpu.state, cpu.call, library.symbols)
        units, members, sites = (
            cpu.area(size, sparse=True) for size in (UNITS * UNIT_BYTES, 8 * MEMBERS, UNIT_SITES * UNIT_SITE_BYTES)
        )
        trapping = cpu.area(8 * TRAPPING)
        ways = cpu.area(WAYS_AREA_BYTES)
        with cpu.undoing() as undo:
            self._tables: list[Reserved] = []  # for the CPLs below 3, for 3, and for paragraphs
            for _ in range(3):
                self._tables.append(Reserved(TABLE_BYTES, writable=True))
                undo.callback(self._tables[-1].close)
            probe = Reserved(_PROBED, guards=(PROBE_BYTES, PROBE_BYTES))
            undo.callback(probe.close)
            probe.protect(0, PROBE_BYTES, mmap.PROT_READ)
            cpu.state["offset_probe"] = probe.address
            registry = FAULTS.registry(bytes(library.sections["fault_handler"]))
            self._space = CodeSpace(library, cpu.state.pointer)
            undo.callback(self._space.close)
            cpu.state["fault_registry"] = registry  # where there is a view, somebody will ask whose the signals are
            mmu.open_views(cpu.memory, cpu.code_maps, cpu.area(PAGED_VIEWS * PAGED_VIEW_BYTES, sparse=True))
            undo.callback(mmu.close_views)
        self._base = library.arena.exec_base  # what sites count from
        self.host_flags = ask_host(self._for_a_moment)
        self._gates = {
            name: library.symbols[way_out(gate)]
            for name, gate in (("service", UNIT_SERVICE), ("end", UNIT_END), ("fault", UNIT_FAULT), ("miss", UNIT_MISS))
        }
        self._enter = library.symbols[UNIT_ENTER.name]
        self._units, self._members, self._sites, self._trapping_area = units, members, sites, trapping
        for name, value in {
            "units": units.address,
            "members": members.address,
            "unit_sites": sites.address,
            "unit_code": self._base,
            "fault_gate": self._gates["fault"],
            "miss_gate": self._gates["miss"],
            "trapping": trapping.address,
            "ways": ways.address,
        }.items():
            cpu.set_control(name, value)
        for number, table in enumerate(self._tables):
            cpu.state["branch_tables", number] = table.address
        self.forget()
        cpu.call("update_mode")

    # -- life ----------------------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """All units: what they were made from is about to be forgotten, tier 1's code too."""
        self._cpu.call("forget_ways", 0)
        if self._cpu.control("table_pages") > self._cpu.control("table_limit"):
            for table in self._tables:
                table.clear()
            self._cpu.set_control("table_pages", 0)
        self._space.forget()
        for name in ("units_next", "unit_sites_next"):
            self._cpu.set_control(name, 1)
        for name in ("members_next", "trapping_next", "wide_units"):
            self._cpu.set_control(name, 0)

    def promote(self, addresses: Sequence[int], code_base: int) -> None:
        """Have a unit for a path that was recorded, if it is worth one: the host addresses of its BLOCKs. `code_base`:
        base of CS there."""
        paged = bool(self._cpu.state["cr0"] & CR0_PG)
        path = recorded_path(addresses, code_base, paged=paged)
        head = path[0]
        linear = (head.eip + code_base) & 0xFFFF_FFFF
        self._note_trapping()
        trace = Trace(head, code_base, why="its place has had several already")
        if self._everything or self.places[linear] < _MOST_MADE:
            state_now = self._cpu.state
            choice = Choice(
                paged,
                self._everything,
                self._trapping,
                self._wrapping,
                self._beside,
                self._missing,
                ready_now(state_now),
                self.host_flags,
                code_base,
            )
            trace = trace_of(path, choice)
        if not head.usable or head.in_units & UNIT_HEAD:
            trace.why = "its head is gone, or has a unit"
        if trace.why:
            self.reasons[trace.why] += 1
        else:
            trace.unroll()
            trace.open_windows(self._trapping)
            trace.repair(self.host_flags)
            self._make(trace)
        self._settle_heat(linear, HEAT_DONE if trace.why and not head.in_units & UNIT_HEAD else HEAT_UNIT)

    def traps_at(self, eip: int) -> int:
        """How often a unit has been given up because of what the instruction there accesses."""
        return self._trapping[eip]

    def emitted(self) -> Iterator[tuple[int, bytes]]:
        """Host address and code of each unit there is, stubs and way in included."""
        yield from self._space.written

    def _for_a_moment(self, code: bytes) -> int:
        """Put code where the next unit will be."""
        at = self._space.scratch
        self._space.write(at, code)
        return at

    def _note_trapping(self) -> None:
        count = self._cpu.control("trapping_next")
        if count == self._trapping.total():
            return
        noted = memoryview(self._trapping_area.map).cast("Q")
        entries = noted[:count].tolist()
        noted.release()
        self._trapping = Counter(entry & 0xFFFF_FFFF for entry in entries)
        self._wrapping = frozenset(entry & 0xFFFF_FFFF for entry in entries if entry & TRAP_OUTSIDE)
        self._beside = frozenset(entry & 0xFFFF_FFFF for entry in entries if entry & TRAP_BESIDE_CODE)

    def _settle_heat(self, linear: int, heat: int) -> None:
        place = (linear ^ linear >> 16) & (HEAT_ENTRIES - 1)
        self._cpu.heat.map[2 * place : 2 * place + 2] = heat.to_bytes(2, "little")

    # -- making units --------------------------------------------------------------------------------------------------

    def _make(self, trace: Trace) -> None:
        cpu = self._cpu
        number, site = cpu.control("units_next"), cpu.control("unit_sites_next")
        members = cpu.control("members_next")
        start = self._space.next(MOST_CODE, site)
        if start is None or number >= UNITS or site + MOST_SITES > UNIT_SITES or members + len(trace.blocks) > MEMBERS:
            self.reasons["its areas are full"] += 1
            cpu.forget_everything()
            return
        unit = UnitWriter(trace, start, site, self._gates).write()
        if cpu.unit_observer is not None:
            cpu.unit_observer(trace, unit)
        entry, head = self._entry(trace, unit, number)
        assert len(unit.code) + len(entry) <= MOST_CODE
        assert len(unit.sites) <= MOST_SITES
        self._space.add(start, unit.code + entry)
        for placed in trace.steps:
            cpu.state["units_need"] |= placed.step.needs  # and from the next run on it is there when they are entered
        packed = unit.packed_sites(number, self._base)
        at = site * UNIT_SITE_BYTES
        self._sites.map[at : at + len(packed)] = packed
        self._enter_unit(trace, number, start, head)
        self._enter_members(trace, number, members)
        cpu.set_control("unit_sites_next", site + len(unit.sites))
        cpu.set_control("units_next", number + 1)
        cpu.set_control("units_made", cpu.control("units_made") + 1)
        self.places[trace.linear] += 1
        # tier 1 goes to it from now on
        entry_at = start + len(unit.code)
        jump = (entry_at - (trace.head.host + 5)).to_bytes(4, "little", signed=True)
        self._space.write(trace.head.host, bytes((JUMP_REL32,)) + jump)

    def _enter_unit(self, trace: Trace, number: int, start: int, head: bytes) -> None:
        fields = {
            "slot": self._slot(trace),
            "block": trace.head.address,
            "head": int.from_bytes(head, "little"),
            "code": start,
            "linear": trace.linear,
            "dead": 0,
            "short": 0,
            "wide": int(trace.is_wide),
        }
        for name, value in fields.items():
            at = number * UNIT_BYTES + UNIT.offsets[name]
            self._units.map[at : at + UNIT.widths[name] // 8] = value.to_bytes(UNIT.widths[name] // 8, "little")
        self._cpu.set_control("wide_units", self._cpu.control("wide_units") + trace.is_wide)

    def _slot(self, trace: Trace) -> int:
        """Host address of the slot that leads to a unit while it is what its address means (ways.py)."""
        mode = trace.head.mode
        table: int = self._tables[2 if mode & PARAGRAPHS else bool(mode & USER)].address
        if mode & PARAGRAPHS:
            table += trace.code_base << PARAGRAPH_SLOTS_SHIFT
        return table + trace.head.eip * _SLOT_BYTES

    def _enter_members(self, trace: Trace, number: int, first: int) -> None:
        base = self._cpu.control("blocks_base")
        flags_at = BLOCK.offsets["in_units"]
        blocks = {block.address: block for block in trace.blocks}
        for place, address in enumerate(blocks, first):
            pair = ((address - base) // BLOCK_BYTES).to_bytes(4, "little") + number.to_bytes(4, "little")
            self._members.map[8 * place : 8 * place + 8] = pair
            flag = ctypes.c_uint8.from_address(address + flags_at)
            flag.value |= IN_UNIT
        head = trace.head.address
        ctypes.c_uint32.from_address(head + BLOCK.offsets["unit"]).value = number
        ctypes.c_uint8.from_address(head + flags_at).value |= UNIT_HEAD
        self._cpu.set_control("members_next", first + len(blocks))

    def _entry(self, trace: Trace, unit: Unit, number: int) -> tuple[bytes, bytes]:
        """Where a fragment of tier 1 goes instead of its own head: code, and the bytes of that head.

        Back to the fragment where tier 2 may not be entered now, or the budget does not cover the bias.
        """
        head = trace.head
        original = ctypes.string_at(head.host, 16)
        short = original.startswith(_SUB_SHORT)
        assert short or original.startswith(_SUB_LONG), "a fragment begins by charging"
        charge = original[: 4 if short else 7]
        assert original[len(charge) :].startswith(_JS)
        after = head.host + len(charge) + 6
        cold = after + int.from_bytes(original[len(charge) + 2 : len(charge) + 6], "little", signed=True)
        base = unit.start + len(unit.code)
        code = bytearray(based(b"\x83", 7, _STATE, state.offset("view_open")) + b"\0")  # cmp dword, 0
        code += b"\x0f\x84" + bytes(4)  # je back
        holes = [len(code) - 4]
        if head.mode & PARAGRAPHS:  # the same code at the same IP of another segment has another slot
            code += based(b"\x81", 7, _STATE, state.segment_offset(CS, "base"))  # cmp dword, imm32
            code += trace.code_base.to_bytes(4, "little") + b"\x0f\x85" + bytes(4)  # jne back
            holes.append(len(code) - 4)
        # what units need is ready: mov r12d, ready; not r12d; test r12d, needed
        code += based(b"\x8b", _FREE, _STATE, state.offset("fp_ready")) + _NOT_FREE
        code += based(b"\x85", _FREE, _STATE, state.offset("units_need"))
        code += b"\x0f\x85" + bytes(4)  # jne back
        holes.append(len(code) - 4)
        # cmp r15, what it takes to get beyond the charge: else it would come back here at once
        code += bytes((rex(base=_BUDGET) | 8, 0x81, 0xF8 | _BUDGET & 7)) + (BIAS + unit.total).to_bytes(4, "little")
        code += b"\x0f\x8c" + bytes(4)  # jl back
        holes.append(len(code) - 4)
        code += bytes((0x49, 0xB8 | _FREE & 7)) + self._slot(trace).to_bytes(8, "little")  # mov r12, imm64
        code += b"\x41\x81\x3c\x24" + (unit.start & 0xFFFFFFFF).to_bytes(4, "little")  # cmp dword [r12], imm32
        code += b"\x0f\x85" + bytes(4)  # jne note, by way of the gate
        third_hole = len(code) - 4
        note = move_immediate(_FREE) + number.to_bytes(4, "little")
        if unit.head_is_dead:
            code += note_number(number) + NOTE_ENTRY + ENTER_TABLES + CLEAN_REGISTERS + add_to_budget(-BIAS)
            code += _relative(b"\xe9", base + len(code), unit.start)
        code[third_hole : third_hole + 4] = (len(code) - third_hole - 4).to_bytes(4, "little")
        code += note
        code += _relative(b"\xe9", base + len(code), self._enter)
        for hole in holes:
            code[hole : hole + 4] = (len(code) - hole - 4).to_bytes(4, "little")
        code += charge
        code += _relative(_JS, base + len(code), cold)
        code += _relative(b"\xe9", base + len(code), after)
        return bytes(code), original[:8]


def _relative(opcode: bytes, at: int, target: int) -> bytes:
    end = at + len(opcode) + 4
    return opcode + (target - end).to_bytes(4, "little", signed=True)
