"""A guest that resets the machine starts again: RAM kept, image and tables written anew, the rest reset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bt.end import End
from bt.engine.library.library import load_library
from bt.errors import BadImage, BadUsage
from bt.machine import EngineName, Machine, MachineConfig, Result
from bt.x86.state import EAX
from guest_images.assembler import assemble

ENGINES: tuple[EngineName, ...] = ("interp", "bt")
ADDRESS, COUNTER = 0x10_0000, 0x20_0000
WAYS = {
    "8042 pulse": "mov al, 0xfe\nout 0x64, al",
    "8042 output port": "mov al, 0xd1\nout 0x64, al\nmov al, 0xce\nout 0x60, al",
    "port 92": "mov al, 1\nout 0x92, al",
}
# Says at each start what RAM has counted so far, what the image holds and what of the devices it finds; changes all of
# it, works for a while, and resets. The third time it leaves.
GUEST = """
change:
    inc ebp                     ; of the code: 1 at each start
    mov ebx, [{counter}]
    inc dword ptr [{counter}]
    mov edx, 0x3f8
    lea eax, [ebx + '0']
    out dx, al
    mov al, [variable]          ; of the image
    out dx, al
    in al, 0x80                 ; what was shown last at the POST port
    add al, 'a'
    out dx, al
    lea eax, [ebp + '@']
    out dx, al
    mov ecx, 0x1000
copy:
    lea eax, [ecx + ecx * 2]
    mov [{counter} + ecx * 4], eax
    loop copy
    cmp ebx, 2
    je leave
    mov byte ptr [variable], 'w'
    mov byte ptr [change], 0x90 ; code, too
    mov al, 5
    out 0x80, al
    {reset}
never:
    mov al, '!'
    mov edx, 0x3f8
    out dx, al
    jmp never
leave:
    mov al, 7
    out 0xf4, al
variable:
    .byte 'v'
