"""The player of sessions: what it waits for, what it says when that does not come."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.guests.session import (
    Clock,
    Ends,
    Failed,
    Keys,
    Player,
    Run,
    Screen,
    Send,
    Serial,
    Session,
    Step,
    WholeScreen,
    differences,
    key_name,
)  # fmt: skip
from tests.guests.sessions import SESSIONS


class Puppet:
    """A VM that says its lines one by one, echoes keys on its screen, and ends when it has said all."""

    tsc_mhz = 500.0

    def __init__(self, lines: Sequence[bytes], status: int = 0) -> None:
        self.serial = bytearray()
        self.sent = bytearray()
        self.shown = ""
        self._lines = list(lines)
        self._at_the_end = status

    def go_on(self) -> None:
        self.serial += self._lines.pop(0)

    def send(self, data: bytes) -> None:
        self.sent += data

    def screen(self) -> list[str]:
        return [self.shown.ljust(80), " " * 80]

    def press(self, key: str) -> None:
        self.shown += {"spc": " ", "ret": ""}.get(key, key.removeprefix("shift-"))

    def screenshot(self, path: Path) -> None:
        path.write_bytes(b"")

    def status(self) -> int | None:
        return None if self._lines else self._at_the_end

    def close(self) -> None:
        self._lines.clear()


def play(vm: Puppet, *steps: Step, patience: float = 5) -> None:
    Player(vm, Path(), patience).play(steps)


def test_a_session() -> None:
    vm = Puppet([b"boot\r\n", b"bt", b"# ", b"echo 4", b"2\r\n42\r\nbt# ", b"\r\nbye"])
    play(
        vm,
        Serial("# "),
        Run("echo 42", r"^\s*42\n"),
        Keys("ab c\n"),
        Screen("^ab c$"),
        Send("x"),
        Serial("bye"),
        Ends(0),
    )
    assert vm.sent == b"echo 42\nx"


def test_a_match_is_not_found_twice() -> None:
    with pytest.raises(Failed, match=r"step 1, Serial\(pattern='once'\): the VM has ended with 0"):
        play(Puppet([b"once\r\n", b"upon a time"]), Serial("once"), Serial("once"))


def test_a_command_is_not_its_own_answer() -> None:
    with pytest.raises(Failed, match="it printed"):
        play(Puppet([b"bt# echo 43\r\n", b"44\r\nbt# ", b""]), Run("echo 43", "43"))


def test_another_status() -> None:
    with pytest.raises(Failed, match=r"step 0, Ends\(status=0\): it ended with 6; on COM1: bytearray|b'"):
        play(Puppet([b"x"], status=6), Ends(0))


def test_patience_ends() -> None:
    with pytest.raises(Failed, match="not within 0 s"):
        play(Puppet([b"x"] * 3), Screen("never"), patience=0)


@pytest.mark.parametrize(
    ("wanted", "is_it"),
    [("CLK ~~~ MHz", True), ("CLK 500 MHz\n", True), ("CLK 501 MHz", False), ("CLK ~~~ MHz ~", True), ("CLK", False)],
)
def test_a_whole_screen(wanted: str, is_it: bool) -> None:
    vm = Puppet([])
    vm.shown = "CLK 500 MHz"
    assert (differences(wanted, "\n".join(vm.screen())) == "") is is_it
    with nullcontext() if is_it else pytest.raises(Failed, match="the VM has ended"):
        play(vm, WholeScreen(wanted))


@pytest.mark.parametrize(("shown", "is_right"), [(496, True), (504, True), (494, False), (506, False)])
def test_a_clock(shown: int, is_right: bool) -> None:
    vm = Puppet([])
    vm.shown = f"CLK {shown} MHz"
    with nullcontext() if is_right else pytest.raises(Failed, match=r"counts 500\.0 MHz"):
        play(vm, Clock(r"CLK +(\d+)"))


@pytest.mark.parametrize(
    ("character", "name"), [("a", "a"), ("A", "shift-a"), ("7", "7"), ("(", "shift-9"), (" ", "spc")]
)
def test_keys(character: str, name: str) -> None:
    assert key_name(character) == name


def test_every_session_has_a_name_of_its_own() -> None:
    names = [session.name for session in SESSIONS]
    assert len(set(names)) == len(names)


def test_a_command_line(tmp_path: Path) -> None:
    session = Session("x", "-M pc -drive file={disk},if=ide -append 'a b'", (), {"disk": lambda scratch: scratch / "d"})
    assert session.command_line(tmp_path) == ["-M", "pc", "-drive", f"file={tmp_path}/d,if=ide", "-append", "a b"]


def test_what_qemu_cannot_take(tmp_path: Path) -> None:
    gzipped, plain = {"kernel": lambda scratch: scratch / "k.gz"}, {"kernel": lambda scratch: scratch / "k"}
    session = Session("x", "-kernel {kernel}", (), gzipped, plain)
    assert session.command_line(tmp_path) == ["-kernel", f"{tmp_path}/k.gz"]
    assert session.command_line(tmp_path, qemu=True) == ["-kernel", f"{tmp_path}/k"]
