"""Runs that go on until something has come: exactly there, the same in both engines, at no cost to anything else."""

from __future__ import annotations

import pytest

from bt import Address, BtError, End, GuestTime, Insns, Machine, Pattern
from bt.api.stops import Until
from bt.engine.library.library import Library
from bt.errors import BadUsage
from bt.machine import EngineName
from guest_images.assembler import assemble
from tests.api.guest import CODE, ENGINES, machine, sector

LOOP = """
    mov ecx, 5
again:
    call f
    loop again
    mov esi, 200000h
    mov edi, 300000h
    mov ecx, 10000
    rep movsb
    mov edx, 3f8h
    mov al, 41h
    out dx, al
    inc al
    out dx, al
    inc al
    out dx, al
here: jmp here
f:  inc eax
    ret
"""


def places() -> dict[str, int]:
    """Where things are, as the assembler has them."""
    code = assemble(LOOP, 32, CODE)
    return {"rep": CODE + code.index(b"\xf3\xa4"), "here": CODE + code.index(b"\xeb\xfe"), "f": CODE + len(code) - 2}


@pytest.mark.parametrize("engine", ENGINES)
def test_an_address_each_time_it_is_reached(library: Library, engine: EngineName) -> None:
    with machine(library, engine, LOOP) as pc:
        seen = []
        for _ in range(5):
            result = pc.run(until=Address(places()["f"]))
            assert (result.reason, result.until) == (End.UNTIL, Address(places()["f"]))
            seen.append((result.where.linear, result.instructions, pc.reg.eax, pc.reg.ecx))
        start = pc.reg.eax
        assert seen == [(places()["f"], 2 + 4 * n, start - 4 + n, 5 - n) for n in range(5)]
        assert pc.run(until=Address(places()["f"]), limit=Insns(10**5)).reason is End.MAX_INSNS


ROUND = """
again:
    inc eax
    jmp next
next:
    call f
    mov edx, there
    jmp edx
there:
    jmp again
f:  ret
"""
ROUND_INSNS = 7


@pytest.mark.parametrize("start", range(ROUND_INSNS))
@pytest.mark.parametrize("engine", ENGINES)
def test_an_address_in_code_that_runs_already(library: Library, engine: EngineName, start: int) -> None:
    """However its blocks are linked, and wherever among them the guest is."""
    with machine(library, engine, ROUND) as pc:
        pc.run(limit=Insns(700 + start))
        around = [pc.run(limit=Insns(1)).where.linear for _ in range(ROUND_INSNS)]
        assert len(set(around)) == ROUND_INSNS
        for address in around:
            pc.run(limit=Insns(ROUND_INSNS * 10))
            before = pc.run(limit=Insns(1)).instructions
            result = pc.run(until=Address(address), limit=Insns(100))
            assert result.reason is End.UNTIL
            assert (result.where.linear, result.instructions - before <= ROUND_INSNS) == (address, True)


@pytest.mark.parametrize("engine", ENGINES)
def test_where_a_run_begins_does_not_count(library: Library, engine: EngineName) -> None:
    with machine(library, engine, "here: jmp here") as pc:
        assert pc.run(until=Address(CODE)).instructions == 1
        assert pc.run(until=Address(CODE)).instructions == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_a_repeated_instruction_counts_once(library: Library, engine: EngineName) -> None:
    """Its 10,000 repetitions are three executions."""
    with machine(library, engine, LOOP) as pc:
        first = pc.run(until=Address(places()["rep"]))
        assert (first.until, pc.reg.ecx) == (Address(places()["rep"]), 10000)
        after = pc.run(until=[Address(places()["rep"]), Address(places()["rep"] + 2)])
        assert (after.where.linear, pc.reg.ecx) == (places()["rep"] + 2, 0)


@pytest.mark.parametrize("engine", ENGINES)
def test_code_that_has_run_already_stops_too(library: Library, engine: EngineName) -> None:
    """It is decoded and translated, chained and predicted by then."""
    source = "again: call f\n jmp again\n f: inc eax\n nop\n ret"
    with machine(library, engine, source) as pc:
        inside = CODE + len(assemble(source, 32, CODE)) - 2  # the NOP
        pc.run(max_insns=100_001)
        result = pc.run(until=Address(inside), limit=Insns(100))
        assert (result.where.linear, result.until) == (inside, Address(inside))
        once_more = pc.run(until=Address(inside), limit=Insns(100))
        assert once_more.instructions == result.instructions + 5
        assert pc.run(max_insns=1000).reason is End.MAX_INSNS, "nobody wants it any more"


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_bytes_at_another_linear_address_do_not_stop(library: Library, engine: EngineName) -> None:
    """Pages are mapped twice: what counts is the address by which the guest comes."""
    source = """
        mov eax, 1007h
        mov [2000h], eax          ; directory at 2000h, table at 1000h
        mov edi, 1000h
        mov eax, 7
        mov ecx, 1024
    fill: stosd
        add eax, 1000h
        loop fill
        mov dword [1400h], 100007h  ; the code's page at 100000h too, where it is already
        mov dword [1404h], 100007h  ; and at 101000h
        mov eax, 2000h
        mov cr3, eax
        mov eax, cr0
        or eax, 80000000h
        mov cr0, eax
    again:
        mov ebx, 100800h
        call ebx
        mov ebx, 101800h
        call ebx
        jmp again
    """
    with machine(library, engine, source) as pc:
        pc.mem.physical[CODE + 0x800 : CODE + 0x802] = b"\x40\xc3"  # inc eax; ret
        for _ in range(3):
            result = pc.run(until=Address(0x101800), limit=Insns(10_000))
            assert (result.where.linear, pc.reg.ebx) == (0x101800, 0x101800)
        assert pc.mem.linear[0x101800:0x101802] == b"\x40\xc3"
        with pytest.raises(BtError, match="not mapped"):
            pc.mem.linear.u8[0x8000_0000]


