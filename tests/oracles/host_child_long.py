"""The same as host_child.py for 64-bit code: a static x86-64 ELF file, with the layout of memory and slots from there.

+0x00  rflags, rax rcx rdx rbx rsp rbp rsi rdi r8 ... r15, rip
+0x90  single-step traps to pass over before one counts
+0x100 the machine context at the end, as the kernel saves it (struct sigcontext_64)
+0x200 the guest's memory, replaced by what it is at the end
"""

from __future__ import annotations

import struct
from functools import cache

from guest_images.assembler import assemble
from tests.cases import layout
from tests.cases.model import LONG_REGISTERS
from tests.oracles.host_child import CHILD_BASE, MEMORY_BYTES, SLOTS

CODE_SELECTOR, STACK_SELECTOR = 0x33, 0x2B
"""Of 64-bit programs on Linux; the other segment registers are 0."""

_VARIABLES = CHILD_BASE + 0x4000
_LAUNCH = _VARIABLES
_SLOT, _REMAINING, _TRAPS_TO_PASS = (_VARIABLES + 0x100 + 8 * index for index in range(3))
_STACK_TOP = CHILD_BASE + 0x8000
_SIGNAL_STACK = CHILD_BASE + 0x8000
_SIGNAL_STACK_BYTES = 0x8000
_IMAGE_END = _SIGNAL_STACK + _SIGNAL_STACK_BYTES
_SHARED = _IMAGE_END
USER_END = 0x7FFF_FFFF_F000

