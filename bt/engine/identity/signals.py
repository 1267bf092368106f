"""What the host's MMU stops in a unit, as the signal handler sees it.

The handler is native and knows nothing but a registry (bt/host/faults.py): which code belongs to which processor. A
fault there has a site, found by the host address; the handler goes on at the gate for it, with everything else as it
was. All other faults are somebody else's, and go to whoever was there before.
"""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.engine.identity.layout import UNIT_SITE, UNIT_SITE_BYTES
from bt.engine.structures import CONTROL
from bt.host.faults import (
    ACTION_BYTES,
    ACTION_HANDLER,
    COUNT,
    ENTRIES,
    ENTRY_BYTES,
    ENTRY_END,
    ENTRY_FIRST_SITE,
    ENTRY_SITES_END,
    ENTRY_STATE,
    NEW_ACTION,
    PREVIOUS,
    SCRATCH,
    SIGFPE,
    SIGSEGV,
)
from bt.memory.access import NativeContext
from bt.memory.host_mmu.host import system_call
from bt.x86 import state

FAULT_HANDLER = native("fault_handler", "i32", PTR, PTR, PTR, result="void")  # signal, siginfo, context, registry

_RT_SIGACTION = 13
_SIGNAL_SET_BYTES = 8
_FAULT_ADDRESS = 16  # in siginfo
# In ucontext, Linux x86-64 (sys/ucontext.h).
_REGISTERS = 40
_R12, _R13, _R14, _RBP, _RIP, _ERROR = (_REGISTERS + 8 * n for n in (4, 5, 6, 10, 16, 19))
_ERROR_WRITE = 2  # of a page fault
_SLOTS_A_PAGE = 512


def _sigaction(b: NativeContext, signal: Value, new: Value, old: Value) -> None:
    system_call(b, _RT_SIGACTION, signal.zext(64), new.zext(64), old.zext(64), b.const(_SIGNAL_SET_BYTES, 64))


def emit_own_faults(b: NativeContext) -> None:
    """Body of `own_faults`: be the handler, whoever has put another in its place since the last run."""
    registry = b.get_pointer("fault_registry")
    for signal in (SIGSEGV, SIGFPE):
        number = b.const(signal, 64)
        _sigaction(b, number, b.const(0, 64), registry + SCRATCH)
        owner = b.load(registry + (SCRATCH + ACTION_HANDLER), 64)
        with b.Unlikely(owner != b.load(registry + (NEW_ACTION + ACTION_HANDLER), 64)):
            _sigaction(b, number, registry + NEW_ACTION, registry + PREVIOUS[signal])


class _Handler:
    """Builds `fault_handler`; it must not call anything of the library, because it is copied out of it."""

    def __init__(self, b: NativeContext) -> None:
        self.b = b
        self.signal, self.info, self.context, self.registry = b.arguments
        self.rip = b.load(self.context + _RIP, 64)

    def build(self) -> None:
        b = self.b
        with b.Range(b.load(self.registry + COUNT, 64)) as i:
            entry = self.registry + ((i * ENTRY_BYTES) + ENTRIES)
            begin, end = b.load(entry, 64), b.load(entry + ENTRY_END, 64)
            with b.If((self.rip - begin).ult(end - begin)):
                self._in_unit(entry, b.load(entry + ENTRY_STATE, PTR))
            with b.If((self.rip == 0) & (end != 0)):
                self._empty_slot(b.load(entry + ENTRY_STATE, PTR))
        self._somebody_elses()

    def _slot(self, cpu: Value, name: str) -> Value:
        return cpu + state.offset(name)

    def _in_unit(self, entry: Value, cpu: Value) -> None:
        """Goes on at the gate, if the fault is at a site."""
        b = self.b
        control = b.load(self._slot(cpu, "engine"), PTR)
        sites = CONTROL.get_pointer(b, control, "unit_sites")
        wanted = (self.rip - CONTROL.get(b, control, "unit_code")).trunc(32)
        low = b.local(64, b.load(entry + ENTRY_FIRST_SITE, 64))
        behind = b.load(entry + ENTRY_SITES_END, 64)
        high = b.local(64, b.intrinsic("umin", "i64", behind, CONTROL.get(b, control, "unit_sites_next")))
        with b.Loop() as loop:
            loop.break_if(low.get().uge(high.get()))
            middle = (low.get() + high.get()) >> 1
            at = UNIT_SITE.get(b, sites + (middle * UNIT_SITE_BYTES), "at")
            with b.If(at == wanted):
                linear = b.load(self.info + _FAULT_ADDRESS, 64) - b.load(self._slot(cpu, "view"), 64)
                b.store(self._slot(cpu, "fault_linear"), linear)
                error = b.load(self.context + _ERROR, 64)
                b.store(self._slot(cpu, "fault_write"), (error & _ERROR_WRITE) >> 1)
                b.store(self._slot(cpu, "fault_signal"), self.signal.zext(64))
                b.store(self.context + _R12, middle)
                b.store(self.context + _RIP, CONTROL.get(b, control, "fault_gate"))
                b.ret()
            low.set(b.select(at.ult(wanted), middle + 1, low.get()))
            high.set(b.select(at.ult(wanted), high.get(), middle))

    def _empty_slot(self, cpu: Value) -> None:
        """A jump through a slot that nobody has written yet: the address has no unit, nor have its neighbours."""
        b = self.b
        table = b.load(self._slot(cpu, "branch_table"), 64)
        ours = (b.load(self.context + _R13, 64) == cpu.zext(64)) & (b.load(self.context + _RBP, 64) == table)
        with b.If(ours):
            control = b.load(self._slot(cpu, "engine"), PTR)
            miss = CONTROL.get(b, control, "miss_gate")
            page = (table + (b.load(self.context + _R14, 64) << 3)) & -(8 * _SLOTS_A_PAGE)
            with b.Range(_SLOTS_A_PAGE) as i:
                b.store((page + (i << 3)).to_pointer(), miss)
            CONTROL.count(b, control, "table_pages")
            b.store(self.context + _RIP, miss)
            b.ret()

    def _somebody_elses(self) -> None:
        b = self.b
        previous = b.select(self.signal == SIGSEGV, self.registry + PREVIOUS[SIGSEGV], self.registry + PREVIOUS[SIGFPE])
        handler = b.load(previous + ACTION_HANDLER, 64)
        with b.If(handler.ule(1)):  # the host's own way: it happens again, and ends the process
            b.store(previous + ACTION_HANDLER, b.const(0, 64))
            _sigaction(b, self.signal, previous, b.const(0, 64))
            b.ret()
        b.call_pointer(handler.to_pointer(), _PLAIN_HANDLER, self.signal, self.info, self.context)


_PLAIN_HANDLER = native("", "i32", PTR, PTR, result="void")
assert PREVIOUS[SIGFPE] - PREVIOUS[SIGSEGV] >= ACTION_BYTES


def emit_fault_handler(b: NativeContext) -> None:
    """Body of `fault_handler`."""
    _Handler(b).build()
