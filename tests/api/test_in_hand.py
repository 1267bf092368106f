"""Registers, memory, serial port, keyboard and screen as a user of a machine has them in hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from bt import Drive, End, GuestTime, Insns, Machine, MachineConfig
from bt.api.serial import NotSeen
from bt.devices.input.us_layout import NoSuchKey
from bt.engine.library.library import Library
from bt.errors import BadUsage
from bt.machine import EngineName
from bt.machine.config import Options
from bt.memory.ram import OutsideRam
from guest_images.assembler import assemble
from tests.api.guest import CODE, ENGINES, machine, sector

ECHO = """
wait: mov edx, 3fdh
    in al, dx
    test al, 1
    jz wait
    mov edx, 3f8h
    in al, dx
    out dx, al
    jmp wait
"""
KEYS = """
wait: in al, 64h
    test al, 1
    jz wait
    in al, 60h
    out 0e9h, al
    jmp wait
"""


def test_options_are_those_of_the_configuration() -> None:
    assert Options.__annotations__.keys() == MachineConfig.FIELDS.keys()


def test_a_machine_by_keywords(library: Library, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    with Machine(memory="4M", cpu="pentium3", engine="interp", drives=[Drive(str(disk))], library=library) as pc:
        assert (pc.config.memory, pc.config.drives, pc.cpu.name) == (4 << 20, (Drive(str(disk)),), "interp")
    config = MachineConfig(memory=8 << 20)
    with Machine(config, no_reboot=True, library=library) as pc:
        assert pc.config == MachineConfig(memory=8 << 20, no_reboot=True)
    for options, message in (({"memory": "lots"}, "memory='lots': no size"), ({"ram": 1}, "ram=1: no such option")):
        with pytest.raises(BadUsage, match=message):
            Machine(**options)


# -- registers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_registers_that_are_written_are_what_the_guest_has(library: Library, engine: EngineName) -> None:
    with machine(library, engine, "mov ebx, eax\n pushfd\n pop ecx\n here: jmp here") as pc:
        pc.reg.eax = 0x1234_5678
        pc.reg.al, pc.reg.ah = 1, 2
        assert (pc.reg.eax, pc.reg.ax) == (0x1234_0201, 0x0201)
        pc.reg.esp = 0x8000
        pc.reg.eflags = 0x202 | 0x8C1  # IF; OF SF ZF CF
        assert pc.reg.eflags == 0xAC3
        pc.run(max_insns=3)
        assert (pc.reg.ebx, pc.reg.ecx) == (0x1234_0201, 0xAC3)
        pc.reg.eip = CODE
        pc.run(max_insns=1)
        assert pc.run(max_insns=0).where.linear == CODE + 2


def test_registers_of_64_bit_code_have_their_names(library: Library) -> None:
    with machine(library, "interp") as pc:
        pc.reg.rax = 0x1122_3344_5566_7788
        pc.reg.eax = 1  # as a debugger has it: the upper half stays
        pc.reg.r9, pc.reg.r9b, pc.reg.sil = 0x99AA_BBCC_DDEE_FF00, 0x12, 0x34
        assert (pc.reg.rax, pc.reg.r9) == (0x1122_3344_0000_0001, 0x99AA_BBCC_DDEE_FF12)
        assert (pc.reg.r9d, pc.reg.r9w) == (0xDDEE_FF12, 0xFF12)
        assert pc.reg.rsi & 0xFF == 0x34
        pc.reg.rip = 0xFFFF_8000_0000_1000
        assert (pc.reg.rip, pc.reg.eip) == (0xFFFF_8000_0000_1000, 0x1000)
        with pytest.raises(BadUsage, match="r9d"):
            pc.reg.r9d = 1 << 32


@pytest.mark.parametrize("engine", ENGINES)
def test_segment_registers_bring_what_belongs_to_them(library: Library, engine: EngineName) -> None:
    with Machine(memory="4M", engine=engine, library=library) as pc:
        pc.load(sector("mov al, [0]\n here: jmp here"), boot_sector=True)
        pc.mem.physical.u8[0x2_3450] = 0x5A
        pc.reg.ds = 0x2345
        assert (pc.reg["ds"].base, pc.reg["ds"].selector) == (0x2_3450, 0x2345)
        pc.run(max_insns=1)
        assert pc.reg.al == 0x5A
    with machine(library, engine, "mov al, [0]\n here: jmp here") as pc:
        pc.mem.physical.u8[0x5000] = 0x5B
        pc.reg["ds"].base = 0x5000  # flat code before: it is decoded for segments with a base now
        pc.run(max_insns=1)
        assert pc.reg.al == 0x5B
        gdt = bytes(8) + bytes.fromhex("0f00003000930000")  # 16 bytes from 3000h on, byte granular
        pc.mem.physical[0x9000 : 0x9000 + len(gdt)] = gdt
        pc.reg["gdtr"].base, pc.reg["gdtr"].limit = 0x9000, len(gdt) - 1
        pc.reg.es = 8
        assert (pc.reg["es"].base, pc.reg["es"].limit) == (0x3000, 0xF)
        with pytest.raises(BadUsage, match="selector 0010"):
            pc.reg.es = 0x10
        assert pc.reg.es == 8


@pytest.mark.parametrize("engine", ENGINES)
def test_paging_follows_control_registers(library: Library, engine: EngineName) -> None:
    with machine(library, engine, "here: mov eax, [400000h]\n jmp here") as pc:
        pc.mem.physical.u32[0x2000], pc.mem.physical.u32[0x2004] = 0x3007, 0x4007
        for page in range(1024):
            pc.mem.physical.u32[0x3000 + 4 * page] = page << 12 | 7
        pc.mem.physical.u32[0x4000] = 0x5007
        pc.mem.physical.u32[0x5000] = 0xCAFE
        pc.run(max_insns=2)
        pc.reg.cr3 = 0x2000
        pc.reg.cr0 |= 1 << 31
        pc.run(max_insns=1)
        assert pc.reg.eax == 0xCAFE
        assert pc.mem.linear.u32[0x40_0000] == 0xCAFE
        directory = pc.mem.physical.u32[0x2004]
        pc.mem.linear.u32[0x40_0004] = 1
        assert pc.mem.physical.u32[0x5004] == 1
        assert pc.mem.physical.u32[0x2004] == directory, "no accessed bit of ours"


def test_registers_that_there_are_not(library: Library) -> None:
    with machine(library) as pc:
        for wrong in (lambda: pc.reg.xax, lambda: pc.reg["eax"], lambda: setattr(pc.reg, "cr1", 1)):
            with pytest.raises(BadUsage, match="register"):
                wrong()
        with pytest.raises(BadUsage, match="8 bits"):
            pc.reg.al = 256


# -- memory -----------------------------------------------------------------------------------------------------------


def test_memory(library: Library) -> None:
    with machine(library) as pc:
        physical = pc.mem.physical
        physical[0x5000:0x5006] = b"hello\0"
        physical.u16[0x6000], physical[0x6002] = 0xBEEF, 7
        assert (physical.string(0x5000), physical.u32[0x6000], physical[0x6000]) == ("hello", 0x7BEEF, 0xEF)
        assert physical.u64[0x6000] == 0x7BEEF
        physical[0x6FFE:0x7002] = b"abcd"
        assert pc.mem.linear.string(0x6FFE, most=3) == "abc"
        with pytest.raises(OutsideRam):
            physical.u32[0xFEC0_0000]
        with pytest.raises(BadUsage, match="4 bytes are wanted"):
            physical[0:4] = b"abc"
        with pytest.raises(BadUsage, match="value=256"):
            physical[0] = 256


@pytest.mark.parametrize("engine", ENGINES)
def test_code_that_is_written_is_executed(library: Library, engine: EngineName) -> None:
    with machine(library, engine, "here: inc eax\n jmp here") as pc:
        pc.run(max_insns=1000)
        pc.mem.linear[CODE : CODE + 1] = b"\x43"  # inc ebx
        before = pc.reg.ebx
        pc.run(max_insns=1000)
        assert pc.reg.ebx == before + 500


# -- serial port ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_sent_is_received(library: Library, engine: EngineName) -> None:
    with machine(library, engine, ECHO) as pc:
        pc.serial.send("abc\ndef")
        match = pc.serial.expect(rb"b(.)\n", limit=GuestTime(1))
        assert (match[1], pc.serial.unread) == (b"c", b"")
        pc.run(max_insns=10_000)
        assert pc.serial.take() == b"def"
        assert pc.serial.take() == b""
        pc.serial.send(b"x\x1b[2J")
        with pytest.raises(NotSeen, match=r"'never' expected on COM1, .*guest's time.*: .*x\\x1b"):
            pc.serial.expect("never", limit=GuestTime(0.01))
        assert pc.serial.output == b"abc\ndefx\x1b[2J"


def test_text_is_kept_but_not_for_ever(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bt.api.received.KEPT_BYTES", 4)
    with machine(library, "bt", ECHO) as pc:
        pc.serial.send("0123456789")
        pc.run(max_insns=10_000)
        assert pc.serial.output == b"456789"
        assert pc.serial.expect("8").end() == 5
        assert pc.serial.unread == b"9"


# -- keyboard and screen ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_typing_takes_the_time_of_a_person(library: Library, engine: EngineName) -> None:
    codes: list[int] = []
    with machine(library, engine, KEYS, console=codes.append) as pc:
        pc.ports.write(0x64, 1, 0x60)
        pc.ports.write(0x60, 1, 0x40)  # translated to set 1
        pc.keyboard.type("aB")
        assert pc.keyboard.is_busy
        pc.run(limit=GuestTime(0.005))
        assert codes == [0x1E]
        pc.run(limit=GuestTime(0.1))
        assert codes == [0x1E, 0x9E, 0x2A, 0x30, 0xB0, 0xAA]
        codes.clear()
        pc.keyboard.keys("ctrl-alt-delete", "f1")
        pc.run(limit=GuestTime(0.5))
        assert codes == [0x1D, 0x38, 0xE0, 0x53, 0xE0, 0xD3, 0xB8, 0x9D, 0x3B, 0xBB]
        with pytest.raises(NoSuchKey):
            pc.keyboard.type("aß")
        with pytest.raises(BadUsage, match="key 'foo'"):
            pc.keyboard.keys("ctrl-foo")
        assert not pc.keyboard.is_busy


def test_a_snapshot_forgets_what_is_being_typed(library: Library) -> None:
    codes: list[int] = []
    with machine(library, "bt", KEYS, console=codes.append) as pc:
        pc.ports.write(0x64, 1, 0x60)
        pc.ports.write(0x60, 1, 0x40)
        snapshot = pc.snapshot()
        pc.keyboard.type("aaaa")
        pc.run(limit=GuestTime(0.005))
        pc.restore(snapshot)
        pc.run(limit=GuestTime(0.2))
        assert len(codes) == 1
        pc.keyboard.type("b")
        pc.run(limit=GuestTime(0.2))
        assert codes[1:] == [0x30, 0xB0]
        snapshot.close()


def test_the_screen(library: Library, tmp_path: Path) -> None:
    with Machine(memory="4M", library=library) as pc:
        pc.load(assemble("here: jmp here", 32, CODE), flat=CODE)
        pc.mem.physical[0xB8000:0xB8008] = "h\x07i\x07\x01\x07\xdb\x07".encode("latin-1")
        assert (pc.screen.is_text, pc.screen.text()[0], len(pc.screen.text())) == (True, "hi☺█", 25)
        pc.screen.save(tmp_path / "a.ppm")
        pc.screen.save(tmp_path / "a.png")
        head, body = (tmp_path / "a.ppm").read_bytes().split(b"\n255\n", 1)
        assert head == b"P6\n720 400"
        from PIL import Image

        assert Image.open(tmp_path / "a.png").tobytes() == body == pc.screen.image().tobytes()
        with pytest.raises(BadUsage, match="unknown file extension"):
            pc.screen.save(tmp_path / "a.nothing")
        with pytest.raises(BadUsage, match="No such file"):
            pc.screen.save(tmp_path / "nowhere" / "a.png")


def test_the_power_button(library: Library) -> None:
    with Machine(machine="isapc", memory="4M", library=library) as pc, pytest.raises(BadUsage, match="PM"):
        pc.power_button()
    with machine(library) as pc:
        pc.power_button()
        assert pc.run(limit=Insns(10)).reason is End.MAX_INSNS, "nobody listens"


@pytest.mark.parametrize("engine", ENGINES)
def test_one_instruction_at_a_time(library: Library, engine: EngineName) -> None:
    """One that waits for a device is one, too; afterwards the guest runs as ever."""
    with machine(
        library, engine, "inc eax\nout 0x80, al\nin al, 0x60\nrep stosb\nagain: dec edx\njnz again\nhlt"
    ) as pc:
        pc.reg.ecx, pc.reg.edi, pc.reg.edx = 3, 0x20_0000, 1_000_000
        for offset in (1, 3, 5, 7, 8):
            pc.pause()
            pc.step(pc.stop)
            assert pc.run().reason is End.INTERRUPTED
            assert pc.where.linear == CODE + offset
        assert pc.reg.edx == 999_999
        pc.resume()
        assert pc.run().reason is End.HALTED
        assert pc.reg.edx == 0
