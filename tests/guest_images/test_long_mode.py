"""The guests that go to long mode, under both engines and QEMU; where QEMU does otherwise than the manual says."""

from __future__ import annotations

import pytest

import guest_images
from bt.machine import EngineName
from tests.guest_images.test_images import needs_qemu, run_qemu
from tests.guest_images.test_matrices import run

# Probes of long-matrix whose line is another under QEMU 7.2's emulator, and why ours is right.
OTHERWISE_IN_QEMU = {
    0x08: "the error code of a gate is 8 * vector + 2 (SDM vol. 3A 6.13), not 16 *",
    0x09: "the same",
    0x10: "a read-modify-write that faults is a write (SDM vol. 3A 4.7)",
    0x13: "a reserved bit is one of an entry that is present: P is set (SDM vol. 3A 4.7)",
    0x15: "a read-modify-write, as above",
    0x17: "the same",
    0x20: "SYSCALL clears what IA32_FMASK has, and nothing else (SDM vol. 2)",
    0x21: "the same",
    0x24: "SYSRET to an address that is not canonical: Intel's processors fault at level 0",
    0x2C: "a code segment with L and D is no code segment in long mode (SDM vol. 3A 5.2.1)",
    0x37: "a base that is not canonical is #GP(0) (SDM vol. 2, WRMSR)",
    0x3A: "LME does not change while there is paging (SDM vol. 3A 10.8.5)",
}
LAST_IN_QEMU = 0x3A  # it shuts down where PAE is taken away


@pytest.mark.parametrize("engine", ["interp", "bt"])
@pytest.mark.parametrize("name", ["hello64", "long-matrix"])
def test_as_the_manifest_says(engine: EngineName, name: str) -> None:
    image = guest_images.image(name)
    assert run(engine, name, "", "qemu64") == (image.transcript, image.exit_status)


@needs_qemu
def test_qemu_says_the_same_of_each_probe() -> None:
    ours = guest_images.image("long-matrix").transcript.splitlines()[1:-1]
    theirs = run_qemu(guest_images.image("long-matrix").path, cpu="qemu64,vendor=GenuineIntel")[0].splitlines()[1:]
    different = {number for number in range(LAST_IN_QEMU + 1) if ours[number] != theirs[number]}
    assert different == OTHERWISE_IN_QEMU.keys()
