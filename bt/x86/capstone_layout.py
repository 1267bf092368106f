"""capstone 5 without its Python package: the shared library and its C structures by byte offset.

It puts instructions into words, the guest's and the host's; what guest code means and how long it is only our own table
says. Importing the package would cost every command 24 ms, so the library is found and loaded without it. The offsets
are capstone 5's; they are proved twice: `check_layout` compares them with the ctypes classes of the installed package
(in tests), and every 32-bit detail handle decodes one known instruction and looks at each field (microseconds, so
always).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, NamedTuple

from bt.errors import BtError

VERSION: Final = 5  # major; the structures changed in 4 and change in 6

INSN_BYTES: Final = 248
# cs_insn: bytes from its start.
INSN_OFFSETS: Final[dict[str, int]] = {
    "id": 0,  # u32
    "address": 8,  # u64
    "size": 16,  # u16, bytes
    "bytes": 18,  # 24 bytes
    "mnemonic": 42,  # 32 characters
    "op_str": 74,  # 160 characters
    "detail": 240,  # pointer to cs_detail, null without CS_OPT_DETAIL
}
# cs_detail of an x86 instruction: bytes from its start, the x86 part and its encoding part flattened.
DETAIL_OFFSETS: Final[dict[str, int]] = {
    "prefix": 96,  # u8[4]: lock/rep, segment, operand size, address size; 0 if absent
    "opcode": 100,  # u8[4]: opcode bytes, escapes included
    "rex": 104,  # u8
    "addr_size": 105,  # u8, bytes
    "modrm": 106,  # u8, 0 if absent too: ask modrm_offset
    "sib": 107,  # u8
    "disp": 112,  # i64
    "sib_index": 120,  # u32, capstone's register numbers
    "sib_scale": 124,  # i8
    "sib_base": 128,  # u32
    "op_count": 160,  # u8
    "operands": 168,  # 8 operands of OPERAND_BYTES
    "modrm_offset": 552,  # u8: where in the instruction; 0 = absent (so are the next four)
    "disp_offset": 553,
    "disp_size": 554,  # bytes
    "imm_offset": 555,
    "imm_size": 556,  # bytes
}
OPERAND_BYTES: Final = 48

_ARCH_X86, _OPTION_DETAIL, _ON = 3, 2, 3
_MODES: Final = {16: 1 << 1, 32: 1 << 2, 64: 1 << 3}
_REQUIREMENT = "pip install 'capstone>=5.0.9,<6'"

# add word ptr [ebx + ecx*4 + 12345678h], 0abcdh: every field we read is present and different.
_PROBE: Final = bytes.fromhex("66 81 84 8b 78 56 34 12 cd ab")
_PROBE_FIELDS: Final[dict[str, bytes]] = {
    "prefix": bytes((0, 0, 0x66, 0)),
    "opcode": bytes((0x81, 0, 0, 0)),
    "addr_size": bytes((4,)),
    "modrm": bytes((0x84,)),
    "sib": bytes((0x8B,)),
    "disp": (0x12345678).to_bytes(8, "little"),
    "sib_scale": bytes((4,)),
    "op_count": bytes((2,)),
    "modrm_offset": bytes((2, 4, 4, 8, 2)),
}


class CapstoneMismatch(BtError):
    """The installed capstone is missing or not the one this module describes."""


class Line(NamedTuple):
    """One disassembled instruction."""

    address: int
    code: bytes
    text: str


def library_path() -> Path:
    """The shared library inside the installed capstone package, found without importing the package."""
    spec = find_spec("capstone")
    if spec is None or spec.origin is None:
        raise CapstoneMismatch(f"capstone: not installed; {_REQUIREMENT}")
    path = Path(spec.origin).parent / "lib" / "libcapstone.so"
    if not path.exists():
        raise CapstoneMismatch(f"{path}: missing; bt needs the library of capstone's own wheel: {_REQUIREMENT}")
    return path


@cache
def _library() -> ctypes.CDLL:
    path = library_path()
    library = ctypes.CDLL(str(path))
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    library.cs_open.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.POINTER(size))
    library.cs_option.argtypes = (size, ctypes.c_int, size)
    library.cs_close.argtypes = (ctypes.POINTER(size),)
    library.cs_malloc.argtypes, library.cs_malloc.restype = (size,), pointer
    library.cs_free.argtypes, library.cs_free.restype = (pointer, size), None
    library.cs_disasm_iter.argtypes = (
        size,
        ctypes.POINTER(pointer),
        ctypes.POINTER(size),
        ctypes.POINTER(ctypes.c_uint64),
        pointer,
    )
    library.cs_disasm_iter.restype = ctypes.c_bool
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.cs_version(ctypes.byref(major), ctypes.byref(minor))
    if major.value != VERSION:
        raise CapstoneMismatch(f"{path}: capstone {major.value}.{minor.value}, bt needs version 5; {_REQUIREMENT}")
    return library


class Handle:
    """An open disassembler and one cs_insn for it to fill. Not safe for use by two threads at once.

    bits: code size, 16, 32 or 64. detail: fill cs_detail, about twice as slow.
    """

    def __init__(self, bits: Literal[16, 32, 64], detail: bool = True) -> None:
        self._library = _library()
        self._handle = ctypes.c_size_t()
        error = self._library.cs_open(_ARCH_X86, _MODES[bits], ctypes.byref(self._handle))
        if error == 0 and detail:
            error = self._library.cs_option(self._handle, _OPTION_DETAIL, _ON)
        if error:
            raise CapstoneMismatch(
                f"{library_path()}: cannot disassemble {bits}-bit x86 (error {error}); {_REQUIREMENT}"
            )
        # cs_malloc provides cs_detail only if the option is already on
        self._insn: int | None = self._library.cs_malloc(self._handle)
        if detail and bits == 32:
            self._probe()

    @property
    def insn(self) -> int:
        """Address of the cs_insn."""
        if self._insn is None:
            raise ValueError("this capstone handle is closed")
        return self._insn

    def disassemble(self, code: bytes, address: int = 0) -> Iterator[Line]:
        """Instructions of `code` up to its end or the first that capstone refuses."""
        buffer = ctypes.create_string_buffer(code, len(code))
        at = ctypes.c_void_p(ctypes.addressof(buffer))
        left = ctypes.c_size_t(len(code))
        eip = ctypes.c_uint64(address)
        step = self._library.cs_disasm_iter
        while step(self._handle, ctypes.byref(at), ctypes.byref(left), ctypes.byref(eip), self.insn):
            start, end = len(code) - left.value - self.field("size"), len(code) - left.value
            mnemonic = ctypes.string_at(self.insn + INSN_OFFSETS["mnemonic"]).decode()
            operands = ctypes.string_at(self.insn + INSN_OFFSETS["op_str"]).decode()
            yield Line(address + start, code[start:end], f"{mnemonic} {operands}".rstrip())

    def field(self, name: Literal["id", "address", "size", "detail"]) -> int:
        """A number in the cs_insn filled last."""
        width = {"id": 4, "address": 8, "size": 2, "detail": 8}[name]
        return int.from_bytes(ctypes.string_at(self.insn + INSN_OFFSETS[name], width), "little")

    def close(self) -> None:
        """Give everything back; a second call does nothing."""
        if self._insn is not None:
            self._library.cs_free(self._insn, 1)
            self._library.cs_close(ctypes.byref(self._handle))
            self._insn = None

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _probe(self) -> None:
        lines = list(self.disassemble(_PROBE))
        detail = self.field("detail")
        wrong = [
            name
            for name, value in _PROBE_FIELDS.items()
            if ctypes.string_at(detail + DETAIL_OFFSETS[name], len(value)) != value
        ]
        if len(lines) != 1 or lines[0].code != _PROBE or wrong:
            self.close()
            parts = ", ".join(wrong) or "cs_insn"
            raise CapstoneMismatch(f"{library_path()}: {parts} not where capstone 5 has it; {_REQUIREMENT}")


def installed_layout() -> tuple[dict[str, int], dict[str, int], tuple[int, int]]:
    """INSN_OFFSETS, DETAIL_OFFSETS and (INSN_BYTES, OPERAND_BYTES) as the installed package's ctypes classes have them.

    Imports the package: not for every start.
    """
    import capstone
    from capstone import x86

    insn, detail = capstone._cs_insn, capstone._cs_detail  # the package's names for them, private but all there is
    arch = detail.arch.offset
    encoding = arch + x86.CsX86.encoding.offset
    own = {name: encoding + getattr(x86.CsX86Encoding, name).offset for name, _ in x86.CsX86Encoding._fields_}
    details = {name: own[name] if name in own else arch + getattr(x86.CsX86, name).offset for name in DETAIL_OFFSETS}
    insns = {name: getattr(insn, name).offset for name in INSN_OFFSETS}
    return insns, details, (ctypes.sizeof(insn), ctypes.sizeof(x86.X86Op))


def check_layout() -> None:
    """Compare this module with the installed package. Raises CapstoneMismatch."""
    if installed_layout() != (INSN_OFFSETS, DETAIL_OFFSETS, (INSN_BYTES, OPERAND_BYTES)):
        raise CapstoneMismatch(f"{library_path()}: structures differ from capstone 5's; {_REQUIREMENT}")
