"""Real, virtual-8086 and 16-bit protected mode, a line each, under both engines."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from bt.x86.state import GPR_NAMES, SEGMENT_NAMES
from guest_images.assembler import assemble
from tests.oracles.qemu_stub import QEMU, QemuStub
from tests.x86.system.lines import Line, run_line
from tests.x86.system.processor import Processor
from tests.x86.system.sixteen_bit import HANDLERS, SELECTORS, STACK_TOP
from tests.x86.system.sixteen_bit_cases import LIMITS, PROTECTED, REAL, VIRTUAL_8086


def cases(text: str, mode: str) -> list[str]:
    """Lines with their mode."""
    return [line.strip().replace("|", f"| mode={mode}", 1) for line in text.strip().splitlines()]


@pytest.mark.parametrize(
    "text",
    [
        *cases(REAL, "real"),
        *cases(LIMITS, "real"),
        *cases(VIRTUAL_8086, "v86"),
        *cases(PROTECTED, "protected16"),
    ],
)
def test_line(engine: Processor, text: str) -> None:
    run_line(engine, text)


# -- QEMU as judge ----------------------------------------------------------------------------------------------------

_CLEAN = ((0x1FF00, 0x200), (0x10000, 0x200), (0x20000, 0x200), (0x28000, 0x200), (0x2FF00, 0x200), (0x37F00, 0x200))


@pytest.fixture(scope="module")
def qemu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QemuStub]:
    if QEMU is None:
        pytest.skip("qemu-system-i386 is not installed")
    with QemuStub(tmp_path_factory.mktemp("qemu")) as stub:
        yield stub


@pytest.mark.parametrize("text", cases(REAL, "real"))
def test_qemu_agrees(qemu: QemuStub, text: str) -> None:
    line = Line.parse(text)
    setup = {name: value for name, value in line.setup.items() if name not in ("mode", "deliver")}
    at = int(setup.pop("at", "0"), 16)
    if "a20" in setup or "exit" in line.result or "cr0" in line.setup:
        pytest.skip("not to be set or seen by the stub")
    code = assemble(line.code, 16, at)
    for address, size in _CLEAN:
        qemu.write(address, bytes(size))
    qemu.write(0, b"".join(struct.pack("<HH", vector, HANDLERS) for vector in range(256)))
    selectors = {SEGMENT_NAMES[number]: selector for number, selector in SELECTORS.items()}
    registers = dict.fromkeys(GPR_NAMES, 0) | selectors | {"esp": STACK_TOP, "eip": at, "eflags": 2}
    for name, value in setup.items():
        if name in registers:
            registers[name] = int(value, 16)
        else:
            qemu.write(int(name.strip("[]"), 16), bytes.fromhex(value))
    qemu.write(registers["cs"] * 16 + at, code)
    qemu.set_registers(registers)
    qemu.step()
    found = qemu.registers()
    if line.fault is not None:
        assert (found["cs"], found["eip"]) == (HANDLERS, line.fault[0])
        return
    expected = {name: registers[name] for name in GPR_NAMES} | {"eip": at + len(code)}
    expected |= {name: int(value, 16) for name, value in line.result.items() if name in found}
    assert {name: found[name] for name in expected} == expected
    for name, value in line.result.items():
        if name.startswith("["):
            assert qemu.read(int(name.strip("[]"), 16), len(value) // 2).hex() == value