@pytest.mark.parametrize("engine", ENGINES)
def test_addresses_count_from_the_segment(library: Library, engine: EngineName) -> None:
    """Real mode: the linear address is that of CS:IP."""
    with Machine(memory="4M", engine=engine, library=library) as pc:
        pc.load(sector("again: inc ax\n nop\n jmp again"), boot_sector=True)
        assert pc.run(until=Address(0x7C01), limit=Insns(100)).where == (0, 0x7C01, 0x7C01)
        pc.reg.cs, pc.reg.eip = 0x7C0, 0
        result = pc.run(until=Address(0x7C01), limit=Insns(100))
        assert (result.where, result.reason) == ((0x7C0, 1, 0x7C01), End.UNTIL)


@pytest.mark.parametrize("engine", ENGINES)
def test_text_ends_the_run_with_the_byte(library: Library, engine: EngineName) -> None:
    with machine(library, engine, LOOP) as pc:
        result = pc.run(until=[Pattern(rb"zzz"), Pattern("B")])
        assert (result.until, pc.serial.output, pc.reg.al) == (Pattern("B"), b"AB", 0x42)
        assert result.match is not None
        assert result.match[0] == b"B"
        assert not pc.cpu.state["mmio_count"], "the instruction is done"
        assert pc.serial.unread == b""
        assert pc.run(until=Pattern("C")).where.linear == places()["here"]


def test_text_that_came_before_counts_once(library: Library) -> None:
    with machine(library, "bt", LOOP) as pc:
        pc.run(max_insns=10_000)
        before = pc.cpu.instructions
        assert pc.serial.unread == b"ABC"
        assert pc.run(until=Pattern("AB")).instructions == before
        assert pc.serial.unread == b"C"
        assert pc.run(until=Pattern("AB"), limit=Insns(10)).reason is End.MAX_INSNS


def test_both_engines_stop_at_the_same_instruction(library: Library) -> None:
    found = []
    for engine in ENGINES:
        with machine(library, engine, LOOP) as pc:
            stops: list[Until] = [Pattern("A"), Address(places()["rep"]), Insns(7), GuestTime(0.0001)]
            found.append([pc.run(until=stops).instructions for _ in range(6)])
            found[-1].append(pc.clock.now_ns)
    assert found[0] == found[1]


@pytest.mark.parametrize("engine", ENGINES)
def test_instructions_and_time(library: Library, engine: EngineName) -> None:
    with machine(library, engine) as pc:
        assert pc.run(until=Insns(123)).until == Insns(123)
        assert pc.cpu.instructions == 123
        start = pc.clock.now_ns
        assert pc.run(until=[Insns(10**9), GuestTime(0.001)]).until == GuestTime(0.001)
        assert pc.clock.now_ns == start + 1_000_000
        assert pc.run(limit=GuestTime(0.001)).reason is End.GUEST_TIME
        assert pc.run(limit=Insns(5)).reason is End.MAX_INSNS
        assert pc.run(until=Insns(5), max_insns=3).reason is End.MAX_INSNS
        assert pc.run(until=Insns(5), max_insns=7).until == Insns(5)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_halted_guest_waits_until_its_time(library: Library, engine: EngineName) -> None:
    """The timer is far away: the run ends at its limit, not at the next event."""
    source = "sti\n here: hlt\n jmp here"
    with machine(library, engine, source) as pc:
        for port, value in ((0x43, 0x34), (0x40, 0), (0x40, 0)):
            pc.ports.write(port, 1, value)
        result = pc.run(until=GuestTime(0.02))
        assert (result.until, pc.clock.now_ns) == (GuestTime(0.02), 20_000_000)


def test_what_is_no_condition(library: Library) -> None:
    with machine(library) as pc:
        with pytest.raises(BadUsage, match="until="):
            pc.run(until=[5])  # type: ignore[list-item]
        with pytest.raises(BadUsage, match="linear="):
            Address(1 << 32)
        with pytest.raises(BadUsage, match="expression="):
            Pattern("(")
        with pytest.raises(BadUsage, match="there is room for"):
            pc.run(until=[Address(n) for n in range(5000)])
