"""All clocks of the machine tell one time, whatever the processor does meanwhile, in both clock modes.

The guest counts timer interrupts, and at the first and the last of them reads the time stamp counter and the seconds of
the real-time clock.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest

from bt.engine.library.library import (
    Library,
    load_library,
)
from bt.machine import ClockMode, EngineName, Machine, MachineConfig, Result
from bt.memory.bus import DEVICE_WINDOW_ACCESS_NS, PORT_ACCESS_NS
from bt.x86.system.processor import PAUSE_NS
from bt.x86.system.registers.cpuid import CPUID_NS
from guest_images.assembler import assemble
from tests.everyday import one_in

ENGINES: tuple[EngineName, ...] = ("interp", "bt")
CODE, RESULTS, IDT, GDT = 0x10_0000, 0x9000, 0x8000, 0x7000
TIMER_VECTOR = 0x20
DIVISOR = 11932  # of the 8254's 1.193182 MHz: 10.0002 ms
TICK_NS = DIVISOR * 1_000_000_000 // 1_193_182
SECONDS_REGISTER = 0

WAITS = {
    "halted": "hlt",
    "working": "inc esi",
    "polling": "in al, 0x61",
    "posting": "in al, 0x80\ninc esi\nout 0x80, al",
    "repeating": "mov ecx, 100\nrep stosd",
    "pausing": "pause",
    "identifying": "cpuid",
}
PROGRAM = """
    mov esp, 0x7000
    lgdt [{results} + 0x40]
    lidt [{results} + 0x48]
    mov edi, 0x20000
    mov al, 0x11
    out 0x20, al
    mov al, {vector}
    out 0x21, al
    mov al, 4
    out 0x21, al
    mov al, 1
    out 0x21, al
    mov al, 0xfe
    out 0x21, al
    mov al, 0x34
    out 0x43, al
    mov al, {divisor} & 0xff
    out 0x40, al
    mov al, {divisor} >> 8
    out 0x40, al
    sti
wait:
    {wait}
    and edi, 0x2ffff
    jmp wait
"""
HANDLER = """
    push eax
    push edx
    inc dword [{results}]
    cmp dword [{results}], 1
    jne not_first
    rdtsc
    mov [{results} + 8], eax
    mov [{results} + 12], edx
    mov al, {seconds}
    out 0x70, al
    in al, 0x71
    mov [{results} + 24], al
not_first:
    cmp dword [{results}], {last}
    jne not_last
    rdtsc
    mov [{results} + 16], eax
    mov [{results} + 20], edx
    in al, 0x71
    mov [{results} + 25], al
    out 0xf4, al
not_last:
    mov al, 0x20
    out 0x20, al
    pop edx
    pop eax
    iretd
"""


@dataclass(frozen=True)
class Seen:
    """What the guest saw between its first and its last tick."""

    tsc: int
    rtc_seconds: int
    result: Result


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library()


def measure(library: Library, engine: EngineName, clock: ClockMode, wait: str, ticks: int) -> Seen:
    """Run the guest for `ticks` of its timer behind the first."""
    values = {
        "results": RESULTS,
        "vector": TIMER_VECTOR,
        "divisor": DIVISOR,
        "seconds": SECONDS_REGISTER,
        "last": ticks + 1,
        "wait": wait,
    }
    handler = assemble(HANDLER.format(**values), 32, CODE + 0x1000)
    with Machine(MachineConfig(memory=4 << 20, engine=engine, clock=clock), library=library) as machine:
        machine.load(assemble(PROGRAM.format(**values), 32, CODE), flat=CODE)
        machine.ram.write(CODE + 0x1000, handler)
        entry = CODE + 0x1000
        machine.ram.write(IDT + 8 * TIMER_VECTOR, struct.pack("<4H", entry & 0xFFFF, 8, 0x8E00, entry >> 16))
        machine.ram.write(GDT, struct.pack("<3Q", 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF))
        tables = struct.pack("<HIxxHI", 0x17, GDT, 0x7FF, IDT)
        machine.ram.write(RESULTS, bytes(0x40) + tables)
        result = machine.run(timeout=60)
        first, last, before, after = struct.unpack_from("<QQBB", machine.ram.read(RESULTS + 8, 18))
    assert result.reason == "exit", result
    return Seen(last - first, after - before, result)


@pytest.mark.parametrize(("wait", "engine"), one_in(3, list(WAITS), ENGINES))
def test_the_time_stamp_counter_agrees_with_the_timer(library: Library, engine: EngineName, wait: str) -> None:
    seen = measure(library, engine, "icount", WAITS[wait], 10)
    assert seen.tsc == pytest.approx(10 * TICK_NS, rel=0.01)


@pytest.mark.parametrize("wait", one_in(3, list(WAITS)))
def test_both_engines_see_the_same_time(library: Library, wait: str) -> None:
    one, other = (measure(library, engine, "icount", WAITS[wait], 3) for engine in ENGINES)
    assert (one.tsc, one.result.instructions) == (other.tsc, other.result.instructions)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_second_of_idling_is_a_second_on_every_clock(library: Library, engine: EngineName) -> None:
    seen = measure(library, engine, "icount", WAITS["halted"], 100)
    assert seen.rtc_seconds == 1
    assert seen.tsc == pytest.approx(100 * TICK_NS, rel=0.001)
    assert seen.result.instructions < 20_000, "idle time is skipped"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("wait", ["halted", "working"])
def test_on_the_host_s_clock_too(library: Library, engine: EngineName, wait: str) -> None:
    seen = measure(library, engine, "host", WAITS[wait], 20)
    # a busy host takes the processor away, and ticks are lost as on a PC whose interrupts are off for long
    assert 0.75 * 20 * TICK_NS < seen.tsc < 1.05e9 * seen.result.seconds
    if wait == "halted":
        assert seen.result.cpu_seconds < seen.result.seconds / 2, "a halted guest sleeps"


POLL = """
    mov ecx, 1000
