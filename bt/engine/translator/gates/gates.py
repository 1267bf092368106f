"""The ways out of translated code and back: gates spill the pinned registers, ask a runtime function where to go on,
and jump there.

Every runtime function here answers a host address. `LEAVE`, the address of a plain return, goes back to `run_bt`.
Python is entered only from there: registers are then in the state.
"""

from __future__ import annotations

from collections.abc import Iterable

from bt.codegen.abi import RegisterPlan, Signature, native
from bt.codegen.builder import Builder, Module
from bt.codegen.host_bytes import JUMP_BYTES, MOV_IMMEDIATE_BYTES
from bt.codegen.objectfile import CodePiece
from bt.codegen.value import PTR, Value
from bt.engine.blocks import FORGET_TRANSLATION
from bt.engine.boundary import (
    BEFORE_NEXT,
    SERVICE,
    SERVICE_OF_64_BIT_CODE,
    begin_run,
    end_run,
    is_quiet,
)
from bt.engine.branch_tags import branch_tag
from bt.engine.identity.heat import (
    COLD,
    HOT,
    INDIFFERENT,
    KILL_UNITS,
    NOTE_BLOCK,
    NOTE_HEAT,
    NOTED,
    is_known_at_once,
    prepare_units,
    sample,
)
from bt.engine.identity.layout import EAGER
from bt.engine.identity.long.layout import IN_LONG_UNIT
from bt.engine.identity.long.signatures import KILL_LONG_UNITS
from bt.engine.interp.context import DISPATCH
from bt.engine.structures import (
    BLOCK,
    CONTROL,
    NO_X87_EIP,
    NO_X87_SEGMENT,
    SITE,
    SITE_BYTES,
)
from bt.engine.translator.emit.emit import emit_translate
from bt.engine.translator.emit.writer import emit_emit_stencil
from bt.engine.translator.gates.fragments import (
    COUNTED_TAG,
    branch_entry,
    counted_fragment,
    emit_translated,
    fragment,
    is_known,
    recall,
    remember,
)
from bt.engine.translator.gates.interpreted import is_translatable, stretch
from bt.engine.translator.gates.signatures import (
    EMIT_STENCIL,
    FLAT_32_GATES,
    INTERPRET,
    INTERPRET_ONE,
    NEXT_CODE,
    TRANSLATE,
    TRANSLATED,
    Gates,
)
from bt.engine.translator.plan.plan import Gate
from bt.memory.access import Body, NativeContext
from bt.x86 import state
from bt.x86.fp.fp_state import AHEAD, FP_PREPARE
from bt.x86.page import PAGE
from bt.x86.state import CS, GPR_NAMES
from bt.x86.system.operating_mode import in_64_bit_mode

# Modes the translator knows: all but those where each access is looked at. The rest is interpreted.
MOST_REPLACED = 8  # fragments of one place that lead on to the next: more is code that changes all the time

RUN_BT = native("run_bt", PTR)

_CHAIN, _MISS, SLOW_EXIT = (native(f"{n}_exit", PTR, "i64", result="i64") for n in ("chain", "miss", "slow"))
INSTEAD_EXITS = {gate: native(f"{gate.name.lower()}_exit", PTR, "i64", result="i64") for gate in Gate if gate}
SERVICE_EXIT, HEAD_EXIT, _STALE = (native(f"{n}_exit", PTR, "i64", result="i64") for n in ("service", "head", "stale"))
_FP = native("fp_exit", PTR, "i64", result="i64")


def _exits(gates: Gates) -> tuple[tuple[Signature, Signature], ...]:
    """Each gate with the function that it asks."""
    return (
        (gates.chain, _CHAIN),
        (gates.miss, _MISS),
        (gates.slow, SLOW_EXIT),
        (gates.service, SERVICE_EXIT),
        (gates.head, HEAD_EXIT),
        (gates.stale, _STALE),
        (gates.fp, _FP),
        *((gates.instead(gate), function) for gate, function in INSTEAD_EXITS.items()),
    )


def raw_gates(gates: Gates) -> dict[str, CodePiece]:
    """What is encoded by us, by symbol."""
    return {
        gates.jump_free.name: CodePiece(gates.jump_free_code, (), 16),
        gates.leave.name: CodePiece(b"\xc3", (), 16),
    }


def _slot_of(b: Builder, cpu: Value, role: str) -> Value:
    """Where a pinned role is spilled."""
    if role in GPR_NAMES:
        return cpu + state.offset("gpr", GPR_NAMES.index(role))
    return cpu + state.offset({"t": "scratch", "budget": "budget"}[role])


