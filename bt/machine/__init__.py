"""The machine: a PC made of an engine, memory, buses and devices. Read bt/machine/parts.py first.

with Machine(MachineConfig(memory=64 << 20, engine="bt"), serial=print_bytes) as machine:
    machine.load("kernel.elf", append="n=1000")
    result = machine.run(max_insns=10**9)
"""

from bt.machine.config import ClockMode, EngineName, MachineConfig
from bt.machine.machine import Machine
from bt.machine.result import Result

__all__ = ["ClockMode", "EngineName", "Machine", "MachineConfig", "Result"]
