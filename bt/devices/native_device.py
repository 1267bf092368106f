"""What the native code of devices is written against."""

from __future__ import annotations

from collections.abc import Iterable

from bt.clock.virtual_clock import NS_PER_SECOND
from bt.codegen.builder import Module
from bt.codegen.value import PTR, Value
from bt.devices.native import NativeCode
from bt.devices.shared import Field
from bt.memory.access import NativeContext
from bt.memory.native_registers import ASK, SERVE
from bt.x86.context import OK
from bt.x86.system.registers.timestamp import time_ns


class NativeDevice(NativeContext):
    """One access to a register: every way through the code ends with `answer`, `done` or `ask`."""

    @property
    def block(self) -> Value:
        """Pointer to what the device shares."""
        return self.arguments[1]

    @property
    def offset(self) -> Value:
        """i32."""
        return self.arguments[2]

    @property
    def size(self) -> Value:
        """Bytes, i32."""
        return self.arguments[3]

    @property
    def written(self) -> Value:
        """Value of a write, zero-extended to i64."""
        return self.arguments[4]

    # -- what is shared -----------------------------------------------------------------------------------------------

    def word(self, field: Field, block: Value | None = None, place: int = 0) -> Value:
        """A shared attribute, or word `place` of one that has several; of another block than the device's if given."""
        return self.load((self.block if block is None else block) + (field.offset + 8 * place), 64)

    def is_set(self, field: Field, block: Value | None = None) -> Value:
        """Whether a shared attribute is not 0, i1."""
        return self.word(field, block) != 0

    def other_block(self, field: Field) -> Value:
        """Pointer to another block, whose address is a shared attribute."""
        return self.load(self.block + field.offset, PTR)

    def set_word(self, field: Field, value: Value | int, block: Value | None = None, place: int = 0) -> None:
        value = self.const(value, 64) if isinstance(value, int) else value.zext(64)
        self.store((self.block if block is None else block) + (field.offset + 8 * place), value)

    # -- time ---------------------------------------------------------------------------------------------------------

    def now_ns(self) -> Value:
        """The clock's time as the Python model would read it: that of the instruction's beginning, and what earlier
        accesses of the same instruction took (i64)."""
        now = time_ns(self, self.get("accessed_at") - 1)
        return now + self.select(self.get("clock_scale") == 0, self.get("access_ns"), 0)

    def periods(self, now_ns: Value, hz: Value | int) -> Value:
        """`Oscillator.ticks`: whole periods of `hz` (up to 2**33) so far, i64. Exact for 500 years."""
        seconds, rest = now_ns.udiv(NS_PER_SECOND), now_ns.urem(NS_PER_SECOND)
        return seconds * hz + (rest * hz).udiv(NS_PER_SECOND)

    # -- how it ends --------------------------------------------------------------------------------------------------

    def answer(self, value: Value | int) -> None:
        """What a read returns."""
        self.put("memory_value", value)
        self.ret(OK)

    def done(self) -> None:
        """A write has had its effect."""
        self.ret(OK)

    def ask(self) -> None:
        """Python answers; nothing has been changed."""
        self.ret(ASK)

    def ask_if(self, condition: Value) -> None:
        with self.Unlikely(condition):
            self.ask()

    def ask_unless_size(self, size: int) -> None:
        self.ask_if(self.size != size)


def device_module(codes: Iterable[NativeCode]) -> Module:
    """The functions as one module."""
    module = Module("devices")
    for code in codes:
        b = NativeDevice(module, SERVE._replace(name=code.name), "#1")
        code.body(b)
        b.finish()
    return module