def _pinned_from_state(b: Builder, plan: RegisterPlan, cpu: Value, free: Value) -> list[Value]:
    """All pinned arguments, loaded from the state."""
    arguments = []
    for role in plan.roles:
        if role == "free":
            arguments.append(free)
        elif role == "state":
            arguments.append(cpu)
        else:
            arguments.append(b.load(_slot_of(b, cpu, role), 64))
    return arguments


def emit_gates(module: Module, gates: Gates) -> None:
    """Add the gates to a module."""
    emit_spilling_gates(module, gates, _exits(gates))


def emit_spilling_gates(module: Module, gates: Gates, exits: Iterable[tuple[Signature, Signature]]) -> None:
    """Add gates to a module, each of which asks its function with everything in the state."""
    plan = gates.plan
    for gate, function in exits:
        b = Builder(module, gate, "#1")
        cpu, site = b.arguments[plan.place("state")], b.arguments[plan.place("free")]
        for role in plan.roles:
            if role not in ("free", "state"):
                b.store(_slot_of(b, cpu, role), b.arguments[plan.place(role)])
        where = b.call(function, cpu, site)
        b.tail_call(gates.jump_free, gate, _pinned_from_state(b, plan, cpu, where))
        b.finish()


def site_of(b: NativeContext) -> Value:
    control = b.get_pointer("engine")
    return CONTROL.get_pointer(b, control, "sites") + (b.arguments[1] * SITE_BYTES)


def count_event(b: NativeContext, name: str) -> Value:
    """Count a statistic; answers the control block."""
    control = b.get_pointer("engine")
    CONTROL.count(b, control, name)
    return control


def address_of_code(b: NativeContext, symbol: Signature) -> Value:
    b.module.need(symbol)
    return Value(b, f"ptrtoint (ptr @{symbol.name} to i64)", "i64")


def go_on(b: NativeContext) -> None:
    """On at state's eip, in whatever mode: the short way to NEXT_CODE, for what has just changed either."""
    eip = b.get("eip")
    with b.Likely(is_quiet(b) & is_known(b, eip, b.get("budget"))):
        b.put("accessed_at", 0)
        b.ret(b.load(branch_entry(b, eip) + 8, 64))
    b.ret(b.call(NEXT_CODE, b.cpu))


def _next_code(b: NativeContext) -> None:
    """Where to go on at state's eip, in whatever mode, interpreting what cannot be translated on the way.

    What the branch cache knows saves the walk to the block: behind instructions that cross a page and those that
    transfer control through the interpreter, time and again the same.
    """
    count_event(b, "dispatches")
    with b.Loop() as loop:
        before = b.get("budget")
        budget = b.call(BEFORE_NEXT, b.cpu, before)
        with b.Unlikely(budget.slt(0)):
            b.ret(address_of_code(b, FLAT_32_GATES.leave))
        b.put("budget", budget)
        alone = b.get("deferred") != 0
        with b.IfElse(alone) as arm:
            with arm.then():
                b.call(INTERPRET, b.cpu, 1)
            with arm.otherwise():
                eip = b.get("eip")
                with b.If(is_known(b, eip, budget)):
                    b.ret(b.load(branch_entry(b, eip) + 8, 64))
                with b.If((b.get("recording") == 0) & (b.get("heat_limit") != EAGER) & is_known_at_once(b)):
                    recalled = recall(b, eip)
                    with b.If(recalled != 0):
                        remember(b, eip, recalled)
                        b.ret(recalled)
                host = b.call(TRANSLATED, b.cpu)
                with b.If(host.ugt(INTERPRET_ONE)):
                    block = b.get_pointer("block")
                    count = BLOCK.get(b, block, "count").zext(64)
                    with b.If(count.ule(budget)):
                        with b.Unlikely(b.get("heat_limit") == EAGER), b.If(BLOCK.get(b, block, "in_units") == 0):
                            b.call(NOTE_HEAT, b.cpu, b.get("eip", width=32))
                        with b.Likely(b.get("recording") == 0):
                            heat = b.local(32, INDIFFERENT)
                            with b.If(~is_known_at_once(b)):
                                heat.set(COLD)
                                with b.If(b.get("heat_limit") != EAGER):  # ways are long until they have been counted
                                    heat.set(b.call(NOTE_HEAT, b.cpu, b.get("eip", width=32)))
                            with b.Unlikely(heat.get() == HOT):
                                loop.continue_()
                            with b.If(heat.get() == INDIFFERENT):
                                remember(b, eip, host)
                            b.ret(host)
                        with b.If(b.call(NOTE_BLOCK, b.cpu, block) == NOTED):
                            b.call(INTERPRET, b.cpu, count)
                        loop.continue_()
                b.put("recording", 0)
                # not translated, or longer than what is left: a stretch in the interpreter, unless a fault moved on
                still = (b.get("exit_reason") == 0) & (b.get("eip") == eip) & (b.get("budget") == budget)
                with b.If(still):
                    is_one = is_translatable(b) & host.ule(INTERPRET_ONE)
                    chunk = b.select(is_one, b.const(1, 64), stretch(b))
                    b.call(INTERPRET, b.cpu, b.intrinsic("umin", "i64", chunk, budget))


