"""Instructions that raise, take and leave interrupts (SDM vol. 2: INT n, IRET, UD, SYSENTER, SYSEXIT)."""

from __future__ import annotations

from bt.codegen.value import Value
from bt.x86 import flags
from bt.x86.context import BP, DB, OF, UD, Context, Operand
from bt.x86.services import DELIVER_INTERRUPT, INT_EXCEPTION, INT_SOFTWARE
from bt.x86.system.fast_system_call import SYSTEM_CALL_ENTER, SYSTEM_CALL_EXIT
from bt.x86.system.interrupts.breakpoints import report_debug_exception
from bt.x86.system.interrupts.virtual_8086 import SOFTWARE_INTERRUPT
from bt.x86.system.long_mode.system_call import SYSCALL, SYSRET
from bt.x86.system.segmentation.returns import INTERRUPT_RETURN


def _trap(b: Context, vector: int | Value, kind: int) -> None:
    b.attempt(DELIVER_INTERRUPT, b.cpu, vector, kind, b.next_eip().zext(64))
    b.resume()


def int_(b: Context, vector: Operand) -> None:
    """INT n: a gate with DPL below CPL is #GP(n * 8 + 2). Sensitive to IOPL in virtual-8086 mode, as INT3 is not."""
    b.attempt(SOFTWARE_INTERRUPT, b.cpu, vector.read().zext(32), b.next_eip().zext(64))
    b.resume()


def int3(b: Context) -> None:
    _trap(b, BP, INT_SOFTWARE)


def into(b: Context) -> None:
    """INTO: #OF if OF is set."""
    with b.Unlikely(flags.overflow(b)):
        _trap(b, OF, INT_SOFTWARE)


def int1(b: Context) -> None:
    """INT1 (ICEBP): a debug exception that looks at no DPL and has no bit in DR6.

    The data breakpoint of a MOV SS or POP SS before it has waited for it: both are one exception. (INT 1 is an
    interrupt, and the breakpoint's exception comes before its handler's first instruction.)
    """
    waiting = b.get("debug_hits")
    b.put("debug_hits", 0)
    b.attempt(DELIVER_INTERRUPT, b.cpu, DB, INT_EXCEPTION, b.next_eip().zext(64))
    report_debug_exception(b, waiting)
    b.resume()


def iret(b: Context) -> None:
    """IRET: NMIs may come again whatever becomes of it (SDM vol. 3A 6.7.1)."""
    b.put("nmi_blocked", 0)
    b.attempt(INTERRUPT_RETURN, b.cpu, b.operand_size, b.next_eip().zext(64))
    b.resume()


def ud(b: Context, *operands: Operand) -> None:
    """UD0, UD1, UD2 and every encoding nobody owns. The operands are not accessed."""
    b.fault(UD)


def sysenter(b: Context) -> None:
    b.attempt(SYSTEM_CALL_ENTER, b.cpu)
    b.resume()


def sysexit(b: Context) -> None:
    """SYSEXIT: a 64-bit operand size leads to 64-bit mode."""
    b.attempt(SYSTEM_CALL_EXIT, b.cpu, b.operand_size)
    b.resume()


def syscall(b: Context) -> None:
    b.attempt(SYSCALL, b.cpu, b.next_eip().zext(64))
    b.resume()


def sysret(b: Context) -> None:
    """SYSRET: a 64-bit operand size leads to 64-bit mode, any other to compatibility mode."""
    b.attempt(SYSRET, b.cpu, b.operand_size)
    b.resume()
