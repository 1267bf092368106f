"""What a guest sends reaches the outside in order, at once where that matters, and never gets lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bt.devices.debug.output import OutputQueue
from bt.devices.debug.output_native import ENTRIES
from bt.end import End
from bt.engine.library.library import Library, load_library
from bt.machine import EngineName, Machine, MachineConfig
from guest_images.assembler import assemble
from tests.devices.native.rig import ENGINES

MEMORY = 4 << 20


@pytest.fixture(scope="module")
def library() -> Iterator[Library]:
    loaded = load_library()
    yield loaded
    loaded.close()


def queue_of(text: bytes) -> tuple[OutputQueue, list[int]]:
    """A queue as native code leaves it, with what its sink was given; the sink refuses a question mark."""
    given: list[int] = []

    def sink(byte: int) -> None:
        given.append(byte)
        if byte == ord("?"):
            raise ValueError("no questions")

    queue = OutputQueue()
    queue.output(lambda byte: given.append(0x100 | byte))
    number = queue.output(sink).number
    start = OutputQueue._entries.offset
    entries = b"".join(bytes((byte & 0x7F, number if byte < 0x80 else 0)) for byte in text)
    queue._bytes[start : start + len(entries)] = entries
    queue._count = len(text)
    return queue, given


def test_outputs_keep_their_common_order() -> None:
    queue, given = queue_of(b"ab\xc1c")
    queue.deliver()
    assert given == [ord("a"), ord("b"), 0x100 | 0x41, ord("c")]
    assert queue.waiting[0] == 0


def test_what_is_behind_a_byte_that_is_refused_waits() -> None:
    queue, given = queue_of(b"why?so\xc1?!")
    for _ in range(2):
        with pytest.raises(ValueError, match="no questions"):
            queue.deliver()
    queue.deliver()
    assert bytes(byte & 0x7F for byte in given) == b"why?soA?!"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_line_is_outside_when_it_is_complete(library: Library, engine: EngineName) -> None:
    lines: list[tuple[int, bytes]] = []
    line = bytearray()
    code = assemble(
        """
        mov edx, 0x3f8
        mov ecx, 3
    again:
        mov al, 'H'
        out dx, al
        mov al, 'i'
        out dx, al
        mov al, 10
        out dx, al
        loop again
        mov al, '>'
        out dx, al
        jmp $
        """,
        32,
        0x1000,
    )

    def sink(byte: int) -> None:
        line.append(byte)
        if byte == 10:
            lines.append((machine.clock.insns, bytes(line)))
            line.clear()

    with Machine(MachineConfig(memory=MEMORY, engine=engine), serial=sink, library=library) as machine:
        machine.load(code, flat=0x1000)
        assert machine.run(max_insns=1000).reason is End.MAX_INSNS
    assert lines == [(7 + 7 * n, b"Hi\n") for n in range(3)], "at the instruction that sends the line feed"
    assert line == b">", "and the rest at the end of the run"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("end", ["hlt", "out 0xf4, al", "int 3"])
def test_nothing_is_lost_however_the_run_ends(library: Library, engine: EngineName, end: str) -> None:
    sent: list[int] = []
    count = 3 * ENTRIES + 5
    code = assemble(
        f"""
        mov ecx, {count}
        mov edx, 0x3f8
    again:
        mov al, cl
        or al, 0x20
        out dx, al
        out 0xe9, al
        loop again
        cli
        {end}
        """,
        32,
        0x1000,
    )
    config = MachineConfig(memory=MEMORY, engine=engine)
    with Machine(
        config, serial=sent.append, console=lambda byte: sent.append(byte | 0x100), library=library
    ) as machine:
        machine.load(code, flat=0x1000)
        result = machine.run()
    expected = [byte & 0xFF | 0x20 for byte in range(count, 0, -1)]
    assert sent == [each for byte in expected for each in (byte, byte | 0x100)]
    assert result.exits["io"] < 12, "the queue was full a few times"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_sink_that_raises_loses_no_exit(library: Library, engine: EngineName) -> None:
    """The guest halts after its last byte: going on, it is still halted."""

    def sink(byte: int) -> None:
        raise ValueError(chr(byte))

    code = assemble("mov edx, 0x3f8\nmov al, '?'\nout dx, al\ncli\nhlt\nout 0xf4, al", 32, 0x1000)
    with Machine(MachineConfig(memory=MEMORY, engine=engine), serial=sink, library=library) as machine:
        machine.load(code, flat=0x1000)
        with pytest.raises(ValueError, match=r"\?"):
            machine.run()
        assert machine.run().reason is End.HALTED
        assert machine.cpu.instructions == 5
        assert machine.exits == {"hlt": 1}
