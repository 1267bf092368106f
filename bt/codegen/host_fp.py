"""The host's FP state instructions as functions of the C convention, in machine code.

The rest of our code is compiled without any FP instruction (llvm.py), and LLVM would not assemble these for it.
Specific to x86-64 hosts, like everything that executes guest FP instructions on the host.
"""

from __future__ import annotations

from bt.codegen.abi import Signature
from bt.codegen.objectfile import CodePiece
from bt.codegen.value import PTR

_RETURN = b"\xc3"
_ALIGNMENT = 16
_CODE = {
    # one argument, rdi: memory
    "host_fxsave": "480fae07",  # fxsave64 [rdi]: 512 bytes, aligned to 16; looks at no pending exception
    "host_fxrstor": "480fae0f",
    "host_fnstenv": "d937",  # 28 bytes; masks all exceptions
    "host_fldenv": "d927",
    "host_fnsave": "dd37",  # 108 bytes; then as FNINIT
    "host_frstor": "dd27",
    "host_fnstcw": "d93f",
    "host_fldcw": "d92f",
    "host_fnstsw": "dd3f",
    "host_stmxcsr": "0fae1f",
    "host_ldmxcsr": "0fae17",
    "host_fnclex": "dbe2",
    "host_fninit": "dbe3",
}

PIECES = {name: CodePiece(bytes.fromhex(code) + _RETURN, (), _ALIGNMENT) for name, code in _CODE.items()}

(
    FXSAVE,
    FXRSTOR,
    FNSTENV,
    FLDENV,
    FNSAVE,
    FRSTOR,
    FNSTCW,
    FLDCW,
    FNSTSW,
    STMXCSR,
    LDMXCSR,
    FNCLEX,
    FNINIT,
) = (Signature(name, "void", () if name in ("host_fnclex", "host_fninit") else (PTR,)) for name in _CODE)