def _interpret(b: NativeContext) -> None:
    """Interpret `amount` instructions from state's eip (fewer if something leaves), then come back."""
    amount = b.arguments[1]
    control, is_long = count_event(b, "interpreted_runs"), in_64_bit_mode(b)
    retired, in_units = _retired(b), CONTROL.get(b, control, "unit_insns")
    b.put("deferred", b.get("deferred") + b.get("budget") - amount)
    b.put("service", b.select(is_long, b.const(SERVICE_OF_64_BIT_CODE, 64), SERVICE))
    b.call(DISPATCH, b.const(0, PTR), b.cpu, 0, amount)
    b.put("service", 0)
    retired = _retired(b) - retired
    in_units = CONTROL.get(b, control, "unit_insns") - in_units
    CONTROL.count(b, control, "interpreted_insns", retired - in_units)
    CONTROL.count(b, control, "long_insns", b.select(is_long, retired, 0))
    CONTROL.count(b, control, "long_unit_insns", in_units)


def _retired(b: NativeContext) -> Value:
    """Instructions of this run, i64."""
    return b.get("run_budget") - b.get("budget") - b.get("deferred")


def _chain_exit(b: NativeContext) -> None:
    """A direct exit inside its page, taken for the first time: find the target and patch the jump."""
    site = site_of(b)
    b.put("eip", SITE.get(b, site, "eip"))
    host = fragment(b)
    with b.Unlikely((b.get("heat_limit") != 0) & (SITE.get(b, site, "backward") != 0)):
        heat = b.call(NOTE_HEAT, b.cpu, b.get("eip", width=32))
        with b.If(heat == HOT):
            b.ret(b.call(NEXT_CODE, b.cpu))
        with b.If(heat == COLD):
            b.ret(host)
    block = b.get_pointer("block")
    same_page = (BLOCK.get(b, block, "physical") & -PAGE) == SITE.get(b, site, "page")
    with b.If(same_page):
        control = count_event(b, "chains")
        patch = SITE.get(b, site, "patch")
        where = (patch + CONTROL.get(b, control, "write_delta")).to_pointer()
        b.store(where, (host - (patch + 4)).trunc(32))
    b.ret(host)


def _miss_exit(b: NativeContext) -> None:
    """The branch cache did not know the target in T."""
    count_event(b, "branch_misses")
    eip = b.get("scratch", width=32)
    b.put("eip", eip)
    host = counted_fragment(b, eip)
    with b.Unlikely(b.get("heat_limit") != 0):
        heat = b.call(NOTE_HEAT, b.cpu, eip)
        with b.If(heat == HOT):
            b.ret(b.call(NEXT_CODE, b.cpu))
        with b.If(heat == COLD):
            remember(b, eip, host, counted=True)
            b.ret(host)
    remember(b, eip, host)
    b.ret(host)


def note_site(b: NativeContext, site: Value) -> None:
    note_x87(b, SITE.get(b, site, "x87_eip"), SITE.get(b, site, "x87_segment"))


def note_x87(b: NativeContext, eip: Value, segment: Value) -> None:
    """Catch up with the pointers of x87 instructions, which fragments and units note once."""
    with b.Unlikely(eip != NO_X87_EIP):
        b.put("fpu_ip", eip)
        b.put("fpu_cs", b.get_segment(CS, "selector"))
        with b.If(segment != NO_X87_SEGMENT):
            b.put("fpu_ds", b.get_segment(segment.zext(64), "selector"))


