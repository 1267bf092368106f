"""The program in which the host CPU runs cases: a static i386 ELF file that we assemble ourselves.

It owns nothing but its own pages in the middle of the address space and the guest's regions low in it; stack and vDSO
are unmapped.  Descriptors: 0 reads the number of cases to run, 1 answers, 2 is the shared memory.  Shared memory begins
with the live guest memory (the regions side by side), then come the slots, one a case:

    +0x00  eflags edi esi ebp (unused) ebx edx ecx eax   in the order POPFD and POPAD take them
    +0x24  esp, ss; +0x2c  eip, cs                       far pointers for LSS and JMP
    +0x34  single-step traps to pass over before one counts
    +0x80  the sigcontext at the end, as the kernel saves it (struct sigcontext_32)
    +0x100 the guest's memory, replaced by what it is at the end

Before the first case the program enters strict seccomp: a case can make no system call but read, write and exit.
"""

from __future__ import annotations

import struct
from functools import cache

from guest_images.assembler import assemble
from tests.cases import layout

CHILD_BASE = 0x6B40_0000
"""From here to CHILD_END is the child's own: a case that reads, writes or jumps there is answered wrongly.  An address
that shifted and rotated pointers do not look like, because random programs try those."""
_VARIABLES = CHILD_BASE + 0x4000
_LAUNCH = _VARIABLES
_SLOT, _REMAINING, _TRAPS_TO_PASS = (_VARIABLES + 0x40 + 4 * index for index in range(3))
_STACK_TOP = CHILD_BASE + 0x8000
_SIGNAL_STACK = CHILD_BASE + 0x8000
_SIGNAL_STACK_BYTES = 0x8000
_IMAGE_END = _SIGNAL_STACK + _SIGNAL_STACK_BYTES
_SHARED = _IMAGE_END

