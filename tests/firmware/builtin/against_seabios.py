"""The calls that are compared, and what of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tests.firmware.builtin.calls import BUFFER

ALL = ("eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "es", "ds", "carry")
PACKET = 0x8000  # of AH=42h
TABLE = 0x8200  # what else a call is handed


class Case(NamedTuple):
    """INT `vector` with `registers`, after `before` was written to memory; what of the answer is not compared, and
    why; `memory` of (address, bytes) that is compared."""

    name: str
    vector: int
    registers: Mapping[str, int]
    before: Mapping[int, bytes] = {}
    memory: tuple[tuple[int, int], ...] = ()
    but: tuple[str, ...] = ()
    why: str = ""


def _packet(lba: int, count: int, address: int = BUFFER) -> dict[int, bytes]:
    segment = address >> 4
    data = (
        bytes((16, 0))
        + count.to_bytes(2, "little")
        + b"\0\0"
        + segment.to_bytes(2, "little")
        + lba.to_bytes(8, "little")
    )
    return {PACKET: data}


SCREEN = (0xB8000, 4000)
CURSOR = (0x450, 2)
FIRST_BYTES = (BUFFER, 1024)
VIDEO_DATA = (0x449, 28)  # not what a CGA's mode and colour registers would have, which SeaBIOS leaves 0
VIDEO_MORE = (0x484, 3)
POST = "the two fonts, modes and their memory are the BIOS's own"

# One after the other on the same machine: what a call leaves is what the next one finds.
TEXT = (
    Case("mode 3", 0x10, {"eax": 0x0003}, memory=(SCREEN, CURSOR, VIDEO_DATA, VIDEO_MORE), but=("eax",),
         why="AL is a value of clones, and of no use"),
    Case("cursor", 0x10, {"eax": 0x0200, "edx": 0x0510}, memory=(CURSOR,)),
    Case("where the cursor is", 0x10, {"eax": 0x0300}),
    Case("teletype", 0x10, {"eax": 0x0E41, "ebx": 7}, memory=(SCREEN, CURSOR)),
    Case("backspace", 0x10, {"eax": 0x0E08, "ebx": 7}, memory=(SCREEN, CURSOR)),
    Case("bell", 0x10, {"eax": 0x0E07, "ebx": 7}, memory=(SCREEN, CURSOR)),
    Case("line feed", 0x10, {"eax": 0x0E0A, "ebx": 7}, memory=(SCREEN, CURSOR)),
    Case("return", 0x10, {"eax": 0x0E0D, "ebx": 7}, memory=(SCREEN, CURSOR)),
    Case("cells", 0x10, {"eax": 0x0958, "ebx": 0x001E, "ecx": 100}, memory=(SCREEN, CURSOR)),
    Case("characters", 0x10, {"eax": 0x0A59, "ebx": 0x001E, "ecx": 3}, memory=(SCREEN, CURSOR)),
    Case("a cell", 0x10, {"eax": 0x0800}),
    Case("window up", 0x10, {"eax": 0x0602, "ebx": 0x4F00, "ecx": 0x0305, "edx": 0x0A20}, memory=(SCREEN,)),
    Case("window down", 0x10, {"eax": 0x0701, "ebx": 0x2F00, "ecx": 0x0000, "edx": 0x184F}, memory=(SCREEN,)),
    Case("window cleared", 0x10, {"eax": 0x0600, "ebx": 0x1700, "ecx": 0x0101, "edx": 0x0505}, memory=(SCREEN,)),
    Case("a window beyond the screen", 0x10, {"eax": 0x0601, "ebx": 0x1700, "ecx": 0x0101, "edx": 0xFFFF},
         memory=(SCREEN,)),
    Case("a string", 0x10, {"eax": 0x1301, "ebx": 0x001F, "ecx": 5, "edx": 0x1020, "ebp": TABLE},
         {TABLE: b"hello"}, (SCREEN, CURSOR)),
    Case("a string with attributes", 0x10, {"eax": 0x1302, "ecx": 3, "edx": 0x1120, "ebp": TABLE},
         {TABLE: b"a\x1fb\x2fc\x3f"}, (SCREEN, CURSOR)),
    Case("the last cell", 0x10, {"eax": 0x0200, "edx": 0x184F}, memory=(CURSOR,)),
    Case("scrolling", 0x10, {"eax": 0x0E5A, "ebx": 7}, memory=(SCREEN, CURSOR)),
    Case("the mode", 0x10, {"eax": 0x0F00}),
    Case("cursor's shape", 0x10, {"eax": 0x0100, "ecx": 0x0007}, memory=((0x460, 2),)),
    Case("page 1", 0x10, {"eax": 0x0501}, memory=(VIDEO_DATA,)),
    Case("page 0", 0x10, {"eax": 0x0500}, memory=(VIDEO_DATA,)),
    Case("display combination", 0x10, {"eax": 0x1A00}),
    Case("switches", 0x10, {"eax": 0x1200, "ebx": 0x0010}),
    Case("fonts: present", 0x10, {"eax": 0x1130, "ebx": 0x0600}, but=("es", "ebp"), why=POST),
    Case("a palette register", 0x10, {"eax": 0x1007, "ebx": 0x0003}),
    Case("all palette registers", 0x10, {"eax": 0x1009, "edx": BUFFER}, memory=((BUFFER, 17),)),
    Case("a colour", 0x10, {"eax": 0x1015, "ebx": 0x003F}),
    Case("colours", 0x10, {"eax": 0x1017, "ebx": 0, "ecx": 64, "edx": BUFFER}, memory=((BUFFER, 192),)),
    Case("the DAC's page", 0x10, {"eax": 0x101A}),
    Case("80 by 50", 0x10, {"eax": 0x1112}, memory=(VIDEO_DATA, VIDEO_MORE)),
    Case("80 by 25", 0x10, {"eax": 0x1114}, memory=(VIDEO_DATA, VIDEO_MORE)),
)  # fmt: skip

GRAPHICS = tuple(
    Case(f"mode {mode:x}", 0x10, {"eax": mode}, memory=(VIDEO_DATA, VIDEO_MORE, (0x487, 4)), but=("eax",),
         why="AL is a value of clones, and of no use")
    for mode in (0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x0D, 0x0E, 0x10, 0x11, 0x12, 0x13, 0x03)
)  # fmt: skip

PIXELS = (
    Case("mode 13h", 0x10, {"eax": 0x0013}, but=("eax",), why="AL is a value of clones, and of no use"),
    Case("a pixel", 0x10, {"eax": 0x0C2A, "ecx": 100, "edx": 50}, memory=((0xA0000, 32000),)),
    Case("the pixel", 0x10, {"eax": 0x0D00, "ecx": 100, "edx": 50}),
    Case("mode 4", 0x10, {"eax": 0x0004}, but=("eax",), why="AL is a value of clones, and of no use"),
    Case("a pixel of four colours", 0x10, {"eax": 0x0C02, "ecx": 101, "edx": 51}, memory=((0xB8000, 16384),)),
    Case("that pixel", 0x10, {"eax": 0x0D00, "ecx": 101, "edx": 51}),
    Case("mode 12h", 0x10, {"eax": 0x0012}, but=("eax",), why="AL is a value of clones, and of no use"),
    Case("a pixel of sixteen", 0x10, {"eax": 0x0C0B, "ecx": 333, "edx": 222}),
    Case("its colour", 0x10, {"eax": 0x0D00, "ecx": 333, "edx": 222}),
)

SYSTEM = (
    Case("equipment", 0x11, {}),
    Case("memory", 0x12, {}),
    Case("extended memory", 0x15, {"eax": 0x8800}, but=("eax",), why="SeaBIOS keeps tables at the end of RAM"),
    Case("A20: how", 0x15, {"eax": 0x2403}),
    Case("A20: state", 0x15, {"eax": 0x2402}),
    Case("A20: closed", 0x15, {"eax": 0x2400}),
    Case("A20: state closed", 0x15, {"eax": 0x2402}),
    Case("A20: open", 0x15, {"eax": 0x2401}),
    Case("no service", 0x15, {"eax": 0x7777}),
    Case("keyboard intercept", 0x15, {"eax": 0x4F1E}),
    Case("configuration", 0x15, {"eax": 0xC000}, but=("es", "ebx"), why="its place"),
    Case("a wait", 0x15, {"eax": 0x8600, "ecx": 0, "edx": 2000}),
    Case("block move", 0x15, {"eax": 0x8700, "ecx": 8, "esi": TABLE},
         {TABLE: bytes(16) + bytes.fromhex("ffff00800093 0000") + bytes.fromhex("ffff00900093 0000") + bytes(16),
          0x8000: b"sixteen bytes..!"}, ((BUFFER, 16),)),
    Case("E820 with a wrong signature", 0x15, {"eax": 0xE820, "ecx": 20, "edx": 1, "edi": BUFFER}),
    Case("E820: first", 0x15, {"eax": 0xE820, "ecx": 20, "edx": 0x534D4150, "edi": BUFFER}, memory=((BUFFER, 20),)),
    Case("E820: second", 0x15, {"eax": 0xE820, "ebx": 1, "ecx": 20, "edx": 0x534D4150, "edi": BUFFER},
         memory=((BUFFER, 20),)),
    Case("no printer", 0x17, {"eax": 0x0200, "edx": 3}, but=("eax", "carry"),
         why="a printer that is not there has timed out: 01h; SeaBIOS leaves AH and sets CF"),
    Case("set ticks", 0x1A, {"eax": 0x0100, "ecx": 1, "edx": 0x2345}),
    Case("ticks", 0x1A, {"eax": 0x0000}, but=("edx",), why="time goes on"),
    Case("set time", 0x1A, {"eax": 0x0300, "ecx": 0x1122, "edx": 0x3300}),
    Case("time", 0x1A, {"eax": 0x0200}),
    Case("set date", 0x1A, {"eax": 0x0500, "ecx": 0x2024, "edx": 0x0229}),
    Case("date", 0x1A, {"eax": 0x0400}),
    Case("serial: initialize", 0x14, {"eax": 0x00E3, "edx": 0}),
    Case("serial: send", 0x14, {"eax": 0x0141, "edx": 0}),
    Case("serial: status", 0x14, {"eax": 0x0300, "edx": 0}),
    Case("serial: no port", 0x14, {"eax": 0x0300, "edx": 3}),
)  # fmt: skip

PCI = (
    Case("PCI: there", 0x1A, {"eax": 0xB101}, but=("edi",), why="of 32-bit callers, whose entry is not here"),
    Case("PCI: a device", 0x1A, {"eax": 0xB102, "ecx": 0x7010, "edx": 0x8086}),
    Case("PCI: no such device", 0x1A, {"eax": 0xB102, "ecx": 0x1234, "edx": 0x8086}),
    Case(
        "PCI: no vendor",
        0x1A,
        {"eax": 0xB102, "ecx": 0x1234, "edx": 0xFFFF},
        but=("eax",),
        why="83h, bad vendor, as PCI BIOS 2.1 has it",
    ),
    Case("PCI: a class", 0x1A, {"eax": 0xB103, "ecx": 0x030000}),
    Case("PCI: a second one", 0x1A, {"eax": 0xB103, "ecx": 0x030000, "esi": 1}),
    Case("PCI: byte", 0x1A, {"eax": 0xB108, "ebx": 0x0009, "edi": 0x08}),
    Case("PCI: word", 0x1A, {"eax": 0xB109, "ebx": 0x0009, "edi": 0x00}),
    Case("PCI: long", 0x1A, {"eax": 0xB10A, "ebx": 0x0009, "edi": 0x08}),
    Case("PCI: set byte", 0x1A, {"eax": 0xB10B, "ebx": 0x0009, "edi": 0x0D, "ecx": 0x40}),
    Case("PCI: set", 0x1A, {"eax": 0xB108, "ebx": 0x0009, "edi": 0x0D}),
)

KEYBOARD = (
    Case("no key", 0x16, {"eax": 0x0100}),
    Case("store a key", 0x16, {"eax": 0x0500, "ecx": 0x1E61}),
    Case("a key waits", 0x16, {"eax": 0x0100}),
    Case("the key", 0x16, {"eax": 0x0000}),
    Case("store a grey key", 0x16, {"eax": 0x0500, "ecx": 0x48E0}),
    Case("a grey key as such", 0x16, {"eax": 0x1100}),
    Case("a grey key", 0x16, {"eax": 0x0000}),
    Case("store F11", 0x16, {"eax": 0x0500, "ecx": 0x8500}),
    Case("F11 is of no old keyboard", 0x16, {"eax": 0x0100}, but=("eax",), why="AX is nobody's where no key waits"),
    Case("shifts", 0x16, {"eax": 0x0200}),
    Case("more shifts", 0x16, {"eax": 0x1200}),
    Case("identification", 0x16, {"eax": 0x0A00}),
)

DISK = (
    Case("reset", 0x13, {"eax": 0, "edx": 0x80}),
    Case("status", 0x13, {"eax": 0x0100, "edx": 0x80}),
    Case("read", 0x13, {"eax": 0x0202, "ecx": 0x0005, "edx": 0x0080, "ebx": BUFFER}, memory=(FIRST_BYTES,)),
    Case("read by cylinder", 0x13, {"eax": 0x0202, "ecx": 0x0501, "edx": 0x0380, "ebx": BUFFER}, memory=(FIRST_BYTES,)),
    Case("read beyond", 0x13, {"eax": 0x0201, "ecx": 0xFFC1, "edx": 0x0080, "ebx": BUFFER}),
    Case("no sector 0", 0x13, {"eax": 0x0201, "ecx": 0x0000, "edx": 0x0080, "ebx": BUFFER}),
    Case("no drive", 0x13, {"eax": 0x0201, "ecx": 0x0001, "edx": 0x0085, "ebx": BUFFER}),
    Case("verify", 0x13, {"eax": 0x0402, "ecx": 0x0005, "edx": 0x0080, "ebx": BUFFER}),
    Case("parameters", 0x13, {"eax": 0x0800, "edx": 0x80}),
    Case("parameters of none", 0x13, {"eax": 0x0800, "edx": 0x85}),
    Case("ready", 0x13, {"eax": 0x1000, "edx": 0x80}),
    Case("recalibrate", 0x13, {"eax": 0x1100, "edx": 0x80}),
    Case("type", 0x13, {"eax": 0x1500, "edx": 0x80}),
    Case("no type", 0x13, {"eax": 0x1500, "edx": 0x85}),
    Case("extensions", 0x13, {"eax": 0x4100, "ebx": 0x55AA, "edx": 0x80}, but=("eax", "ecx"),
         why="EDD 1.1 with packets alone; SeaBIOS has 3.0"),
    Case("no extensions", 0x13, {"eax": 0x4100, "ebx": 0x1234, "edx": 0x80},
         but=("eax", "ebx", "ecx", "carry"), why="SeaBIOS does not look at BX"),
    Case("read by number", 0x13, {"eax": 0x4200, "edx": 0x80, "esi": PACKET}, _packet(777, 2),
         (FIRST_BYTES, (PACKET, 16))),
    Case("read by number beyond", 0x13, {"eax": 0x4200, "edx": 0x80, "esi": PACKET}, _packet(32767, 2),
         but=("eax",), why="SeaBIOS has the disk refuse: 04h instead of 01h"),
    Case("write by number", 0x13, {"eax": 0x4300, "edx": 0x80, "esi": PACKET},
         _packet(99, 1) | {BUFFER: b"written" * 73}),
    Case("what was written", 0x13, {"eax": 0x4200, "edx": 0x80, "esi": PACKET}, _packet(99, 1), (FIRST_BYTES,)),
    Case("verify by number", 0x13, {"eax": 0x4400, "edx": 0x80, "esi": PACKET}, _packet(99, 1)),
    Case("seek by number", 0x13, {"eax": 0x4700, "edx": 0x80, "esi": PACKET}, _packet(99, 1)),
    Case("parameters of the extensions", 0x13, {"eax": 0x4800, "edx": 0x80, "esi": PACKET},
         {PACKET: bytes((26, 0)).ljust(64, b"\0")}, ((PACKET, 26),)),
    Case("too little room", 0x13, {"eax": 0x4800, "edx": 0x80, "esi": PACKET},
         {PACKET: bytes((10, 0)).ljust(64, b"\0")}),
    Case("no emulation", 0x13, {"eax": 0x4B01, "edx": 0x80, "esi": PACKET}, but=("eax", "carry"),
         why="SeaBIOS answers as if there were one"),
    Case("unknown", 0x13, {"eax": 0x7700, "edx": 0x80}),
)  # fmt: skip

FLOPPY = (
    Case("floppy: reset", 0x13, {"eax": 0, "edx": 0}),
    Case("floppy: read", 0x13, {"eax": 0x0202, "ecx": 0x0005, "edx": 0, "ebx": BUFFER}, memory=(FIRST_BYTES,)),
    Case(
        "floppy: read side 1", 0x13, {"eax": 0x0201, "ecx": 0x2A12, "edx": 0x0100, "ebx": BUFFER}, memory=(FIRST_BYTES,)
    ),
    Case(
        "floppy: write", 0x13, {"eax": 0x0301, "ecx": 0x0A03, "edx": 0x0100, "ebx": BUFFER}, {BUFFER: b"diskette" * 64}
    ),
    Case(
        "floppy: what was written",
        0x13,
        {"eax": 0x0201, "ecx": 0x0A03, "edx": 0x0100, "ebx": BUFFER},
        {BUFFER: bytes(512)},
        (FIRST_BYTES,),
    ),
    Case("floppy: verify", 0x13, {"eax": 0x0401, "ecx": 0x0A03, "edx": 0x0100, "ebx": BUFFER}),
    Case("floppy: sector 19", 0x13, {"eax": 0x0201, "ecx": 0x0013, "edx": 0, "ebx": BUFFER}),
    Case("floppy: across 64 KiB", 0x13, {"eax": 0x0202, "ecx": 0x0001, "edx": 0, "ebx": 0xFF00, "es": 0x1000}),
    Case("floppy: parameters", 0x13, {"eax": 0x0800, "edx": 0}, but=("edi",), why="where the table is"),
    Case("floppy: no second drive", 0x13, {"eax": 0x0800, "edx": 1}),
    Case(
        "floppy: type",
        0x13,
        {"eax": 0x1500, "edx": 0},
        but=("eax",),
        why="drives have a change line, of which SeaBIOS knows nothing",
    ),
    Case(
        "floppy: change line",
        0x13,
        {"eax": 0x1600, "edx": 0},
        but=("eax", "carry"),
        why="SeaBIOS says of each drive that its diskette has been changed",
    ),
    Case("floppy: status", 0x13, {"eax": 0x0100, "edx": 0}, but=("eax", "carry"), why="the same"),
    Case("floppy: no extensions", 0x13, {"eax": 0x4100, "ebx": 0x55AA, "edx": 0}),
)

GROUPS: Mapping[str, tuple[Case, ...]] = {
    "text": TEXT,
    "modes": GRAPHICS,
    "pixels": PIXELS,
    "system": SYSTEM,
    "PCI": PCI,
    "keyboard": KEYBOARD,
    "disk": DISK,
    "floppy": FLOPPY,
}
