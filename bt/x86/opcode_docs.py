"""docs/instructions.md, generated from the opcode table: `python -m bt.x86.opcode_docs` writes it, a test compares."""

from __future__ import annotations

from pathlib import Path

from .opcodes import ALL_FLAGS, FORMS, TREATMENTS, UNDEFINED_ENCODINGS, Form, InstructionClass

PATH = Path(__file__).parents[2] / "docs" / "instructions.md"

_HEAD = """\
# Instructions

Every instruction bt knows, what it is to a virtual machine monitor, and what bt does with it. Generated from
`bt/x86/opcodes` by `python -m bt.x86.opcode_docs`: change the table, not this file.

Encodings are in the Intel SDM's notation, operand kinds in that of its volume 2, appendix A. A *class* says how an
instruction relates to virtualization:

| class | forms | meaning | treatment unless the tables name another |
| --- | ---: | --- | --- |
"""

_MEANINGS = {
    InstructionClass.IDENTITY: "means the same at every privilege level",
    InstructionClass.CONTROL: "near control transfer, or an instruction made to raise #UD",
    InstructionClass.MEMORY: "stack and string instructions: implicit memory operands",
    InstructionClass.SENSITIVE: "depends on or reveals privilege, descriptors, IF or time, and does not always trap",
    InstructionClass.PRIVILEGED: "#GP(0) unless CPL is 0",
    InstructionClass.UNDEFINED: "reserved on this class of processor",
}

_LEGEND = """
Flags are letters: `o s z a p c` the arithmetic ones, `d` DF, `i` IF, `t` TF, `l` IOPL, `n` NT, `r` RF, `v` VM, `k` AC,
`f` VIF, `g` VIP, `x` ID. *or none*: for some operand values no flag changes (a shift count of zero). *Limits* are what
the processor checks before anything else: `iopl` needs CPL <= IOPL, `io` that or permission in the TSS bitmap, `v86
iopl` is checked in virtual-8086 mode only; `protected` is #UD in real and virtual-8086 mode; a name in capitals is the
CPUID feature that must be present. LOCK, REP, REPE/REPNE: prefixes that mean something. In 64-bit mode all but those
that say otherwise have operands of 32 bits where there is a V, Z or Y, of 16 with prefix 66, and of 64 with REX.W (an
immediate Z then has 32, sign-extended).
"""


def _flags(form: Form) -> str:
    def letters(flags: str) -> str:
        return "all" if flags == ALL_FLAGS else flags

    parts = []
    if form.reads:
        parts.append(f"reads {letters(form.reads)}")
    if form.writes:
        parts.append(f"writes {letters(form.writes)}")
    if form.undefines:
        parts.append(f"undefines {letters(form.undefines)}")
    return ", ".join(parts) + (" or none" if form.may_keep_flags else "")


_LONG = {
    "": "",
    "gone": "not in 64-bit mode",
    "only": "64-bit mode",
    "default 64": "64 bits by default in 64-bit mode",
    "forced 64": "64 bits in 64-bit mode",
}


def _limits(form: Form) -> str:
    limits = [
        form.privilege if form.privilege != "any" else "",
        form.modes if form.modes != "any" else "",
        _LONG[form.long],
        form.cpuid.upper() if form.cpuid else "",
        "LOCK" if form.lock else "",
        {"rep": "REP", "repz": "REPE/REPNE", None: ""}[form.rep],
    ]
    return ", ".join(filter(None, limits))


def _encoding(form: Form) -> str:
    operands = ",".join(map(repr, form.operands))
    return f"`{form.encoding}`{' ' if operands else ''}{operands}"


def _table(cls: InstructionClass) -> str:
    # One line for all forms that differ in encoding only.
    lines: dict[tuple[str, str, str, str], list[Form]] = {}
    for form in sorted((form for form in FORMS if form.cls is cls), key=lambda form: form.name):
        lines.setdefault((form.name, _flags(form), _limits(form), form.treatment), []).append(form)
    rows = [
        f"| {name} | {'; '.join(map(_encoding, forms))} | {flags} | {limits} | {treatment} |"
        for (name, flags, limits, treatment), forms in lines.items()
    ]
    return "\n".join(
        (
            f"\n## {cls.value.capitalize()}\n",
            f"Treatment where the table names no other: {TREATMENTS[cls]}.\n",
            "| instruction | encodings and operands | flags | limits, prefixes | treatment |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
        )
    )


def render() -> str:
    """The whole file."""
    parts = [_HEAD]
    for cls, meaning in _MEANINGS.items():
        undefined = cls is InstructionClass.UNDEFINED
        count = len(UNDEFINED_ENCODINGS) if undefined else sum(form.cls is cls for form in FORMS)
        parts.append(f"| {cls.value} | {count} | {meaning} | {TREATMENTS[cls]} |\n")
    parts.append(_LEGEND)
    parts.extend(_table(cls) for cls in _MEANINGS if cls is not InstructionClass.UNDEFINED)
    parts.append("\n## Undefined\n\n| encodings | on other processors |\n| --- | --- |\n")
    parts.extend(f"| `{encoding}` | {reason} |\n" for encoding, reason in UNDEFINED_ENCODINGS.items())
    parts.append(
        "\nSo are the register forms (mod = 3) of instructions whose operand must be memory (M, Mv, Ma, Mp, Mq, Ms).\n"
    )
    return "".join(parts)


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
