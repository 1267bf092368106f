"""`Machine.from_qemu`, symbols as places, and commands to a real shell by `serial.run`."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

import guest_images
from bt import Address, End, GuestTime, Insns, Machine
from bt.api.serial import NotSeen
from bt.errors import BadUsage
from tests.cli import code
from tests.cli.test_public_lines import boot_sector
from tests.guests.images import built, required

HELLO = str(guest_images.image("hello").path)
PROMPT = r"bt# "


def test_a_kernel_with_its_command_line() -> None:
    heard = bytearray()
    line = f"-kernel {HELLO} -append 'n=2' -m 16 -cpu pentium3 -serial mon:stdio -display none -no-reboot"
    with Machine.from_qemu(shlex.split(line), serial=heard.append) as vm:
        assert (vm.config.memory, vm.config.cpu, vm.config.no_reboot) == (16 << 20, "pentium3", True)
        result = vm.run(limit=GuestTime(10))
        assert (result.reason, result.status) == (End.EXIT, 1)
        assert vm.serial.output == bytes(heard)
        assert heard.count(b"Hello, world") == 2


def test_a_disk_by_itself(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(boot_sector())
    with Machine.from_qemu([str(disk), "-snapshot"]) as vm:
        assert vm.serial.expect(r"booted from (\d\d)", limit=GuestTime(30))[1] == b"80"


def test_what_has_no_effect_is_a_warning() -> None:
    with (
        pytest.warns(UserWarning, match=r"^-enable-kvm: guests are translated"),
        Machine.from_qemu(["-enable-kvm", "-kernel", HELLO]) as vm,
    ):
        assert vm.run().reason is End.EXIT


@pytest.mark.parametrize(("options", "reason"), [([], End.TRIPLE_FAULT), (["--triple-fault", "reset"], End.RESET)])
def test_a_triple_fault(tmp_path: Path, options: list[str], reason: End) -> None:
    guest = code.write(tmp_path / "guest.bin", code.TRIPLE_FAULT)
    with Machine.from_qemu(["-kernel", guest, *code.FLAT, "-no-reboot", *options]) as vm:
        result = vm.run(limit=Insns(100_000))
        assert result.reason is reason
        assert bool(result.fault_chain) is (reason is End.TRIPLE_FAULT)


@pytest.mark.parametrize("line", ["-kernle x", "-M raspi2", "-hda /no/such/file"])
def test_what_is_no_machine(line: str) -> None:
    with pytest.raises(BadUsage):
        Machine.from_qemu(line.split())


@pytest.mark.parametrize("engine", ["bt", "interp"])
def test_a_place_by_its_symbol(engine: str) -> None:
    with Machine.from_qemu(["-kernel", HELLO, "--engine", engine]) as vm:
        stop = vm.run(until=Address("main"), limit=Insns(10_000))
        assert (stop.reason, stop.until) == (End.UNTIL, Address("main"))
        assert stop.where.linear == vm.symbols["main"]
        assert vm.symbols.name(stop.where.linear + 4) == "main+0x4"
        first = vm.run(until=[Address("put_char"), Address(0x10_0000)])
        assert first.until == Address("put_char")
        with pytest.raises(BadUsage, match=r"symbol .put_chr.: the kernel has none; did you mean put_char\?"):
            vm.run(until=Address("put_chr"))
        assert vm.run().reason is End.EXIT


def test_symbols_are_those_of_what_was_loaded_last() -> None:
    with Machine(memory="4M") as vm:
        with pytest.raises(BadUsage, match="the kernel has none"):
            _ = vm.symbols["main"]
        vm.load(HELLO)
        assert vm.symbols["main"] > 0x10_0000
        vm.load(b"\xeb\xfe", flat=0x10_0000)
        with pytest.raises(BadUsage, match="the kernel has none"):
            _ = vm.symbols["main"]


@pytest.mark.slow
def test_commands_to_a_shell(tmp_path: Path) -> None:
    """Debian's kernel and BusyBox: texts and statuses are the commands' own, and a snapshot has the shell in it."""
    kernel, initrd = required("debian-12-linux"), built("initramfs.gz")(tmp_path)
    line = ["-m", "256", "-kernel", str(kernel), "-initrd", str(initrd), "-append", "console=ttyS0 quiet"]
    with Machine.from_qemu(line) as vm:
        vm.serial.expect(PROMPT, limit=GuestTime(60))
        assert vm.serial.run("uname -s") == ("Linux\n", 0)
        assert vm.serial.run("echo one; echo two >&2; (exit 7)") == ("one\ntwo\n", 7)
        assert vm.serial.run("false").status == 1
        assert int(vm.serial.run("echo $((6 * 7))").text) == 42
        with vm.snapshot() as snapshot:
            assert vm.serial.run("echo here >/tmp/file; cat /tmp/file").text == "here\n"
            vm.restore(snapshot)
        assert vm.serial.run("cat /tmp/file").status == 1
        assert vm.serial.run("printf 'no end'").text == "no end"
        with pytest.raises(NotSeen, match="expected on COM1"):
            vm.serial.run("sleep 5", limit=GuestTime(1))
