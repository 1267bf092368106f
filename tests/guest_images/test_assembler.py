"""The checked assembler: golden bytes (checked against NASM and the SDM by hand), refusals, labels and layout."""

import pytest

from guest_images.assembler import assemble, assemble_program
from guest_images.operands import AssemblyError

# bits | instruction | bytes.  First the forms keystone 0.9.2 gets wrong or does not know.
GOLDEN = """
32 | lgdt [ebx]                         | 0f0113
32 | lidt [0x1000]                      | 0f011d00100000
32 | sgdt [eax + 4]                     | 0f014004
32 | sidt [esp]                         | 0f010c24
16 | lgdt [0x1000]                      | 0f01160010
32 | push ds                            | 1e
32 | push es                            | 06
32 | push fs                            | 0fa0
32 | pop ds                             | 1f
32 | pop ss                             | 17
16 | push cs                            | 0e
32 | push dword 5                       | 6a05
32 | push 0xffffffff                    | 6aff
32 | pushf                              | 9c
32 | pushfd                             | 9c
32 | pushfw                             | 669c
16 | pushf                              | 9c
16 | pushfd                             | 669c
32 | popfd                              | 9d
32 | iret                               | cf
32 | iretd                              | cf
16 | iret                               | cf
16 | iretd                              | 66cf
64 | iretq                              | 48cf
32 | pushad                             | 60
32 | popaw                              | 6661
32 | movsd                              | a5
32 | rep movsd                          | f3a5
32 | rep movsw                          | f366a5
16 | rep movsw                          | f3a5
32 | repe cmpsb                         | f3a6
32 | repne scasd                        | f2af
32 | jmp 8:0x1234                       | ea341200000800
16 | jmp 0x10:0x1234                    | ea34121000
32 | call 0x1b:0x100000                 | 9a000010001b00
32 | ljmp [ebx]                         | ff2b
32 | lcall [ebx + 8]                    | ff5b08
32 | pop dword [ebx]                    | 8f03
16 | pop dword [bx]                     | 668f07
16 | jmp 0x300                          | e9fd01
16 | call 0x1234                        | e83111
16 | jz 0x110                           | 740e
16 | ret                                | c3
16 | ret 4                              | c20400
32 | retf                               | cb
32 | retf 8                             | ca0800
32 | jz 0x110                           | 740e
32 | jnae 0x300                         | 0f82fa010000
32 | jmp near 0x110                     | e90b000000
32 | jmp 0xfffffff0                     | e9ebfeffff
32 | jecxz 0x100                        | e3fe
32 | jcxz 0x110                         | 67e30d
32 | xlat                               | d7
32 | cbw                                | 6698
32 | cdq                                | 99
16 | cdq                                | 6699
32 | imul eax, 5                        | 6bc005
32 | imul edx, [ebp - 4], 1000          | 6955fce8030000
32 | mov eax, [ecx*4 + eax + 5]         | 8b448805
32 | lea eax, [ebp + eax]               | 8d440500
32 | lea eax, [eax + ebp]               | 8d0428
32 | mov eax, [bx + si]                 | 678b00
32 | mov eax, gs:[eax*2 + ebx - 4]      | 658b4443fc
32 | mov byte [eax], -1                 | c600ff
32 | add eax, 0xffffffff                | 83c0ff
32 | cmp eax, 0x80                      | 3d80000000
32 | and eax, 0fffffff0h                | 83e0f0
32 | test eax, [ebx]                    | 8503
32 | xchg ebx, eax                      | 93
32 | shld ax, bx, 4                     | 660fa4d804
32 | lock cmpxchg [ebx], ecx            | f00fb10b
32 | cmovnz eax, ebx                    | 0f45c3
32 | setz al                            | 0f94c0
32 | mov cr3, eax                       | 0f22d8
32 | invlpg [eax]                       | 0f0138
32 | ltr ax                             | 0f00d8
32 | lar eax, ecx                       | 0f02c1
32 | int 0x80                           | cd80
32 | out 0x80, al                       | e680
32 | movdqa xmm0, [eax]                 | 660f6f00
32 | movsd xmm0, xmm1                   | f20f10c1
64 | mov rax, [rip + 4]                 | 488b0504000000
64 | push 5                             | 6a05
"""

# bits | instruction | part of the message
REFUSED = """
64 | mov ah, [r8]          | .byte
32 | jmp fword ptr [ebx]   | .byte
32 | frobnicate eax        | .byte
32 | mov al, 0x1ff         | .byte
32 | jmp short 0x1000      | a short branch reaches
32 | jecxz 0x1000          | a short branch reaches
32 | mov eax, [missing]    | unknown symbol 'missing'
32 | mov eax, ebx + 4      | a register cannot stand in a constant
32 | mov eax, [ebx * ecx]  | two registers
32 | mov eax, huge [ebx]   | operand sizes are
16 | jmp 8:0x12345         | does not fit a far pointer
32 | .byte 256             | does not fit 1 bytes
32 | .quux 1               | directives are
32 | .include "absent"     | not found in any folder
20 | nop                   | 16, 32 or 64
"""


def rows(table: str) -> list[tuple[str, ...]]:
    return [tuple(part.strip() for part in line.split("|")) for line in table.strip().splitlines()]


@pytest.mark.parametrize(("bits", "text", "code"), rows(GOLDEN))
def test_golden_bytes(bits: str, text: str, code: str) -> None:
    assert assemble(text, int(bits), 0x100).hex() == code


@pytest.mark.parametrize(("bits", "text", "message"), rows(REFUSED))
def test_refusals_say_what_to_do(bits: str, text: str, message: str) -> None:
    with pytest.raises(AssemblyError) as refusal:
        assemble(text, int(bits), 0x100)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_errors_name_the_line() -> None:
    with pytest.raises(AssemblyError, match=r"^line:3: "):
        assemble("nop\nnop\nmov eax, nowhere", 32, 0)


def test_labels_scopes_and_constants() -> None:
    code = assemble(
        """
        COUNT = 3
        first:
            mov ecx, COUNT
        .loop:
            dec ecx
            jnz .loop
            jmp second
        second:
        .loop:
            jmp .loop
        table:
            .long first, table - first, $
        """,
        32,
        0x1000,
    )
    assert code.hex() == "b9030000004975fdeb00ebfe001000000c0000000c100000"


def test_branches_grow_only_where_they_must() -> None:
    near, far = assemble("jmp end\n.space 127\nend:", 32, 0), assemble("jmp end\n.space 128\nend:", 32, 0)
    assert (near[:2].hex(), len(near)) == ("eb7f", 129)
    assert (far[:5].hex(), len(far)) == ("e980000000", 133)


def test_macros_get_fresh_labels() -> None:
    code = assemble(
        """
        .macro skip value
            jmp over_\\@
            .byte \\value
        over_\\@:
        .endm
        skip 1
        skip 2
        """,
        32,
        0,
    )
    assert code.hex() == "eb0101eb0102"


def test_strings_and_comments() -> None:
    assert assemble(".byte \"a;b,\\n\", ';', 0 ; comment", 32, 0) == b"a;b,\n;\0"


def test_sections_start_on_pages_and_bss_is_not_stored() -> None:
    program = assemble_program(
        """
        .section bss
        buffer: .space 100
        .section data
        word: .long buffer
        .section text
            mov eax, [word]
        """,
        32,
        0x100000,
    )
    assert dict(program.symbols) == {"word": 0x101000, "buffer": 0x102000}
    assert len(program.image) == 0x1004
    assert program.image[0x1000:] == (0x102000).to_bytes(4, "little")
    assert program.end == 0x102064