def _fp_exit(b: NativeContext) -> None:
    """FP instructions may not simply be executed: if the registers only had to be loaded, go on; else interpret."""
    site = site_of(b)
    b.call(FP_PREPARE, b.cpu, AHEAD)
    wanted = SITE.get(b, site, "size").zext(64)
    with b.If((b.get("fp_ready") & wanted) == wanted):
        b.ret(SITE.get(b, site, "retry"))
    note_site(b, site)
    refund = SITE.get(b, site, "refund").zext(64)
    b.put("eip", SITE.get(b, site, "eip"))
    b.put("budget", b.get("budget") + refund)
    b.call(INTERPRET, b.cpu, refund)
    b.ret(b.call(NEXT_CODE, b.cpu))


def _head_exit(b: NativeContext) -> None:
    """The budget does not cover the rest of the block, or that has changed: give it back and look afresh."""
    site = site_of(b)
    b.put("eip", SITE.get(b, site, "eip"))
    b.put("budget", b.get("budget") + SITE.get(b, site, "refund").zext(64))
    b.ret(b.call(NEXT_CODE, b.cpu))


def _stale_exit(b: NativeContext) -> None:
    """The fragment's guest code has changed: a jump to it goes to the new fragment, and directly so from now on.

    Whatever led here is as good for a block of the same address and mode. Kernels patch themselves while they start:
    17 million jumps of Debian's way to its shell came by here, one in four hundred instructions.
    """
    site = site_of(b)
    eip = SITE.get(b, site, "eip")
    b.put("eip", eip)
    entry = branch_entry(b, eip)
    with b.If((b.load(entry, 64) & ~COUNTED_TAG) == branch_tag(b, eip)):
        b.store(entry, b.const(-1, 64))  # it led here, and there may be no fragment any more: at a breakpoint
    host = fragment(b)
    control, block, replaced = count_event(b, "dispatches"), b.get_pointer("block"), SITE.get(b, site, "size")
    same_place = BLOCK.get(b, block, "physical") == SITE.get(b, site, "page")
    with b.If(same_place & replaced.ult(MOST_REPLACED)):
        head = SITE.get(b, site, "retry")
        where = (head + CONTROL.get(b, control, "write_delta")).to_pointer()
        b.store(where + 1, (host - (head + JUMP_BYTES)).trunc(32))
        number = b.load(BLOCK.get_pointer(b, block, "stale_stub") + (MOV_IMMEDIATE_BYTES - 4), 32)
        new_site = CONTROL.get_pointer(b, control, "sites") + (number.zext(64) * SITE_BYTES)
        SITE.put(b, new_site, "size", replaced + 1)
    b.ret(host)


def _forget(b: NativeContext) -> None:
    """A block died: whoever still jumps to its fragment finds a jump to its stale stub."""
    block = b.arguments[1]
    in_units = BLOCK.get(b, block, "in_units")
    with b.Unlikely(in_units != 0):
        with b.If(in_units == IN_LONG_UNIT):
            b.call(KILL_LONG_UNITS, b.cpu, block)
        with b.If(in_units != IN_LONG_UNIT):
            b.call(KILL_UNITS, b.cpu, block)
    host = BLOCK.get(b, block, "host")
    with b.If(host != 0):
        control = b.get_pointer("engine")
        where = (host + CONTROL.get(b, control, "write_delta")).to_pointer()
        b.store(where, b.const(0xE9, 8))
        b.store(where + 1, (BLOCK.get(b, block, "stale_stub") - (host + 5)).trunc(32))


def _run_bt(b: NativeContext) -> None:
    begin_run(b)
    prepare_units(b)
    started = b.cycles()
    where = b.call(NEXT_CODE, b.cpu)
    arguments = _pinned_from_state(b, FLAT_32_GATES.plan, b.cpu, where)
    b.call(FLAT_32_GATES.jump_free, *arguments)
    control = b.get_pointer("engine")
    CONTROL.count(b, control, "run_cycles", b.cycles() - started)
    end_run(b)
    sample(b)


# Runtime functions of the translator, `translate` itself included.
RUNTIME: tuple[tuple[Signature, Body], ...] = (
    (RUN_BT, _run_bt),
    (NEXT_CODE, _next_code),
    (TRANSLATED, emit_translated),
    (INTERPRET, _interpret),
    (_CHAIN, _chain_exit),
    (_MISS, _miss_exit),
    (HEAD_EXIT, _head_exit),
    (_STALE, _stale_exit),
    (_FP, _fp_exit),
    (FORGET_TRANSLATION, _forget),
    (TRANSLATE, lambda b: emit_translate(b, FLAT_32_GATES)),
    (EMIT_STENCIL, emit_emit_stencil),
)