again:
    {access}
    dec ecx
    jnz again
    rdtsc
    mov [{results}], eax
    out 0xf4, al
"""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "access",
    [
        "in al, 0x61",  # served in Python
        "out 0x80, al",  # served in generated code
        "in al, 0x80",
        "mov dx, 0x80\nmov esi, 0x20000\noutsb",  # served in native code
        "mov dx, 0x80\nmov edi, 0x20000\npush ecx\nmov ecx, 1\nrep insb\npop ecx",
        "mov dx, 0x80\nmov edi, 0xfeb00000\ninsb",  # in native code, and then nobody's memory, in Python
        "mov dx, 0x80\nmov esi, 0xfeb00000\noutsb",
    ],
)
def test_a_port_access_takes_a_microsecond(library: Library, engine: EngineName, access: str) -> None:
    with Machine(MachineConfig(memory=4 << 20, engine=engine), library=library) as machine:
        code = f"mov esp, 0x7000\n{POLL.format(access=access, results=RESULTS)}"
        machine.load(assemble(code, 32, CODE), flat=CODE)
        result = machine.run()
        (tsc,) = struct.unpack("<I", machine.ram.read(RESULTS, 4))
    access_ns = PORT_ACCESS_NS + (DEVICE_WINDOW_ACCESS_NS if "0xfeb00000" in access else 0)
    assert tsc == result.instructions - 1 + 1000 * access_ns, "a MOV has retired since, the last OUT has not"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("instruction", "ns"), [("pause", PAUSE_NS), ("xor eax, eax\nmov esi, ecx\ncpuid\nmov ecx, esi", CPUID_NS)]
)
def test_instructions_that_take_time(library: Library, engine: EngineName, instruction: str, ns: int) -> None:
    with Machine(MachineConfig(memory=4 << 20, engine=engine), library=library) as machine:
        machine.load(assemble(POLL.format(access=instruction, results=RESULTS), 32, CODE), flat=CODE)
        result = machine.run()
        (tsc,) = struct.unpack("<I", machine.ram.read(RESULTS, 4))
    assert tsc == result.instructions - 1 + 1000 * ns, "a MOV has retired since, the OUT has not"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("place", ["0x80", "0x500"], ids=["in native code", "in Python"])
@pytest.mark.parametrize("repeated", ["rep insb", "rep outsb", "rep stosb"])
def test_a_repeated_instruction_does_one_access_an_execution(
    library: Library, engine: EngineName, repeated: str, place: str
) -> None:
    """So that what is due meanwhile comes between two of them: an access takes as long as hundreds of instructions."""
    start = 0xFEB0_0000 if "stos" in repeated else 0x20000
    code = f"mov ecx, 100\nmov edx, {place}\nmov esi, 0x20000\nmov edi, {start}\n{repeated}\nout 0xf4, al"
    with Machine(MachineConfig(memory=4 << 20, engine=engine), library=library) as machine:
        machine.load(assemble(code, 32, CODE), flat=CODE)
        assert machine.run().instructions == 4 + 100
