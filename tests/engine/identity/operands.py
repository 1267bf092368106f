"""What the code of units may access."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bt.x86.capstone_layout import Handle

# the way into a unit has its own slot, whose address it loads into r12; operands in FS and GS have the segment's base,
# whose address they load into rbx
_NEAR = re.compile(r"\[r10( \+ (r[acd]x|rsi|rdi|r8|r14|rbx|r12)(\*[1248])?)?( [+-] (0x)?[0-9a-f]+)?\]")
# stores beside code look into the TLB and at the map of code, and then go to the page's place on the host
_ENTRY = re.compile(
    r"^(cmp|mov) rcx, qword ptr \[r12( \+ 0x18)?\]|^mov rcx, qword ptr \[rcx\]|^add r14, qword ptr \[r12 \+ 0x10\]"
)
_ON_HOST = re.compile(r"\[r14\]")
_RESTORED = ["pop rax", "add al, 0x7f", "sahf", "mov rax, rbx", "pop rcx"]
# repeated strings: of at most 4096 elements, from the view's base on; with paging, of pages that are noted to be open
_REPEATED = re.compile(r"^rep (movs|stos)")
_NOTED = re.compile(r"^test dword ptr \[r12 \+ r14\*8 \+ 0x[0-9a-f]+\], 0x[0-9a-f]+$")
_ALLOWED = re.compile(r"gs:\[|\[r13|\[rbp \+ r14\*8\]|^cmp dword ptr \[r12\], |^mov ebx, dword ptr \[rbx\]")


def check_operands(emitted: Iterable[tuple[int, bytes]]) -> int:
    """That every memory operand is gs: with a 32-bit address, or from the view's base on with one register of 32 bits,
    or touches the state or the branch table, or has been looked for in the TLB; how many. For repeated strings, that
    what leads to them has been looked at."""
    seen = 0
    with Handle(64) as handle:
        for start, code in emitted:
            lines = list(handle.disassemble(code, start))
            assert sum(len(line.code) for line in lines) == len(code)
            for number, line in enumerate(lines):
                if _ON_HOST.search(line.text) and not line.text.startswith("lea "):
                    number -= _ON_HOST.search(lines[number - 1].text) is not None  # XCHG accesses it twice
                    before = [other.text for other in lines[number - 6 : number]]
                    assert before == ["add r14, qword ptr [r12 + 0x10]", *_RESTORED], line.text
                elif _REPEATED.search(line.text):
                    indexes = ("rsi", "rdi") if "movs" in line.text else ("rdi",)
                    for back, index in enumerate(reversed(indexes), 1):
                        assert lines[number - back].text == f"lea {index}, [r10 + {index}]"
                    restored = number - len(indexes)
                    assert [other.text for other in lines[restored - 3 : restored]] == _RESTORED[1:4]
                    looks = [other.text for other in lines[max(restored - 30, 0) : restored]]
                    assert "cmp ecx, 0x1000" in looks
                    assert looks[looks.index("cmp ecx, 0x1000") + 1].startswith("ja ")
                    seen += 1
                elif _NOTED.search(line.text):
                    assert "[r13" in lines[number - 4].text
                elif "[" in line.text and not line.text.startswith(("lea ", "nop")):
                    assert _ALLOWED.search(line.text) or _ENTRY.search(line.text) or _NEAR.search(line.text), line.text
                    assert "gs:" not in line.text or b"\x65\x67" in line.code, line.text
                    seen += 1
    return seen
