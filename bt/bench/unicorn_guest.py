"""`python -m bt.bench.unicorn_guest IMAGE APPEND`: a built-in guest under Unicorn, for comparison.

Unicorn is a processor without a machine: ports are hooks here, and only guests that take no interrupts run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import unicorn
from unicorn import x86_const

from bt.boot.detect import load

MEMORY_BYTES = 128 << 20
UART, LINE_STATUS, DEBUG_EXIT = 0x3F8, 0x3FD, 0xF4
TRANSMITTER_EMPTY = 0x60


class UnicornRam:
    """Unicorn's memory as the loaders want to see it."""

    def __init__(self, cpu: unicorn.Uc, size: int) -> None:
        self.cpu = cpu
        self.size = size
        cpu.mem_map(0, size)

    def read(self, paddr: int, n: int) -> bytes:
        return bytes(self.cpu.mem_read(paddr, n))

    def write(self, paddr: int, data: bytes) -> None:
        self.cpu.mem_write(paddr, bytes(data))


def main(arguments: Sequence[str]) -> int:
    image, append = arguments
    cpu = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_32)
    entry = load(image, UnicornRam(cpu, MEMORY_BYTES), append=append)
    status: list[int] = []

    def on_out(uc: unicorn.Uc, port: int, size: int, value: int, _: object) -> None:
        if port == UART:
            sys.stdout.write(chr(value & 0xFF))
        elif port == DEBUG_EXIT:
            status.append(value << 1 & 0xFF | 1)
            uc.emu_stop()

    def on_in(uc: unicorn.Uc, port: int, size: int, _: object) -> int:
        return TRANSMITTER_EMPTY if port == LINE_STATUS else 0

    cpu.hook_add(unicorn.UC_HOOK_INSN, on_out, None, 1, 0, x86_const.UC_X86_INS_OUT)
    cpu.hook_add(unicorn.UC_HOOK_INSN, on_in, None, 1, 0, x86_const.UC_X86_INS_IN)
    for name, value in entry.gpr.items():
        cpu.reg_write(getattr(x86_const, f"UC_X86_REG_{name.upper()}"), value)
    cpu.reg_write(x86_const.UC_X86_REG_EFLAGS, entry.eflags)
    cpu.emu_start(entry.eip, MEMORY_BYTES)
    return status[0] if status else 255


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
