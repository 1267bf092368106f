"""Programs of FP instructions for a bare processor: where they lie, what is set up before them."""

from __future__ import annotations

from bt.x86.exits import ExitReason
from bt.x86.state import EBX, EDI
from guest_images.assembler import assemble
from tests.x86.system.processor import Processor

ORIGIN, DATA = 0x10000, 0x8000
CR4_FP = 0x600
ALL_MASKED = 0x37F
ALL_UNMASKED = 0x340, 0  # x87 control word, MXCSR
EMPTY_STACK = ALL_MASKED  # first word of an FXSAVE image


def start(engine: Processor, source: str, *, ebx: int = DATA) -> bytes:
    """Put code at ORIGIN and the processor there, FP usable and initialised; answers the code."""
    code = assemble(source.replace("; ", "\n"), 32, ORIGIN)
    engine.ram.write(ORIGIN, code + b"\xf4")
    cpu = engine.cpu
    cpu["cr4"], cpu["eip"], cpu["gpr", EBX], cpu["gpr", EDI] = CR4_FP, ORIGIN, ebx, ebx
    cpu["fpu_control"], cpu["fp_image", 0] = ALL_MASKED, EMPTY_STACK
    engine.vcpu.flush()
    return code


def run(engine: Processor) -> None:
    """Run up to the HLT behind the program."""
    assert engine.vcpu.run(100_000).reason is ExitReason.HLT