CONTEXT_OFFSET = 0x100
MEMORY_OFFSET = 0x200
SLOT_BYTES = MEMORY_OFFSET + MEMORY_BYTES
SHARED_BYTES = MEMORY_BYTES + SLOTS * SLOT_BYTES
CHILD_END = _SHARED + -(-SHARED_BYTES // layout.PAGE_BYTES) * layout.PAGE_BYTES

LAUNCH = struct.Struct("<19Q")
CONTEXT = struct.Struct("<18Q4H4Q")
"""r8 ... r15, rdi rsi rbp rbx rdx rax rcx rsp, rip, eflags, cs gs fs ss, err, trapno, oldmask, cr2."""
_LAUNCH_RIP = _LAUNCH + 8 * 17

# Linux system calls and constants, arch/x86/entry/syscalls/syscall_64.tbl
_READ, _WRITE, _MMAP, _MUNMAP, _RT_SIGACTION, _RT_SIGRETURN, _EXIT = 0, 1, 9, 11, 13, 15, 60
_SIGALTSTACK, _PRCTL = 131, 157
_PROT_READ, _PROT_WRITE, _PROT_EXEC = 1, 2, 4
_MAP_FLAGS = 0x8011  # MAP_SHARED | MAP_FIXED | MAP_POPULATE: a page not yet there would fault as not present
_SA_SIGINFO_ONSTACK_NODEFER_RESTORER = 4 | 0x0800_0000 | 0x4000_0000 | 0x0400_0000
_SIGNALS = (4, 5, 7, 8, 11)  # SIGILL SIGTRAP SIGBUS SIGFPE SIGSEGV
_PR_SET_SECCOMP, _SECCOMP_MODE_STRICT = 22, 1
_MCONTEXT_AT = 40  # in the ucontext, which RDX points to
_RIP_AT, _TRAPNO_AT = _MCONTEXT_AT + 16 * 8, _MCONTEXT_AT + 20 * 8


def _system_call(number: int, *arguments: int | str, checked: bool = True) -> list[str]:
    names = ("rdi", "rsi", "rdx", "r10", "r8", "r9")
    lines = [f"mov {name}, {value}" for name, value in zip(names, arguments, strict=False)]
    lines += [f"mov eax, {number}", "syscall"]
    if checked:
        lines += ["cmp rax, -4096", "ja failed"]
    return lines


def _push(*values: int | str) -> list[str]:
    """Push values so that the last one given is at the lowest address; names are labels."""
    return [line for value in values for line in (f"mov eax, {value}", "push rax")]


def _set_up() -> list[str]:
    """Map shared memory and the guest's regions, unmap all else, take signals, give up the kernel."""
    lines = [f"mov esp, {_STACK_TOP}"]
    for start, end in ((0x1000, CHILD_BASE), (_IMAGE_END, USER_END)):
        lines += [f"mov rax, {end - start}", "mov rsi, rax", f"mov edi, {start}", f"mov eax, {_MUNMAP}", "syscall"]
    read_write = _PROT_READ | _PROT_WRITE
    lines += _system_call(_MMAP, _SHARED, CHILD_END - _SHARED, read_write, _MAP_FLAGS, 2, 0)
    offset = 0
    for region in layout.REGIONS:
        protection = read_write if region.writable else _PROT_READ
        if region in (layout.CODE, layout.LOW_CODE):
            protection |= _PROT_EXEC
        lines += _system_call(_MMAP, region.start, region.size, protection, _MAP_FLAGS, 2, offset)
        offset += region.size
    lines += [*_push(_SIGNAL_STACK_BYTES, 0, _SIGNAL_STACK), *_system_call(_SIGALTSTACK, "rsp", 0)]
    lines += _push(0, "restorer", _SA_SIGINFO_ONSTACK_NODEFER_RESTORER, "handler")
    for signal in _SIGNALS:
        lines += _system_call(_RT_SIGACTION, signal, "rsp", 0, 8)
    lines += _system_call(_PRCTL, _PR_SET_SECCOMP, _SECCOMP_MODE_STRICT, 0, 0, 0)
    return lines


def _serve() -> list[str]:
    """Wait for a number of cases, run that many slots, answer."""
    return [
        "batch:",
        *_system_call(_READ, 0, _REMAINING, 4, checked=False),
        "cmp eax, 4",
        "jne failed",
        f"mov ebx, {_SLOT}",
        f"mov dword ptr [rbx], {_SHARED + MEMORY_BYTES - SLOT_BYTES}",
        "next:",
        f"mov ebx, {_SLOT}",
        f"add dword ptr [rbx], {SLOT_BYTES}",
        f"dec dword ptr [rbx + {_REMAINING - _SLOT}]",
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
        "mov ebx, dword ptr [rbx]",
        f"lea rsi, [rbx + {MEMORY_OFFSET}]",
        f"mov edi, {_SHARED}",
        f"mov ecx, {MEMORY_BYTES // 8}",
        "rep movsq",
        "mov esi, ebx",
        f"mov edi, {_LAUNCH}",
        "mov ecx, 18",
        "rep movsq",
        "lodsq",
        f"mov edi, {_TRAPS_TO_PASS}",
        "mov qword ptr [rdi], rax",
        f"mov esp, {_LAUNCH}",
        "popfq",
        *_load_registers(),
        *_absolute(0xFF, 4, _LAUNCH_RIP, wide=False),
    ]


def _load_registers() -> list[str]:
    return [
        line
        for number in range(len(LONG_REGISTERS))
        for line in _absolute(0x8B, number, _LAUNCH + 8 * (1 + number), wide=True)
    ]


def _absolute(opcode: int, register: int, address: int, *, wide: bool) -> list[str]:
    """An instruction with ModRM and an absolute operand, which the assembler would make relative."""
    rex = f"{0x48 | register >> 3 << 2:#x}, " if wide else ""
    return [f".byte {rex}{opcode:#x}, {(register & 7) << 3 | 4:#x}, 0x25", f".long {address}"]


def _handle() -> list[str]:
    """Signal handler: pass over single steps that do not count, else save context and memory and go on."""
    return [
        "handler:",
        f"mov ecx, {_TRAPS_TO_PASS}",
        f"cmp qword ptr [rdx + {_TRAPNO_AT}], 1",
        "jne report",
        f"cmp qword ptr [rdx + {_RIP_AT}], {CHILD_BASE}",
        "jb counts",
        f"cmp qword ptr [rdx + {_RIP_AT}], {CHILD_END}",
        "jb resume",
        "counts:",
        "cmp qword ptr [rcx], 0",
        "je report",
        "dec qword ptr [rcx]",
        "resume:",
        "ret",
        "restorer:",
        f"mov eax, {_RT_SIGRETURN}",
        "syscall",
        "report:",
        "cld",
        f"lea rsi, [rdx + {_MCONTEXT_AT}]",
        f"mov ebx, {_SLOT}",
        "mov ebx, dword ptr [rbx]",
        f"lea rdi, [rbx + {CONTEXT_OFFSET}]",
        f"mov ecx, {CONTEXT.size // 8}",
        "rep movsq",
        f"lea rdi, [rbx + {MEMORY_OFFSET}]",
        f"mov esi, {_SHARED}",
        f"mov ecx, {MEMORY_BYTES // 8}",
        "rep movsq",
        f"mov esp, {_STACK_TOP}",
        "jmp next",
    ]


@cache
def program() -> bytes:
    """The ELF file: one read-write-execute segment at CHILD_BASE that also holds variables and stacks."""
    header_bytes = 64 + 56
    entry = CHILD_BASE + header_bytes
    code = assemble("\n".join([*_set_up(), *_serve(), *_run(), *_handle()]), 64, entry)
    size = header_bytes + len(code)
    if CHILD_BASE + size > _VARIABLES:
        raise AssertionError("the child's code runs into its variables")
    identification = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    elf = struct.pack("<16sHHIQQQIHHHHHH", identification, 2, 62, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<2I6Q", 1, 7, 0, CHILD_BASE, CHILD_BASE, size, _IMAGE_END - CHILD_BASE, layout.PAGE_BYTES)
    return elf + segment + code