MEMORY_BYTES = sum(region.size for region in layout.REGIONS)
CONTEXT_OFFSET = 0x80
MEMORY_OFFSET = 0x100
SLOT_BYTES = MEMORY_OFFSET + MEMORY_BYTES
SLOTS = 16
"""Cases in a batch.  Few, because a random address must not hit them: under a megabyte in four gigabytes."""
SHARED_BYTES = MEMORY_BYTES + SLOTS * SLOT_BYTES
CHILD_END = _SHARED + -(-SHARED_BYTES // layout.PAGE_BYTES) * layout.PAGE_BYTES

LAUNCH = struct.Struct("<14I")
CONTEXT = struct.Struct("<22I")
"""gs fs es ds, edi esi ebp esp ebx edx ecx eax, trapno err, eip cs, eflags, esp ss, fpstate, oldmask, cr2."""

CODE_16_SELECTOR = 0x07
"""First descriptor of the LDT: as CODE_SELECTOR, but D = 0."""
STACK_16_SELECTOR = 0x0F
"""Second descriptor of the LDT: as DATA_SELECTOR, but B = 0."""

# i386 Linux system calls and constants, arch/x86/entry/syscalls/syscall_32.tbl
_EXIT, _READ, _WRITE, _MUNMAP, _SIGRETURN, _MODIFY_LDT = 1, 3, 4, 91, 119, 123
_PRCTL, _RT_SIGACTION, _SIGALTSTACK, _MMAP2 = 172, 174, 186, 192
_PROT_READ, _PROT_WRITE, _PROT_EXEC = 1, 2, 4
_MAP_FLAGS = 0x8011  # MAP_SHARED | MAP_FIXED | MAP_POPULATE: a page not yet there would fault as not present
_SA_ONSTACK_NODEFER_RESTORER = 0x0800_0000 | 0x4000_0000 | 0x0400_0000
_SIGNALS = (4, 5, 7, 8, 11)  # SIGILL SIGTRAP SIGBUS SIGFPE SIGSEGV
_PR_SET_SECCOMP, _SECCOMP_MODE_STRICT = 22, 1
_CONTEXT_AT = 8  # a handler without SA_SIGINFO finds the sigcontext behind return address and signal number
_TRAPNO_AT, _EIP_AT = _CONTEXT_AT + 48, _CONTEXT_AT + 56


def _system_call(number: int, *arguments: int | str, checked: bool = True) -> list[str]:
    names = ("ebx", "ecx", "edx", "esi", "edi", "ebp")
    lines = [f"mov {name}, {value}" for name, value in zip(names, arguments, strict=False)]
    lines += [f"mov eax, {number}", "int 0x80"]
    if checked:
        lines += ["cmp eax, 0xfffff000", "ja failed"]
    return lines


def _set_up() -> list[str]:
    """Map shared memory and the guest's regions, unmap all else, take signals, make LDT entries, give up the kernel."""
    lines = [f"mov esp, {_STACK_TOP}"]
    for start, end in ((0x1000, CHILD_BASE), (_IMAGE_END, 0xFFFF_E000)):
        lines += _system_call(_MUNMAP, start, end - start)
    read_write = _PROT_READ | _PROT_WRITE
    lines += _system_call(_MMAP2, _SHARED, CHILD_END - _SHARED, read_write, _MAP_FLAGS, 2, 0)
    offset = 0
    for region in layout.REGIONS:
        protection = read_write if region.writable else _PROT_READ
        if region in (layout.CODE, layout.LOW_CODE):
            protection |= _PROT_EXEC
        lines += _system_call(_MMAP2, region.start, region.size, protection, _MAP_FLAGS, 2, offset >> 12)
        offset += region.size
    lines += [*_push(_SIGNAL_STACK_BYTES, 0, _SIGNAL_STACK), *_system_call(_SIGALTSTACK, "esp", 0)]
    lines += _push(0, 0, "restorer", _SA_ONSTACK_NODEFER_RESTORER, "handler")
    for signal in _SIGNALS:
        lines += _system_call(_RT_SIGACTION, signal, "esp", 0, 8)
    for descriptor in (_LDT_CODE_16, _LDT_STACK_16):
        # A kernel without 16-bit segments refuses: only cases that need them fail then, with #GP at the start.
        lines += [*_push(*reversed(descriptor)), *_system_call(_MODIFY_LDT, 0x11, "esp", 16, checked=False)]
    lines += _system_call(_PRCTL, _PR_SET_SECCOMP, _SECCOMP_MODE_STRICT, 0, 0, 0)
    return lines


# struct user_desc: entry, base, limit, bits 0 seg_32bit, 1-2 contents (2 = code), 3 read/exec only, 4 limit in pages
_LDT_CODE_16 = (0, 0, 0xFFFFF, 0b1_0_10_0)
_LDT_STACK_16 = (1, 0, 0xFFFFF, 0b1_0_00_0)


def _push(*values: int | str) -> list[str]:
    """Push values so that the last one given is at the lowest address; names are labels."""
    return [line for value in values for line in (f"mov eax, {value}", "push eax")]


def _serve() -> list[str]:
    """Wait for a number of cases, run that many slots, answer."""
    return [
        "batch:",
        *_system_call(_READ, 0, _REMAINING, 4, checked=False),
        "cmp eax, 4",
        "jne failed",
        f"mov dword ptr [{_SLOT}], {_SHARED + MEMORY_BYTES - SLOT_BYTES}",
        "next:",
        f"add dword ptr [{_SLOT}], {SLOT_BYTES}",
        f"dec dword ptr [{_REMAINING}]",
        "jns run",
        *_system_call(_WRITE, 1, _SLOT, 4),
        "jmp batch",
        "failed:",
        *_system_call(_EXIT, 1, checked=False),
    ]


def _run() -> list[str]:
    """Copy a slot's memory in, load its registers, jump.  The slot's header goes where absolute operands find it."""
    return [
        "run:",
        "cld",
        f"mov ebx, [{_SLOT}]",
        f"lea esi, [ebx + {MEMORY_OFFSET}]",
        f"mov edi, {_SHARED}",
        f"mov ecx, {MEMORY_BYTES // 4}",
        "rep movsd",
        "mov esi, ebx",
        f"mov edi, {_LAUNCH}",
        "mov ecx, 13",
        "rep movsd",
        "lodsd",
        f"mov [{_TRAPS_TO_PASS}], eax",
        f"mov eax, {layout.DATA_SELECTOR}",
        "mov ds, ax",
        "mov es, ax",
        "mov fs, ax",
        "mov gs, ax",
        f"mov esp, {_LAUNCH}",
        "popfd",
        "popad",
        f"lss esp, [{_LAUNCH + 0x24}]",
        ".byte 0xff, 0x2d",  # jmp far [eip, cs], which the assembler does not know
        f".long {_LAUNCH + 0x2C}",
    ]


def _handle() -> list[str]:
    """Signal handler: pass over single steps that do not count, else save context and memory and go on."""
    return [
        "handler:",
        f"cmp dword ptr [esp + {_TRAPNO_AT}], 1",
        "jne report",
        f"cmp dword ptr [esp + {_EIP_AT}], {CHILD_BASE}",
        "jb counts",
        f"cmp dword ptr [esp + {_EIP_AT}], {CHILD_END}",
        "jb resume",
        "counts:",
        f"cmp dword ptr [{_TRAPS_TO_PASS}], 0",
        "je report",
        f"dec dword ptr [{_TRAPS_TO_PASS}]",
        "resume:",
        "ret",
        "restorer:",
        "pop eax",
        f"mov eax, {_SIGRETURN}",
        "int 0x80",
        "report:",
        "cld",
        f"lea esi, [esp + {_CONTEXT_AT}]",
        f"mov edi, [{_SLOT}]",
        f"add edi, {CONTEXT_OFFSET}",
        f"mov ecx, {CONTEXT.size // 4}",
        "rep movsd",
        f"mov edi, [{_SLOT}]",
        f"add edi, {MEMORY_OFFSET}",
        f"mov esi, {_SHARED}",
        f"mov ecx, {MEMORY_BYTES // 4}",
        "rep movsd",
        f"mov esp, {_STACK_TOP}",
        "jmp next",
    ]


@cache
def program() -> bytes:
    """The ELF file: one read-write-execute segment at CHILD_BASE that also holds variables and stacks."""
    header_bytes = 52 + 32
    entry = CHILD_BASE + header_bytes
    code = assemble("\n".join([*_set_up(), *_serve(), *_run(), *_handle()]), 32, entry)
    size = header_bytes + len(code)
    if CHILD_BASE + size > _VARIABLES:
        raise AssertionError("the child's code runs into its variables")
    identification = b"\x7fELF" + bytes([1, 1, 1]) + bytes(9)
    elf = struct.pack("<16sHHIIIIIHHHHHH", identification, 2, 3, 1, entry, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    segment = struct.pack("<8I", 1, 0, CHILD_BASE, CHILD_BASE, size, _IMAGE_END - CHILD_BASE, 7, layout.PAGE_BYTES)
    return elf + segment + code
