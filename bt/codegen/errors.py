"""The one error the code generator raises for anything it cannot make, read or link."""

from bt.errors import BtError


class CodegenError(BtError):
    """IR that LLVM refuses, an object file that is damaged or uses what the arena has not, a symbol out of reach."""
