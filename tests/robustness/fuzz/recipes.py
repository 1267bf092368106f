"""Short sequences that single random instructions seldom make: what systems do, and what translators get wrong.

Each answers code for 16 or 32 bits. Numbers of control registers, MSRs and the like come with the values that matter.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

from bt.x86 import flags
from bt.x86.opcodes import EFLAGS_BITS
from bt.x86.system.registers import control_registers as cr
from tests.robustness.fuzz import world
from tests.robustness.fuzz.instructions import ADDRESS_SIZE, OPERAND_SIZE, Instructions
from tests.robustness.fuzz.operands import some_address, some_table_entry, some_value

_EAX, _ECX, _EDX, _EBX, _ESP, _EBP, _ESI, _EDI = range(8)
_POINTERS = (_EAX, _EBX, _EBP, _ESI, _EDI, _ECX)
_CR0_BITS = (
    *(cr.CR0_PG, cr.CR0_PG, cr.CR0_WP, cr.CR0_WP, cr.CR0_TS, cr.CR0_EM, cr.CR0_MP, cr.CR0_NE, cr.CR0_AM),
    *(cr.CR0_PE, cr.CR0_CD),
)
_TWO_BYTE_ARITHMETIC = (0xA3, 0xAB, 0xB3, 0xBB, 0xBC, 0xBD, 0xA5, 0xAD, 0xAF, 0xC1, 0xB1)
_MSRS = (0x10, 0x1B, 0x8B, 0xFE, 0x174, 0x175, 0x176, 0x1A0, 0x200, 0x201, 0x250, 0x277, 0x2FF, 0xC0000080, 0xC1, 0x0)
_PORTS = (0x20, 0x3F8, 0x80, 0x1FE, 0xCF8, 0xFFFF)
_TABLE_LOADS = ((0, 2), (1, 3), (0, 2), (1, 3), (2, 3), (3, 2), (4, 2), (5, 3), (6, 2), (7, 2))
"""Which of `world.pseudo_descriptors`, and 2 for LGDT or 3 for LIDT."""
_DIRECTORIES = (
    *(world.DIRECTORY, world.LARGE_DIRECTORY, world.PAE_POINTERS, world.PAE_POINTERS + 0x20),
    world.DIRECTORY | 0x18,
)


class Recipes(Instructions):
    """Sequences for code of `bits`."""

    def __init__(self, random: Random, bits: int, wanted: tuple[int, ...] = ()) -> None:
        super().__init__(random, bits, wanted)
        self._menu: tuple[tuple[float, Callable[[], bytes]], ...] = (
            (24, self.any),
            (9, self.point),
            (6, self.flags_and_user),
            (7, self.compare_and_jump),
            (6, self.dead_flags),
            (5, self.loop),
            (5, self.branch),
            (5, self.self_modifying),
            (4, self.string),
            (5, self.segment_load),
            (3, self.far_transfer),
            (2, self.interrupt_return),
            (2, self.software_interrupt),
            (3, self.control_register),
            (1, self.paging_on_or_off),
            (1.5, self.debug_register),
            (2, self.descriptor_table),
            (4, self.page_tables),
            (1.5, self.model_specific),
            (1.5, self.ports),
            (3, self.load_flags),
            (2, self.shadow),
            (8, self.floating_point),
            (1.5, self.system_call),
            (2, self.call_and_return),
            (1, lambda: self.random.randbytes(self.random.randrange(1, 9))),
        )
        self._weights = [weight for weight, _ in self._menu]

    def sequence(self) -> bytes:
        """Any of them."""
        return self.random.choices(self._menu, self._weights)[0][1]()

    # -- pieces ------------------------------------------------------------------------------------------------------

    def _wide(self, code: bytes, bits: int = 32) -> bytes:
        """An instruction with operands of so many bits."""
        return code if bits == self.bits else bytes([OPERAND_SIZE]) + code

    def _set(self, register: int, value: int, bits: int = 32) -> bytes:
        """MOV of an immediate."""
        return self._wide(bytes([0xB8 | register]) + (value & (1 << bits) - 1).to_bytes(bits // 8, "little"), bits)

    def _push(self, value: int, bits: int) -> bytes:
        return self._wide(b"\x68" + (value & (1 << bits) - 1).to_bytes(bits // 8, "little"), bits)

    def _flat_memory(self, opcode: bytes, reg: int, address: int) -> bytes:
        """An instruction with an absolute operand. In 16-bit code its segment decides where that is."""
        if self.bits == 32:
            return opcode + bytes([reg << 3 | 5]) + struct.pack("<I", address)
        if self.chance(0.5):
            return bytes([ADDRESS_SIZE]) + opcode + bytes([reg << 3 | 5]) + struct.pack("<I", address)
        return opcode + bytes([reg << 3 | 6]) + struct.pack("<H", address & 0xFFFF)

    # -- user code ---------------------------------------------------------------------------------------------------

    def point(self) -> bytes:
        """A register becomes a pointer, or a number, or ESP is put right."""
        random = self.random
        if self.chance(0.15):
            return self._set(_ESP, random.choice(world.STACK_TOPS) - random.choice((0, 4, 4, 1, 2, 0x40)))
        value = some_address(random, self.bits) if self.chance(0.75) else some_value(random)
        return self._set(random.choice(_POINTERS), value)

    def _arithmetic(self) -> bytes:
        """An instruction that writes flags, of registers mostly."""
        random = self.random
        modrm = bytes([0xC0 | random.getrandbits(6)])
        code = random.choice(
            (
                bytes([random.randrange(8) << 3 | random.randrange(4)]) + modrm,
                bytes([random.randrange(8) << 3 | random.randrange(4)]) + self.memory(random.randrange(8), self.bits),
                bytes([random.choice((0x80, 0x83)), 0xC0 | random.getrandbits(6), random.getrandbits(8)]),
                bytes([random.choice((0xC0, 0xC1)), 0xC0 | random.getrandbits(6), random.getrandbits(5)]),
                bytes([random.randrange(0xD0, 0xD4), 0xC0 | random.getrandbits(6)]),
                bytes([random.choice((0xF6, 0xF7)), 0xD0 | random.getrandbits(4)]),
                bytes([random.choice((0xFE, 0xFF)), 0xC0 | random.getrandbits(4)]),
                bytes([0x0F, random.choice(_TWO_BYTE_ARITHMETIC)]) + modrm,
                bytes([0x0F, random.choice((0xC0, 0xB0, 0xC1, 0xB1))]) + modrm,
                bytes([0x0F, random.choice((0xA4, 0xAC))]) + modrm + bytes([random.getrandbits(5)]),
                bytes([0x0F, random.choice((0x2E, 0x2F))]) + modrm,
                bytes([0xDF, random.choice((0xE8, 0xF0)) | random.randrange(8)]),
            )
        )
        return self._wide(code, random.choice((self.bits, self.bits, self.bits, 48 - self.bits)))

    def flags_and_user(self) -> bytes:
        """Arithmetic, perhaps something in between, and one that depends on its flags."""
        random = self.random
        modrm = bytes([0xC0 | random.getrandbits(6)])
        code = self._arithmetic()
        if self.chance(0.4):
            increment = bytes([0x40 | random.randrange(8)])
            code += random.choice((b"\x90", b"\x89" + modrm, b"\x8d\x40\x01", b"\xfc", increment))
        condition = random.randrange(16)
        return code + random.choice(
            (
                bytes([0x70 | condition, random.choice((0, 1, 2, 3))]) + bytes([0x40 | random.randrange(4)]),
                bytes([0x0F, 0x90 | condition, 0xC0 | random.randrange(8)]),
                bytes([0x0F, 0x40 | condition]) + modrm,
                bytes([random.choice((0x10, 0x11, 0x18, 0x19, 0x12, 0x1B))]) + modrm,
                b"\x9f",
                b"\x9c",
                bytes([0xD1, random.choice((0xD0, 0xD8)) | random.randrange(4)]),
                bytes([random.choice((0x27, 0x2F, 0x37, 0x3F, 0xF5, 0xD6))]),
                bytes([0xDA | random.getrandbits(1), 0xC0 | random.randrange(32)]),
            )
        )

    def compare_and_jump(self) -> bytes:
        """What a translator makes one of: CMP, TEST, INC or DEC and the jump behind it."""
        random, size = self.random, self.random.getrandbits(1)
        modrm = bytes([0xC0 | random.getrandbits(6)])
        byte = bytes([random.getrandbits(8)])
        compare = random.choice(
            (
                bytes([0x38 | size]) + modrm,
                bytes([0x3A | size]) + modrm,
                bytes([0x84 | size]) + modrm,
                bytes([0x84 | size]) + modrm,
                bytes([0x38 | random.randrange(4)]) + self.memory(random.randrange(8), self.bits),
                bytes([0x84 | size]) + self.memory(random.randrange(8), self.bits),
                bytes([random.choice((0x80, 0x83)), 0xF8 | random.randrange(8)]) + byte,
                bytes([0xF6, 0xC0 | random.randrange(8)]) + byte,
                bytes([0x3C]) + byte,
                bytes([0x40 | random.getrandbits(4)]),
            )
        )
        return compare + bytes([0x70 | random.randrange(16), random.choice((0, 1, 2, 3)), 0x40 | random.randrange(4)])

    def dead_flags(self) -> bytes:
        """Arithmetic whose flags nobody sees, because the next overwrites them."""
        killer = bytes([self.random.choice((0x01, 0x29, 0x31, 0x39, 0x85)), 0xC0 | self.random.getrandbits(6)])
        return self._arithmetic() + (b"\x89\xc1" if self.chance(0.3) else b"") + killer

    def loop(self) -> bytes:
        """A few instructions several times over."""
        random = self.random
        body = b""
        for _ in range(random.randrange(1, 4)):
            one = self.any() if self.chance(0.6) else self.flags_and_user()
            body += one if len(body + one) < 24 else b""
        count = random.choice((1, 2, 3, 10, 40, 120))
        ends = random.choice((0xE2, 0xE2, 0xE0, 0xE1, 0x75))
        if ends == 0x75:
            return self._set(_EDX, count) + body + b"\x4a" + bytes([ends, (-len(body) - 3) & 0xFF])
        return self._set(_ECX, count) + body + bytes([ends, (-len(body) - 2) & 0xFF])

    def branch(self) -> bytes:
        """A near jump to some slot: direct, through a register or memory, or by the stack."""
        random = self.random
        target, size = world.slot_address(random), self.bits // 8
        kind = random.randrange(6)
        if kind == 0:
            return b"\xe9" + self.relative(size)
        if kind == 1:
            return bytes([0x0F, 0x80 | random.randrange(16)]) + self.relative(size)
        if kind == 2:
            return self._set(_EAX, target, self.bits) + bytes([0xFF, random.choice((0xE0, 0xD0))])
        if kind == 3:
            return self._push(target, self.bits) + b"\xc3"
        if kind == 4:
            where = random.randrange(len(world.SELECTORS)) * 8 + world.FAR_POINTERS
            return self._flat_memory(b"\xff", random.choice((4, 2)), where - (0 if self.bits == 32 else world.DATA))
        return bytes([random.choice((0xEB, 0x70 | random.randrange(16), 0xE3))]) + self.relative(1)

    def call_and_return(self) -> bytes:
        """A function of a few bytes, called."""
        body = self.any() if self.chance(0.5) else b"\x40"
        size = self.bits // 8
        leave = b"\xc3" if self.chance(0.8) else b"\xc2" + struct.pack("<H", self.random.choice((0, 2, 4, 8)))
        function = body + leave
        skip = b"\xeb" + bytes([len(function) & 0x7F])
        back = -(len(function) + 1 + size)
        return skip + function + b"\xe8" + (back & (1 << 8 * size) - 1).to_bytes(size, "little")

    def self_modifying(self) -> bytes:
        """A store into code: the next bytes, or another slot."""
        random = self.random
        where = world.slot_address(random) + random.randrange(world.SLOT_BYTES)
        kind = random.randrange(5)
        alias = random.choice((0, 0, 0, 4 << 20)) if self.bits == 32 else 0
        if kind == 0 and self.bits == 32:  # call $+5; pop eax; mov byte [eax+n], value
            return b"\xe8\0\0\0\0\x58\xc6\x40" + bytes([random.randrange(1, 40), random.getrandbits(8)])
        if kind == 1:
            return self._set(_EDI, where) + self._set(_ECX, random.randrange(1, 20)) + b"\xf3\xaa"
        if kind == 2:
            new = struct.unpack("<I", self.any()[:4].ljust(4, b"\x90"))[0]
            store = b"\x2e" if self.bits == 16 and self.chance(0.1) else b""
            return self._set(_EAX, new) + store + self._flat_memory(b"\x89", _EAX, where + alias)
        if kind == 3:
            return self._flat_memory(random.choice((b"\xfe", b"\xff", b"\x87", b"\x01")), 0, where + alias)
        return self._flat_memory(b"\xc6", 0, where + alias) + bytes([random.getrandbits(8)])

    def string(self) -> bytes:
        """A string instruction with a count, near the ends of pages or overlapping."""
        random = self.random
        source, target = some_address(random, self.bits), some_address(random, self.bits)
        if self.chance(0.3):
            target = source + random.randrange(-8, 9) & 0xFFFFFFFF
        count = random.choice((0, 1, 2, 7, 64, 300, 5000)) if self.chance(0.9) else some_value(random)
        opcode = random.choice((0xA4, 0xA5, 0xA6, 0xA7, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF, 0x6C, 0x6F))
        if opcode < 0x70:  # each iteration is an exit
            count = random.randrange(4)
        code = self._set(_ESI, source) + self._set(_EDI, target) + self._set(_ECX, count)
        prefixes = random.choice((b"\xf3", b"\xf3", b"\xf2", b"", b"\x66\xf3", b"\xf3\x67", b"\x26\xf3"))
        return random.choice((b"", b"\xfc", b"\xfd")) + code + prefixes + bytes([opcode])

    def floating_point(self) -> bytes:
        """Several instructions of the FP units, sometimes with a change of masks or rounding."""
        random = self.random
        code = b""
        for _ in range(random.randrange(1, 4)):
            if self.chance(0.15):
                control = random.choice((b"\xd9\x6d\0", b"\xdb\xe2", b"\xdb\xe3", b"\x9b", b"\xdf\xe0", b"\x0f\x77"))
                code += control
            elif self.chance(0.08):
                where = world.DATA + random.randrange(world.DATA_BYTES)
                word = random.choice((0x1F80, 0x1F80, 0x1F00, 0x3F80, 0x9F80, 0x0, 0x37F, 0x27F, 0x37E, 0x340))
                load = random.choice(((b"\x0f\xae", 2), (b"\xd9", 5)))
                store = self._set(_EDX, word) + self._flat_memory(b"\x89", _EDX, where)
                code += store + self._flat_memory(load[0], load[1], where)
            else:
                code += self.of_family("fp")
        return code

    # -- system code -------------------------------------------------------------------------------------------------

    def segment_load(self) -> bytes:
        """A segment register by MOV, POP or a far pointer; now and then all of them are put right."""
        random = self.random
        kind = random.random()
        if kind < 0.3:
            good = random.choice((world.USER_DATA, world.KERNEL_DATA, world.DATA >> 4))
            return self._set(_EAX, good) + b"\x8e\xd8\x8e\xc0"
        register = random.choice((0, 2, 3, 4, 5, 3, 0))
        if kind < 0.6:
            return self._set(_EDX, self.selector()) + bytes([0x8E, 0xC2 | register << 3])
        if kind < 0.8:
            pop = random.choice((b"\x07", b"\x17", b"\x1f", b"\x0f\xa1", b"\x0f\xa9"))
            return self._push(self.selector(), self.bits) + pop
        where = world.FAR_POINTERS + 8 * random.randrange(len(world.SELECTORS))
        opcode = random.choice((b"\xc4", b"\xc5", b"\x0f\xb2", b"\x0f\xb4", b"\x0f\xb5"))
        return self._flat_memory(opcode, random.randrange(8), where - (0 if self.bits == 32 else world.DATA))

    def far_transfer(self) -> bytes:
        """Far jumps, calls and returns, to the code of another mode as often as to anything else."""
        random, size = self.random, self.bits // 8
        kind = random.randrange(5)
        if kind < 2:
            return bytes([random.choice((0xEA, 0x9A))]) + self.far_pointer(size)
        if kind == 2:
            where = world.FAR_POINTERS + 8 * random.randrange(len(world.SELECTORS))
            return self._flat_memory(b"\xff", random.choice((3, 5)), where - (0 if self.bits == 32 else world.DATA))
        good = random.choice((*world.CODE_BY_RING, world.KERNEL_CODE_16, world.USER_CODE_16, 0))
        code = b""
        if self.chance(0.5):
            code += self._push(random.choice((world.USER_DATA, world.STACK_16_USER, 0x31)), self.bits)
            code += self._push(random.choice(world.STACK_TOPS), self.bits)
        selector = good if self.chance(0.7) else self.selector()
        code += self._push(selector, self.bits) + self._push(world.slot_address(random), self.bits)
        return code + random.choice((b"\xcb", b"\xca\x04\x00"))

    def interrupt_return(self) -> bytes:
        """IRET to any mode, with any flags."""
        random, bits = self.random, random_bits(self.random, self.bits)
        eflags = self._flags()
        code = b""
        ring = random.randrange(4)
        selector = random.choice((world.CODE_BY_RING[ring], world.CODE_BY_RING[ring], self.selector()))
        if self.chance(0.3) and bits == 32:
            eflags, selector = eflags | flags.VM, 0
            for _ in range(4):
                code += self._wide(b"\x6a\x00", bits) if self.chance(0.7) else self._push(world.DATA >> 4, bits)
        if self.chance(0.7):
            stack = world.DATA_BY_RING[ring] if selector else 0
            code += self._wide(b"\x68" + stack.to_bytes(bits // 8, "little"), bits)
            code += self._push(random.choice(world.STACK_TOPS), bits)
        code += self._push(eflags, bits) + self._push(selector, bits)
        return code + self._push(world.slot_address(random), bits) + self._wide(b"\xcf", bits)

    def _flags(self) -> int:
        """An image of EFLAGS."""
        image = self.random.getrandbits(12) & flags.ARITHMETIC
        for letter, bit in EFLAGS_BITS.items():
            chance = {"i": 0.6, "t": 0.06, "n": 0.06, "v": 0.0, "l": 0.4, "k": 0.15}.get(letter, 0.15)
            image |= bit * self.chance(chance)
        return image

    def load_flags(self) -> bytes:
        """POPF of any image, STI, CLI, STD, CLD, SAHF and the like."""
        if self.chance(0.4):
            return bytes([self.random.choice((0xFA, 0xFB, 0xFC, 0xFD, 0xF8, 0xF9, 0x9E))])
        bits = random_bits(self.random, self.bits)
        return self._push(self._flags(), bits) + self._wide(b"\x9d", bits)

    def software_interrupt(self) -> bytes:
        vector = self.random.choice(
            (world.TIMER, 3, 4, 0x80, self.random.randrange(0x20, 0x40), self.random.getrandbits(8))
        )
        return self.random.choice((b"\xcc", b"\xce", b"\xf1", bytes([0xCD, vector]), bytes([0xCD, vector])))

    def control_register(self) -> bytes:
        """A bit of CR0 or CR4 the other way round, another CR3, or a number that may not be allowed."""
        random = self.random
        kind = random.random()
        if kind < 0.3:
            return b"\x0f\x20\xc0" + self._wide(b"\x35" + struct.pack("<I", random.choice(_CR0_BITS))) + b"\x0f\x22\xc0"
        if kind < 0.55:
            bit = 1 << random.choice((0, 1, 2, 3, 4, 5, 7, 8, 9, 10, random.randrange(32)))
            return b"\x0f\x20\xe0" + self._wide(b"\x35" + struct.pack("<I", bit)) + b"\x0f\x22\xe0"
        if kind < 0.85:
            return self._set(_EAX, random.choice(_DIRECTORIES)) + b"\x0f\x22\xd8"
        if kind < 0.95:
            return random.choice((b"\x0f\x06", b"\x0f\x01\xf0", b"\x0f\x01\xe0", b"\x0f\x20\xd8\x0f\x22\xd8"))
        number = random.choice((0, 2, 3, 4))
        return self._set(_EAX, some_value(random)) + bytes([0x0F, 0x22, 0xC0 | number << 3])

    def paging_on_or_off(self) -> bytes:
        """All that belongs to it: CR4, CR3, CR0."""
        random = self.random
        directory, cr4 = random.choice(
            ((world.DIRECTORY, 0), (world.LARGE_DIRECTORY, cr.CR4_PSE), (world.PAE_POINTERS, cr.CR4_PAE))
        )
        code = self._set(_EAX, cr4 | random.choice((0x600, 0x680))) + b"\x0f\x22\xe0"
        code += self._set(_EAX, directory) + b"\x0f\x22\xd8\x0f\x20\xc0"
        return code + self._wide(b"\x35" + struct.pack("<I", cr.CR0_PG)) + b"\x0f\x22\xc0"

    def debug_register(self) -> bytes:
        random = self.random
        number = random.choice((0, 1, 2, 3, 6, 7, 7, random.randrange(8)))
        if number == 7:
            value = random.getrandbits(16) << 16 | random.choice(
                (0, 0, 1 << random.randrange(14), random.getrandbits(14))
            )
        elif self.chance(0.5):
            value = world.slot_address(random)
        else:
            value = some_address(random, 32)
        return self._set(_EAX, value) + bytes([0x0F, 0x23, 0xC0 | number << 3])

    def descriptor_table(self) -> bytes:
        """LGDT and LIDT of tables that are there, LLDT, LTR, and the instructions that look at descriptors."""
        random = self.random
        base = 0 if self.bits == 32 else world.DATA
        if self.chance(0.4):
            number, reg = random.choice(
                ((0, 2), (1, 3), (0, 2), (1, 3), (2, 3), (3, 2), (4, 2), (5, 3), (6, 2), (7, 2))
            )
            where = world.PSEUDO_DESCRIPTORS + 8 * number - base
            return self._flat_memory(b"\x0f\x01", reg, where)
        opcode = b"\x0f" + random.choice((b"\x00\xd0", b"\x00\xd8", b"\x00\xe0", b"\x00\xe8", b"\x02\xc8", b"\x03\xc8"))
        good = (world.LDT_SELECTOR, world.TASK_32, world.TASK_16, self.selector())
        return self._set(_EAX, random.choice(good)) + opcode

    def page_tables(self) -> bytes:
        """A store to a page-table entry, INVLPG or not, and an access."""
        random = self.random
        code = b""
        where = some_table_entry(random)
        page = random.choice((world.DATA >> 12, world.CODE >> 12, 0x90, random.randrange(0x200)))
        if self.chance(0.4):
            where = world.TABLE + 4 * page if self.chance(0.6) else world.PAE_TABLE + 8 * page
        if self.chance(0.6):
            entry = page << 12 | random.choice((0x67, 0x65, 0x63, 0x61, 0x27, 0x07, 0x06, 0x167, 0xE7, 0x0))
            code += self._set(_EDX, entry) + self._flat_memory(b"\x89", _EDX, where)
        else:
            code += self._flat_memory(b"\x0f\xba", 7, where) + bytes([random.choice((0, 1, 2, 5, 6, 7, 8))])
        linear = page << 12 | random.getrandbits(12)
        if self.chance(0.5):
            code += self._flat_memory(b"\x0f\x01", 7, linear)
        return code + self._flat_memory(random.choice((b"\x8b", b"\x89", b"\x03")), _EBX, linear)

    def model_specific(self) -> bytes:
        random = self.random
        number = random.choice(_MSRS) if self.chance(0.9) else random.getrandbits(14)
        code = self._set(_ECX, number)
        if self.chance(0.5):
            return code + b"\x0f\x32"
        high = random.choice((0, 0, 0xF, some_value(random)))
        low = random.choice((0x800, 0, world.slot_address(random), 8, some_value(random)))
        return code + self._set(_EDX, high) + self._set(_EAX, low) + b"\x0f\x30"

    def ports(self) -> bytes:
        random = self.random
        if self.chance(0.3):
            return bytes([random.randrange(0xE4, 0xE8), random.getrandbits(8)])
        opcode = bytes([random.choice((*range(0xEC, 0xF0), 0x6C, 0x6D, 0x6E, 0x6F))])
        count = self._set(_ECX, random.randrange(5))
        return self._set(_EDX, random.choice(_PORTS), 16) + random.choice((b"", count + b"\xf3", b"\x66")) + opcode

    def shadow(self) -> bytes:
        """What puts interrupts and traps off, HLT, and an instruction in the shadow."""
        random = self.random
        first = random.choice((b"\xfb", b"\xfb", b"\x16\x17", b"\x8c\xd0\x8e\xd0", b"\xfb\xf4", b"\xf4", b"\xfa\xfb"))
        return first + (self.any() if self.chance(0.6) else random.choice((b"\xfa", b"\xf4", b"\x90", b"\xfb")))

    def system_call(self) -> bytes:
        if self.chance(0.5):
            return b"\x0f\x34"
        target = world.slot_address(self.random)
        return self._set(_EDX, target) + self._set(_ECX, world.STACK_TOPS[3]) + b"\x0f\x35"


def random_bits(random: Random, bits: int) -> int:
    """Mostly `bits`, sometimes the other operand size."""
    return bits if random.random() < 0.8 else 48 - bits