"""
TRACE = "0vaA1vaA2vaA"


def program(way: str = "port 92") -> bytes:
    return assemble(GUEST.format(counter=COUNTER, reset=WAYS[way]), 32, ADDRESS)


def machine(engine: EngineName, *, no_reboot: bool = False, serial: Callable[[int], None] | None = None) -> Machine:
    config = MachineConfig(memory=8 << 20, engine=engine, no_reboot=no_reboot)
    return Machine(config, serial=serial, library=load_library())


def run(engine: EngineName, image: bytes, *, no_reboot: bool = False, max_insns: int = 1_000_000) -> tuple[Result, str]:
    output = bytearray()
    with machine(engine, no_reboot=no_reboot, serial=output.append) as pc:
        pc.load(image, flat=ADDRESS)
        return pc.run(max_insns=max_insns), output.decode()


@pytest.mark.parametrize("way", WAYS)
def test_the_machine_starts_again(way: str) -> None:
    """With the same counts in both engines."""
    counts = set()
    for engine in ENGINES:
        result, output = run(engine, program(way))
        assert (result.reason, result.status, result.resets) == (End.EXIT, 15, 2)
        assert output == TRACE
        counts.add(result.instructions)
    assert len(counts) == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_no_reboot_ends_the_run(engine: EngineName) -> None:
    result, output = run(engine, program(), no_reboot=True)
    assert (result.reason, result.status, result.resets, output) == (End.RESET, 0, 0, "0vaA")


SILENT = "inc dword ptr [0x200000]\n{say}\nmov al, 0xfe\nout 0x64, al\nhere:\njmp here"
SAY = "mov edx, 0x3f8\nmov al, 'x'\nout dx, al"
CONSOLE = "mov al, 'x'\nout 0xe9, al"


@pytest.mark.parametrize("engine", ENGINES)
def test_the_third_quiet_reset_ends_the_run(engine: EngineName) -> None:
    result, _ = run(engine, assemble(SILENT.format(say=""), 32, ADDRESS))
    assert (result.reason, result.status, result.resets) == (End.RESET_LOOP, 10, 2)


@pytest.mark.parametrize("say", [SAY, CONSOLE])
def test_a_guest_that_prints_resets_as_often_as_it_likes(say: str) -> None:
    result, _ = run("bt", assemble(SILENT.format(say=say), 32, ADDRESS), max_insns=1000)
    assert result.reason is End.MAX_INSNS
    assert result.resets > 100


def test_output_of_the_first_start_does_not_count() -> None:
    once = f"cmp dword ptr [{COUNTER}], 1\njne quiet\n{SAY}\nquiet:"
    result, output = run("bt", assemble(SILENT.format(say=once), 32, ADDRESS))
    assert (result.reason, result.resets, output) == (End.RESET_LOOP, 2, "x")


@pytest.mark.parametrize("engine", ENGINES)
def test_time_goes_on(engine: EngineName) -> None:
    with machine(engine, serial=lambda byte: None) as pc:
        pc.load(program(), flat=ADDRESS)
        before = 0
        for resets in (1, 2):
            while (result := pc.run(max_insns=100)).resets < resets:
                pass
            assert pc.clock.insns == result.instructions > before
            assert pc.clock.now_ns > pc.clock.insns
            before = result.instructions


@pytest.mark.parametrize("engine", ENGINES)
def test_the_reset_button(engine: EngineName) -> None:
    with machine(engine) as pc:
        entry = pc.load(assemble("inc dword ptr [0x200000]\nhere:\njmp here", 32, ADDRESS), flat=ADDRESS)
        pc.run(max_insns=100)
        pc.ports.write(0x21, 1, 0x5A)
        pc.ram.write(ADDRESS, b"\xf4")
        pc.reset()
        assert (pc.cpu.state["eip"], pc.ports.read(0x21, 1)) == (entry.eip, 0xB8)
        assert pc.run(max_insns=100).resets == 1
        assert pc.ram.read(COUNTER, 1) == b"\2"
        pc.post(pc.reset)  # as another thread does
        assert pc.run(max_insns=100).resets == 2
        assert pc.run(max_insns=100).reason is End.MAX_INSNS
        assert pc.ram.read(COUNTER, 1) == b"\3"


def test_the_button_restarts_what_halted_for_good_whatever_no_reboot_says() -> None:
    with machine("bt", no_reboot=True) as pc:
        pc.load(assemble(f"inc dword ptr [{COUNTER}]\ncli\nhlt", 32, ADDRESS), flat=ADDRESS)
        for starts in range(1, 6):
            assert pc.run().reason is End.HALTED
            assert pc.ram.read(COUNTER, 1)[0] == starts
            pc.reset()


def test_a_device_may_press_it() -> None:
    """In the midst of an access: the instruction that made it is not finished."""
    with machine("bt") as pc:
        pc.load(assemble(f"inc dword ptr [{COUNTER}]\nmov eax, 77\nout 0x80, eax\nin al, 0x92\nhlt", 32, ADDRESS),
                flat=ADDRESS)  # fmt: skip
        presses: list[int] = []

        def read(offset: int, size: int) -> int:
            presses.append(offset)
            if len(presses) == 1:
                pc.reset()
            return 0x5A

        pc.board.devices["port 92"].read = read  # type: ignore[method-assign]  # a device under test
        result = pc.run()
        assert (result.reason, result.resets) == (End.HALTED, 1)
        assert pc.cpu.state["gpr", EAX] == 0x5A
        assert pc.ram.read(COUNTER, 1) == b"\2"


def test_without_an_image_the_processor_is_as_at_power_on() -> None:
    with machine("bt") as pc:
        pc.reset()
        assert (pc.cpu.state["eip"], pc.cpu.state["cr0"]) == (0xFFF0, 0x60000010)


def test_files_are_read_again(tmp_path: Path) -> None:
    image = tmp_path / "kernel.bin"
    image.write_bytes(assemble("mov al, 1\nout 0x92, al\nhere:\njmp here", 32, ADDRESS))
    with machine("bt") as pc:
        pc.load(image, flat=ADDRESS)
        image.write_bytes(assemble("mov al, 3\nout 0xf4, al", 32, ADDRESS))
        assert pc.run(max_insns=100).status == 7
        pc.load(assemble("mov al, 1\nout 0x92, al\nhere:\njmp here", 32, ADDRESS), flat=ADDRESS)
        image.unlink()
        assert pc.run(max_insns=100).reason is End.RESET_LOOP, "the bytes that were given"
        image.write_bytes(assemble("mov al, 1\nout 0x92, al\nhere:\njmp here", 32, ADDRESS))
        pc.load(image, flat=ADDRESS)
        image.unlink()
        with pytest.raises(BadImage, match=r"was reset, and its image cannot be loaded again: .*kernel\.bin"):
            pc.run(max_insns=100)


def test_what_was_refused_is_not_what_starts_again() -> None:
    with machine("bt") as pc:
        pc.load(b"\xf4", flat=ADDRESS)
        with pytest.raises(BadUsage):
            pc.load(b"\xf4", flat=ADDRESS, boot_sector=True)
        pc.reset()
        assert pc.cpu.state["eip"] == ADDRESS


@pytest.mark.parametrize("engine", ENGINES)
def test_a_boot_sector_finds_its_vectors_again(engine: EngineName) -> None:
    """It overwrites the interrupt table and itself, counts beyond both, and prints what it finds."""
    source = """
        mov bx, [0x600]
        inc word ptr [0x600]
        mov al, [0x20]          ; of vector 8
        mov dx, 0x3f8
        out dx, al
        mov byte ptr [0x20], 0x55
        mov al, [0x7d00]
        out dx, al
        mov byte ptr [0x7d00], 0x66
        cmp bx, 3
        je done
        mov al, 0xfe
        out 0x64, al
    here:
        jmp here
    done:
        out 0xf4, al
    """
    output = bytearray()
    with machine(engine, serial=output.append) as pc:
        pc.load(assemble(source, 16, 0x7C00).ljust(0x100, b"\0").ljust(510, b"\x33") + b"\x55\xaa", boot_sector=True)
        result = pc.run(max_insns=1000)
    assert (result.reason, result.resets) == (End.EXIT, 3)
    assert output == output[:2] * 4
    assert output[1] == 0x33
