"""What a kernel needs of the x87 to find out whether there is one (SDM vol. 2; vol. 1 8.1).

Room for later: the rest of the escapes D8-DF, which are #UD until then.
"""

from __future__ import annotations

from bt.x86.context import NM, Context, Operand
from bt.x86.system.control_registers import CR0_EM, CR0_MP, CR0_TS

INITIAL_CONTROL, INITIAL_STATUS, INITIAL_TAG = 0x037F, 0, 0xFFFF
CONTROL_WRITABLE, CONTROL_FIXED = 0x1F3F, 0x0040
# Exception flags, stack fault, error summary and busy
STATUS_EXCEPTIONS = 0x80FF


def _require_fpu(b: Context) -> None:
    b.fault_if((b.get("cr0", width=32) & (CR0_EM | CR0_TS)) != 0, NM)


def wait(b: Context) -> None:
    """WAIT: no exception can be pending, because nothing computes yet."""
    both = CR0_MP | CR0_TS
    b.fault_if((b.get("cr0", width=32) & both) == both, NM)


def fninit(b: Context) -> None:
    _require_fpu(b)
    b.put("fpu_control", INITIAL_CONTROL)
    b.put("fpu_status", INITIAL_STATUS)
    b.put("fpu_tag", INITIAL_TAG)


def fnclex(b: Context) -> None:
    _require_fpu(b)
    b.put("fpu_status", b.get("fpu_status") & ~STATUS_EXCEPTIONS)


def fldcw(b: Context, src: Operand) -> None:
    _require_fpu(b)
    b.put("fpu_control", (src.read() & CONTROL_WRITABLE) | CONTROL_FIXED)


def fnstcw(b: Context, dst: Operand) -> None:
    _require_fpu(b)
    dst.write(b.get("fpu_control", width=16))


def fnstsw(b: Context, dst: Operand) -> None:
    _require_fpu(b)
    dst.write(b.get("fpu_status", width=16))
