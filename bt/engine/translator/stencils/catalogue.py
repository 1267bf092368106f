"""All stencils by name, and how each is made.

A *stencil* is one meaning with its operands settled as far as that pays: registers by number, immediates as holes, the
memory operand as the address in T.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bt.codegen.abi import FLAT_32, RegisterPlan
from bt.codegen.builder import Module
from bt.codegen.objectfile import CodePiece
from bt.engine.translator.stencils.context import StencilContext
from bt.engine.translator.stencils.raw import raw_pieces

Emit = Callable[[StencilContext], None]


@dataclass
class Catalogue:
    """Stencils, each with what builds it and the attributes of its context."""

    plan: RegisterPlan = FLAT_32
    stencils: dict[str, tuple[Emit, dict[str, Any]]] = field(default_factory=dict)
    raw: dict[str, CodePiece] = field(init=False)  # encoded by us, not by LLVM

    def __post_init__(self) -> None:
        self.raw = dict(raw_pieces(self.plan))

    def add(self, name: str, emit: Emit, **attributes: Any) -> str:
        """Enter a stencil unless it is there already; answers its name."""
        if name not in self.raw:
            self.stencils.setdefault(name, (emit, attributes))
        return name

    def emit(self, module: Module, name: str) -> None:
        """Add one stencil to a module."""
        emit, attributes = self.stencils[name]
        b = StencilContext(module, self.plan.signature(name), plan=self.plan, **attributes)
        emit(b)
        b.proceed()
        b.finish()
