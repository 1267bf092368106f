"""Services of the built-in BIOS give what Debian's SeaBIOS gives: registers, and memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bt.machine.media import Drive
from tests.firmware.builtin.against_seabios import ALL, GROUPS, Case
from tests.firmware.builtin.calls import Answer, Caller, started
from tests.firmware.seabios import needs_seabios

FLOPPY_SECTORS = 2880


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Caller]]:
    folder = tmp_path_factory.mktemp("disks")
    floppy = folder / "floppy"
    floppy.write_bytes(b"".join(number.to_bytes(4, "little") * 128 for number in range(FLOPPY_SECTORS)))
    drive = Drive(str(floppy), "floppy", snapshot=True)
    with started(folder, None, drive) as theirs, started(folder, "builtin", drive) as ours:
        yield {"SeaBIOS": theirs, "builtin": ours}


@needs_seabios
@pytest.mark.parametrize("group", GROUPS)
def test_services(machines: dict[str, Caller], group: str) -> None:
    compare(machines, GROUPS[group])


@needs_seabios
def test_services_of_a_virtio_disk(tmp_path: Path) -> None:
    with (
        started(tmp_path, None, interface="virtio") as theirs,
        started(tmp_path, "builtin", interface="virtio") as ours,
    ):
        compare({"SeaBIOS": theirs, "builtin": ours}, GROUPS["disk"])


def compare(machines: dict[str, Caller], cases: Sequence[Case]) -> None:
    differences = []
    for case in cases:
        theirs, ours = (answer(machines[name], case) for name in ("SeaBIOS", "builtin"))
        differences += [f"{case.name}: {each}" for each in difference(case, theirs, ours)]
    assert not differences, "\n".join(differences)


def answer(caller: Caller, case: Case) -> tuple[Answer, list[bytes]]:
    for address, data in case.before.items():
        caller.write(address, data)
    answer = caller.call(case.vector, **case.registers)
    return answer, [caller.read(address, n) for address, n in case.memory]


def difference(case: Case, theirs: tuple[Answer, list[bytes]], ours: tuple[Answer, list[bytes]]) -> Iterator[str]:
    if not (theirs[0].came_back and ours[0].came_back):
        yield f"came back: SeaBIOS {theirs[0].came_back}, builtin {ours[0].came_back}"
        return
    for name in ALL:
        if name not in case.but and (here := getattr(ours[0], name)) != (there := getattr(theirs[0], name)):
            yield f"{name} SeaBIOS {there:x}, builtin {here:x}"
    for (address, _), there_bytes, here_bytes in zip(case.memory, theirs[1], ours[1], strict=True):
        differing = [at for at, (a, b) in enumerate(zip(there_bytes, here_bytes, strict=True)) if a != b]
        if differing:
            at = differing[0]
            yield (
                f"{len(differing)} bytes from {address + at:x} on: SeaBIOS {there_bytes[at : at + 8].hex()}, "
                f"builtin {here_bytes[at : at + 8].hex()}"
            )
