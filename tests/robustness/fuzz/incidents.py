"""What happens behind a loop of plots.py: faults of every kind, system instructions, other modes and levels.

Most of it ends in a fault or elsewhere; what does not goes on behind it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from random import Random

from bt.x86 import flags
from bt.x86.opcodes import EFLAGS_BITS, PLAIN_FORMS, Form, Method, Width
from bt.x86.opcodes.encoding import parse_encoding
from bt.x86.system.registers import control_registers as cr
from tests.robustness.fuzz import long_world, world
from tests.robustness.fuzz.plots import Encoder, Memory

_AX, _CX, _DX, _BX, _SP, _BP, _SI, _DI = range(8)
_NOT_CANONICAL = (0x8000_0000_0000, 0xFFFF_7FFF_FFFF_FFF8, 0x7FFF_FFFF_FFFC, 0x1234_5678_9ABC_DEF0, 1 << 63)
_MSRS = (
    0x10,
    0x1B,
    0x174,
    0x175,
    0x176,
    0x277,
    *range(0xC000_0080, 0xC000_0085),
    0xC000_0100,
    0xC000_0101,
    0xC000_0102,
)
_SIZES = (16, 32, 64)
_OVERRIDES = (0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65)
_CR0_BITS = (cr.CR0_WP, cr.CR0_TS, cr.CR0_EM, cr.CR0_MP, cr.CR0_NE, cr.CR0_AM, cr.CR0_CD, cr.CR0_PG, cr.CR0_PE)


@cache
def _forms(long: bool) -> tuple[Form, ...]:
    """That code of this kind has."""
    return tuple(form for form in PLAIN_FORMS if form.long != "gone" or not long)


class Incidents(Encoder):
    """Sequences for code of `bits`."""

    def __init__(self, random: Random, bits: int) -> None:
        super().__init__(random, bits)
        menu: tuple[tuple[float, Callable[[], bytes]], ...] = (
            (10, self._wild),
            (4, self._access),
            (3, self._fetch),
            (2, self._software_interrupt),
            (2, self._simple),
            (2, self._control_register),
            (2, self._model_specific),
            (2, self._far_return),
            (3, self._interrupt_return),
            (2, self._flags),
            (1, self._segment),
            (1, self._ports),
            (1, self._descriptor_table),
            (2, self._self_modifying),
            (1.5, self._page_tables),
            (0.7, self._debug_register),
            (1, self._string),
            (2, self._system_call),
            (0.5, lambda: self.random.randbytes(self.random.randrange(1, 12))),
            *(((3, self._not_canonical), (2, self._system_return), (1, self._bases)) if bits == 64 else ()),
        )
        self._menu = menu
        self._weights = [weight for weight, _ in menu]

    def any(self) -> bytes:
        """One of them."""
        return self.random.choices(self._menu, self._weights)[0][1]()

    def hop(self, target_bits: int, address: int) -> bytes:
        """To code of another size at the same level: RETF. SS is made a good one."""
        kernel, user = (long_world.CODE_SEGMENTS[target_bits, level] for level in (0, 3))
        code = b"\x8c\xc8\xa8\x03"  # mov eax, cs; test al, 3
        for of_kernel, of_user in ((long_world.KERNEL_DATA, long_world.USER_DATA), (kernel, user)):
            code += self.set(_AX, of_kernel, short=True) + self.set(_CX, of_user, short=True) + b"\x0f\x45\xc1"
            code += b"\x8e\xd0\x8c\xc8\xa8\x03" if of_kernel == long_world.KERNEL_DATA else b""
        code += self.set(_SP, world.STACK_TOPS[2] - 0x80, short=True)
        wide = b"\x66" if self.bits == 16 else b""
        code += wide + b"\x50" + wide + b"\x68" + struct.pack("<I", address)
        return code + {16: b"\x66\xcb", 32: b"\xcb", 64: b"\x48\xcb"}[self.bits]

    def data_segments(self) -> bytes:
        """What compatibility mode needs of DS, ES, FS and GS."""
        selector = long_world.USER_DATA_16 if self.bits == 16 else long_world.USER_DATA
        code = b"\xb8" + selector.to_bytes(2 if self.bits == 16 else 4, "little")
        return code + b"\x8e\xd8\x8e\xc0" + (b"\x8e\xe0\x8e\xe8" if self.chance(0.5) else b"")

    # -- pieces ------------------------------------------------------------------------------------------------------

    def _push(self, value: int) -> bytes:
        """A quadword or doubleword, by way of AX where 32 bits with a sign are not enough."""
        if self.bits != 64:
            return (b"\x66" if self.bits == 16 else b"") + b"\x68" + struct.pack("<I", value & 0xFFFFFFFF)
        if -(1 << 31) <= value < 1 << 31:
            return b"\x68" + struct.pack("<i", value)
        return self.set(_AX, value) + b"\x50"

    def _address(self) -> int:
        """Of data, mostly."""
        random = self.random
        kind = random.random()
        if self.bits == 16:
            return random.getrandbits(16)
        if kind < 0.4:
            return world.DATA + random.randrange(0x8000)
        if kind < 0.5:
            return random.randrange(world.RAM_BYTES)
        if kind < 0.65:
            return random.randrange(4 << 20) + random.choice((0, 0, 2 << 20, random.getrandbits(9) << 21))
        if self.bits == 32:
            return random.choice((random.getrandbits(32), 0xFFFFFFFF - random.randrange(16)))
        if kind < 0.8:
            return long_world.HIGH + world.DATA + random.randrange(0x8000)
        if kind < 0.9:
            return random.choice(_NOT_CANONICAL) - random.randrange(16)
        number = random.getrandbits(48)
        return number | (number >> 47) * (0xFFFF << 48)

    def _plot(self, bits: int = 0) -> int:
        return long_world.plot_address(self.random, bits or self.bits)

    def _eflags(self) -> int:
        image = self.random.getrandbits(12) & flags.ARITHMETIC | 2
        for letter, bit in EFLAGS_BITS.items():
            chance = {"i": 0.8, "t": 0.05, "n": 0.05, "v": 0.02, "l": 0.3, "k": 0.05}.get(letter, 0.1)
            image |= bit * self.chance(chance)
        return image

    # -- faults ------------------------------------------------------------------------------------------------------

    def _wild(self) -> bytes:
        """An instruction of any form, with prefixes, REX and any operands."""
        random, form = self.random, self.random.choice(_forms(self.bits == 64))
        encoding = parse_encoding(form.encoding)
        prefixes = [encoding.prefix] if encoding.prefix else []
        size = self.chance(0.15) and not form.chosen_by_prefix
        address_size = self.chance(0.07)
        prefixes += [0x66] * size + [0x67] * address_size
        prefixes += [random.choice(_OVERRIDES)] * self.chance(0.1) + [0xF0] * self.chance(0.2 if form.lock else 0.02)
        if self.chance(0.4 if form.rep else 0.01):
            prefixes.append(random.choice((0xF2, 0xF3)))
        random.shuffle(prefixes)
        rex = 0x40 | random.getrandbits(4) if self.bits == 64 and self.chance(0.6) else 0
        code = bytes(prefixes) + (bytes([rex]) if rex else b"") + encoding.escape
        code += bytes([random.choice(encoding.opcodes)])
        if encoding.modrm:
            shapes = [register for register in encoding.mods if not (register and form.memory_only)]
            register = shapes[0] if len(shapes) == 1 else self.chance(0.4)
            middle = random.choice(encoding.regs) << 3
            rm = random.choice(encoding.rms)
            code += bytes([0xC0 | middle | rm]) if register else self._any_memory(middle, rm, address_size)
        wide = 8 if rex & 8 else 2 if size != (self.bits == 16) else 4
        return code + self._immediates(form, wide, address_size)

    def _any_memory(self, middle: int, rm: int, address_size: bool) -> bytes:
        """ModRM and what follows it."""
        random, mod = self.random, self.random.randrange(3)
        code = bytes([mod << 6 | middle | rm])
        if (self.bits == 16) != (address_size and self.bits != 64):
            small = 2 if mod == 2 or (mod == 0 and rm == 6) else mod
            return code + random.randbytes(small)
        base = rm
        if rm == 4:
            code += bytes([random.getrandbits(8)])
            base = code[-1] & 7
        if mod == 1:
            return code + random.randbytes(1)
        if mod == 2 or base == 5:
            return code + struct.pack(
                "<i", random.choice((world.DATA + 0x3000, -0x80, 0x40, random.randrange(1 << 20)))
            )
        return code

    def _immediates(self, form: Form, wide: int, address_size: bool) -> bytes:
        code = b""
        for operand in form.operands:
            match operand.method:
                case Method.OFFSET:
                    size = {64: 8, 32: 4, 16: 2}[self.bits]
                    size = {8: 4, 4: 2, 2: 4}[size] if address_size else size
                    code += (self._address() & (1 << 8 * size) - 1).to_bytes(size, "little")
                case Method.FAR_POINTER:
                    code += self._plot().to_bytes(min(wide, 4), "little") + struct.pack("<H", self._selector())
                case Method.RELATIVE:
                    size = 1 if operand.width is Width.B else 4 if self.bits == 64 else min(wide, 4)
                    code += self.random.randrange(-64, 64).to_bytes(size, "little", signed=True)
                case Method.IMMEDIATE:
                    sizes = {Width.B: 1, Width.BS: 1, Width.W: 2, Width.Z: min(wide, 4), Width.V: wide}
                    code += self.random.randbytes(sizes.get(operand.width, min(wide, 4)))
        return code

    def _selector(self) -> int:
        random = self.random
        if self.chance(0.4):
            return random.choice(tuple(long_world.CODE_SEGMENTS.values()))
        return random.choice(long_world.SELECTORS) | random.choice((0, 0, 3, 1, 4))

    def _access(self) -> bytes:
        """By an address that may be anything."""
        size = self.random.choice(_SIZES if self.bits == 64 else _SIZES[:2])
        opcode = self.random.choice((b"\x8b", b"\x89", b"\x03", b"\x01", b"\x87", b"\xff", b"\x0f\xb1"))
        reg = 0 if opcode == b"\xff" else _DX
        point = self.set(_BX, self._address())
        return point + self.encode(opcode, reg, Memory(_BX, self.random.randrange(-8, 8)), size)

    def _fetch(self) -> bytes:
        """On where no code is, or not for this level, or where it may not be executed; or code at another address."""
        random = self.random
        target = self._address()
        if self.bits == 64 and self.chance(0.4):
            target = random.choice((long_world.HIGH, 0x7F80_0000_0000, 0xFFFF_FF80_0000_0000)) + self._plot()
        how = random.choice((b"\xff\xe0", b"\xff\xd0", b"\x50\xc3"))
        return self.set(_AX, target) + (b"\x66" if self.bits == 16 and how[0] == 0x50 else b"") + how

    def _not_canonical(self) -> bytes:
        """Accesses, transfers and stacks where there are no addresses."""
        random, address = self.random, self.random.choice(_NOT_CANONICAL)
        return random.choice(
            (
                self.set(_AX, address) + random.choice((b"\x48\x8b\x00", b"\x48\x89\x00", b"\xff\xe0", b"\xff\xd0")),
                self.set(_AX, address) + b"\x50" + random.choice((b"\xc3", b"\xcb", b"\x9d")),
                self.set(_SP, address) + random.choice((b"\x50", b"\x58", b"\xe8\0\0\0\0", b"\xc3", b"\xcc", b"\x9c")),
                self.set(_BP, address) + random.choice((b"\x48\x8b\x45\x00", b"\xc9", b"\x48\x01\x6d\x10")),
                self.set(_SI, address) + self.set(_CX, 3) + b"\xf3\xa4",
                self.set(_AX, address) + b"\x0f\x01\x38",  # invlpg
                b"\x64\x48\xa1" + struct.pack("<Q", address),
            )
        )

    def _software_interrupt(self) -> bytes:
        vector = self.random.choice((world.TIMER, world.MOVER, 3, 4, 0x80, self.random.randrange(0x22, 0x40)))
        return self.random.choice((b"\xcc", b"\xce", b"\xf1", bytes([0xCD, vector]), bytes([0xCD, vector])))

    def _simple(self) -> bytes:
        simple = (
            b"\x0f\x0b", b"\xf4", b"\xfa", b"\xfb", b"\xfb\xf4", b"\xfd", b"\x0f\xa2", b"\x0f\x31", b"\x0f\x09",
            b"\x0f\x06", b"\x31\xd2\x31\xdb\xf7\xf3", b"\x31\xd2\x31\xdb\xf7\xfb", b"\x9b", b"\xdb\xe3", b"\x0f\x77",
            b"\xf3\x90", b"\x0f\xae\xf0", b"\x0f\x01\xe0", b"\x31\xc0\x0f\x01\xf0", b"\x0f\x05",
        )  # fmt: skip
        return self.random.choice(simple)

    # -- system ------------------------------------------------------------------------------------------------------

    def _control_register(self) -> bytes:
        random = self.random
        kind = random.random()
        if kind < 0.3:
            bits = struct.pack("<I", random.choice(_CR0_BITS))
            wide = b"\x66" if self.bits == 16 else b""
            return b"\x0f\x20\xc0" + wide + b"\x35" + bits + b"\x0f\x22\xc0"
        if kind < 0.5:
            bits = struct.pack("<I", 1 << random.choice((2, 3, 4, 7, 8, 9, 10, random.randrange(32))))
            wide = b"\x66" if self.bits == 16 else b""
            return b"\x0f\x20\xe0" + wide + b"\x35" + bits + b"\x0f\x22\xe0"
        if kind < 0.8:
            directory = random.choice((*long_world.DIRECTORIES, *long_world.DIRECTORIES, 1 << 51, world.DATA))
            return self.set(_AX, directory if self.bits == 64 else directory & 0xFFFFFFFF) + b"\x0f\x22\xd8"
        if self.bits == 64 and kind < 0.95:
            value = random.choice((0, 3, 15, 16, random.getrandbits(64)))
            return self.set(_AX, value) + b"\x44\x0f\x22\xc0\x44\x0f\x20\xc3"
        return random.choice((b"\x0f\x20\xd8\x0f\x22\xd8", b"\x0f\x20\xd0", b"\x0f\x22\xc8"))

    def _model_specific(self) -> bytes:
        random = self.random
        code = self.set(_CX, random.choice(_MSRS) if self.chance(0.95) else random.getrandbits(13), short=True)
        if self.chance(0.3):
            return code + b"\x0f\x32"
        value = random.choice((0, 0x1000, 0x4000, 0xD01, 0x501, self._plot(), long_world.HIGH, *_NOT_CANONICAL[:2]))
        return code + self.set(_DX, value >> 32, short=True) + self.set(_AX, value, short=True) + b"\x0f\x30"

    def _frame_of(self, bits: int, level: int) -> tuple[int, int, int]:
        """CS, RIP, SS."""
        address = self._plot(bits)
        if bits == 64 and self.bits == 64 and self.chance(0.15):
            address = self.random.choice((address + long_world.HIGH, *_NOT_CANONICAL))
        selector = long_world.CODE_SEGMENTS[bits, level] if self.chance(0.85) else self._selector()
        stack = long_world.USER_DATA if level else self.random.choice((long_world.KERNEL_DATA, 0))
        return selector, address, stack if self.chance(0.9) else self._selector()

    def _level(self) -> int:
        return self.random.choice((0, 3, 3))

    def _far_return(self) -> bytes:
        """RETF to any size and level."""
        bits = self.random.choice(_SIZES)
        code, address, stack = self._frame_of(bits, self._level())
        frame = self._push(stack) + self._push(self.random.choice(world.STACK_TOPS))
        return (
            frame + self._push(code) + self._push(address) + {16: b"\x66\xcb", 32: b"\xcb", 64: b"\x48\xcb"}[self.bits]
        )

    def _interrupt_return(self) -> bytes:
        """IRETQ, or IRET, to any size and level, with any flags."""
        bits = self.random.choice(_SIZES)
        code, address, stack = self._frame_of(bits, self._level())
        top = self.random.choice((*world.STACK_TOPS, *_NOT_CANONICAL[:1]) if self.bits == 64 else world.STACK_TOPS)
        frame = self._push(stack) + self._push(top) + self._push(self._eflags())
        frame += self._push(code) + self._push(address)
        return frame + {16: b"\x66\xcf", 32: b"\xcf", 64: b"\x48\xcf"}[self.bits]

    def _system_call(self) -> bytes:
        return self.random.choice((b"\x0f\x05", b"\x0f\x05", b"\x0f\x34"))

    def _system_return(self) -> bytes:
        """SYSRET and SYSEXIT, to 64-bit or 32-bit code."""
        random = self.random
        bits = random.choice((64, 64, 32))
        address = (
            random.choice((*_NOT_CANONICAL[:3], long_world.HIGH + self._plot()))
            if self.chance(0.2)
            else self._plot(bits)
        )
        wide = b"\x48" if bits == 64 else b""
        if self.chance(0.25):
            return self.set(_DX, address) + self.set(_CX, random.choice(world.STACK_TOPS)) + wide + b"\x0f\x35"
        flags_now = b"\x49\xbb" + struct.pack("<Q", self._eflags())
        return self.set(_CX, address) + flags_now + wide + b"\x0f\x07"

    def _bases(self) -> bytes:
        random = self.random
        number = random.randrange(4) << 3
        value = random.choice((0, 0x1000, 0x4000, long_world.HIGH, *_NOT_CANONICAL[:1]))
        return random.choice((b"\x0f\x01\xf8", self.set(_AX, value) + b"\xf3\x48\x0f\xae" + bytes([0xC0 | number])))

    def _flags(self) -> bytes:
        """POPF of any image."""
        size = b"\x66" if self.bits == 16 else b""
        return self._push(self._eflags()) + size + b"\x9d" + self.random.choice((b"", b"\xfb", b"\xfa", b"\x9c"))

    def _segment(self) -> bytes:
        number = self.random.choice((0, 2, 3, 4, 5)) << 3
        return self.set(_AX, self._selector(), short=True) + bytes([0x8E, 0xC0 | number])

    def _ports(self) -> bytes:
        return self.set(_DX, self.random.choice((0x20, 0x80, 0xFFFF)), short=True) + self.random.choice(
            (b"\xec", b"\xed", b"\xee", b"\xef", b"\x6c", b"\x6f", b"\xe4\x80", b"\xe7\x80", b"\x66\xed")
        )

    def _descriptor_table(self) -> bytes:
        """SGDT and the like, those that look at descriptors, and loads of tables that may be none."""
        random = self.random
        if self.chance(0.4):
            return self.set(_BX, 0x100 if self.bits == 16 else world.DATA + 0x100) + b"\x0f\x01" + bytes(
                [0x40 | random.choice((0, 1, 4)) << 3 | (7 if self.bits == 16 else _BX), 0]
            )  # fmt: skip
        opcode = random.choice((b"\x0f\x00\xc8", b"\x0f\x00\xe0", b"\x0f\x00\xe8", b"\x0f\x02\xc8", b"\x0f\x03\xc8"))
        load = random.choice((b"\x0f\x00\xd0", b"\x0f\x00\xd8")) if self.chance(0.3) else opcode
        return (
            self.set(_AX, random.choice((self._selector(), long_world.TASK, long_world.LDT_SELECTOR)), short=True)
            + load
        )

    def _self_modifying(self) -> bytes:
        """A store into code, of this or another size, by its own address or another one."""
        random = self.random
        if self.bits == 16:
            return b"\x2e\xc6\x06" + struct.pack("<HB", self._plot() + random.randrange(0x100), random.getrandbits(8))
        alias = random.choice((0, 0, long_world.HIGH, 0x7F80_0000_0000)) if self.bits == 64 else 0
        where = self._plot(random.choice((*_SIZES, self.bits, self.bits))) + random.randrange(0x100) + alias
        point = self.set(_BX, where)
        return point + random.choice(
            (
                b"\xc6\x03" + bytes([random.choice((0x90, 0xCC, random.getrandbits(8)))]),
                b"\x83\x33" + bytes([random.getrandbits(7)]),
                b"\xff\x03",
            )
        )

    def _page_tables(self) -> bytes:
        """Another entry for a page of data, INVLPG, and an access."""
        random = self.random
        if self.bits == 16:
            return b""
        page = random.choice((*range(world.DATA >> 12, (world.DATA >> 12) + 8), random.randrange(0x200)))
        table = random.choice((long_world.TABLE, long_world.HIGH_TABLE))
        rights = random.choice((7, 7, 5, 3, 6, 0x107, 0x67))
        linear = (page << 12) + random.getrandbits(12)
        code = self.set(_BX, table + 8 * page, short=True)
        code += b"\xc7\x03" + struct.pack("<I", page << 12 | rights)
        code += self.set(_BX, linear + (long_world.HIGH if table != long_world.TABLE and self.bits == 64 else 0))
        code += b"\x0f\x01\x3b"
        if self.chance(0.5):
            code += b"\x0f\x20\xd8\x0f\x22\xd8"
        return code + random.choice((b"\x8b\x03", b"\x89\x03", b"\xff\x03"))

    def _debug_register(self) -> bytes:
        random = self.random
        value = random.choice(
            (0x400, 0x401, 0x402, 0xD0401, 1 << 13, self._plot(), world.DATA + random.randrange(0x4000))
        )
        return self.set(_AX, value) + bytes([0x0F, 0x23, 0xC0 | random.choice((0, 1, 6, 7, 7)) << 3])

    def _string(self) -> bytes:
        """Repeated, over the end of a page or of what is there."""
        random = self.random
        code = self.set(_SI, self._address()) + self.set(_DI, self._address())
        code += self.set(_CX, random.choice((1, 7, 100, 600)), short=True)
        wide = b"\x48" if self.bits == 64 and self.chance(0.5) else b""
        direction = random.choice((b"\xfc", b"\xfc", b"\xfd"))
        opcode = random.choice((0xA4, 0xA5, 0xAA, 0xAB, 0xA6, 0xA7, 0xAE, 0xAF, 0xAD))
        return code + direction + bytes([random.choice((0xF2, 0xF3))]) + wide + bytes([opcode])
