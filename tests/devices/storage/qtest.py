"""QEMU as an oracle for devices: driven through its qtest socket, its processor stopped."""

import shutil
import subprocess

import pytest

QEMU = "qemu-system-i386"
needs_qemu = pytest.mark.skipif(shutil.which(QEMU) is None, reason=f"{QEMU} is not installed")


class Qtest:
    """Ports, memory and interrupt lines of a QEMU machine."""

    def __init__(self, *arguments: str, machine: str = "pc") -> None:
        always = f"-machine {machine} -accel tcg -S -m 16 -nodefaults -display none -qtest stdio"
        self.process = subprocess.Popen(
            [QEMU, *always.split(), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.irq: set[int] = set()  # those that are high, once `watch_irqs` was called

    def ask(self, command: str) -> list[str]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            status, *answer = line.split()
            if status == "IRQ":
                (self.irq.add if answer[0] == "raise" else self.irq.discard)(int(answer[1]))
            elif status in ("OK", "FAIL"):
                assert status == "OK", line
                return answer
        raise EOFError(f"{QEMU} went away at: {command}")

    def watch_irqs(self) -> None:
        self.ask("irq_intercept_in ioapic")

    def inp(self, port: int, size: int) -> int:
        return int(self.ask(f"in{' bw l'[size]} {port:#x}")[0], 16)

    def out(self, port: int, size: int, value: int) -> None:
        self.ask(f"out{' bw l'[size]} {port:#x} {value:#x}")

    def load(self, address: int, size: int) -> int:
        """A device's memory."""
        return int(self.ask(f"read{' bw l'[size]} {address:#x}")[0], 16)

    def store(self, address: int, size: int, value: int) -> None:
        self.ask(f"write{' bw l'[size]} {address:#x} {value:#x}")

    def read(self, paddr: int, n: int) -> bytes:
        return bytes.fromhex(self.ask(f"read {paddr:#x} {n:#x}")[0][2:])

    def write(self, paddr: int, data: bytes) -> None:
        self.ask(f"write {paddr:#x} {len(data):#x} 0x{data.hex()}")

    def step(self, ns: int) -> None:
        """Have QEMU look after its disks. Its clock stands, as the processor does."""
        self.inp(0x84, 1)

    def pci_write(self, device: int, function: int, register: int, size: int, value: int) -> None:
        """Configuration space of bus 0."""
        self.out(0xCF8, 4, 1 << 31 | device << 11 | function << 8 | register & ~3)
        self.out(0xCFC + (register & 3), size, value)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
