"""The guests that print how the processor behaves, under both engines. QEMU and Bochs say the same lines."""

from __future__ import annotations

import pytest

import guest_images
from bt.machine import EngineName, Machine, MachineConfig
from bt.x86 import cpu_model
from tests.guest_images.matrices import NX_GUEST, NX_OPTIONS, NX_TRANSCRIPT, OPTIONS, transcript
from tests.guest_images.test_images import needs_qemu, run_qemu

MEMORY = 16 << 20
MOST_INSTRUCTIONS = 100_000_000
SUCCESS = 1


def run(engine: EngineName, name: str, options: str, cpu: str = cpu_model.DEFAULT) -> tuple[str, int]:
    """Serial output and exit status of a built-in guest."""
    output = bytearray()
    machine = Machine(MachineConfig(memory=MEMORY, engine=engine, cpu=cpu), serial=output.append)
    machine.load(guest_images.image(name).read(), append=options)
    result = machine.run(max_insns=MOST_INSTRUCTIONS)
    machine.close()
    return output.decode("ascii"), result.status


@pytest.mark.parametrize("engine", ["interp", "bt"])
@pytest.mark.parametrize("name", OPTIONS)
def test_engine_agrees_with_qemu(engine: EngineName, name: str) -> None:
    """The manifest's transcript is also what QEMU says: test_images.py."""
    assert run(engine, name, "") == (guest_images.image(name).transcript, SUCCESS)


@pytest.mark.parametrize("engine", ["interp", "bt"])
@pytest.mark.parametrize(("name", "options"), OPTIONS.items())
def test_engine_agrees_with_bochs(engine: EngineName, name: str, options: str) -> None:
    """What Bochs says too: test_bochs.py."""
    assert run(engine, name, options) == (transcript(name), SUCCESS)


@pytest.mark.parametrize("engine", ["interp", "bt"])
def test_execute_disable(engine: EngineName) -> None:
    assert run(engine, NX_GUEST, NX_OPTIONS, "pentium4,+nx") == (transcript(NX_TRANSCRIPT), SUCCESS)


@needs_qemu
def test_qemu_agrees_on_execute_disable() -> None:
    image = guest_images.image(NX_GUEST)
    assert run_qemu(image.path, "nx=on", "qemu32,+nx") == run("bt", NX_GUEST, "nx=on", "pentium4,+nx")


@pytest.mark.parametrize("engine", ["interp", "bt"])
def test_the_boot_sector(engine: EngineName) -> None:
    image = guest_images.image("bootsector")
    assert run(engine, image.name, "") == (image.transcript, image.exit_status)
