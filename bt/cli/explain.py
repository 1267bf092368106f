"""`bt explain IMAGE`: what the translator makes of a guest's code, side by side."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bt import machine
from bt.cli import library, options
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.errors import BadUsage
from bt.inspect import host_code
from bt.inspect.diary import GuestInstruction, Piece, Unit
from bt.inspect.explain import Explainer
from bt.x86.opcodes import InstructionClass

DEFAULT_BLOCKS = 3
WIDTH = 150  # where there is no terminal to fit into
_COLUMNS = (  # heading, least and most characters
    ("guest", 8, 8),
    ("", 4, 16),
    ("instruction", 16, 40),
    ("class", 10, 10),
    ("", 1, 1),
    ("stencil", 8, 36),
    ("host code", 40, None),
)
_STYLES = {
    InstructionClass.IDENTITY: "green",
    InstructionClass.CONTROL: "cyan",
    InstructionClass.MEMORY: "blue",
    InstructionClass.SENSITIVE: "bold yellow",
    InstructionClass.PRIVILEGED: "bold red",
    InstructionClass.UNDEFINED: "bold red",
}
EPILOG = """\
Blocks are shown in order of address from the entry (or ADDR) on. `=` marks an instruction whose translation is the
instruction itself with its registers renamed, `!` a callout: the interpreter does it. [names] in host code are slots
of the CPU state, <names> where a jump leads. Below each block come its stubs off the hot path."""


def main(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    pc = machine.Machine(machine.MachineConfig(memory=given.memory, cpu=given.cpu), library=library.load())
    pc.load(
        options.chosen_image(given),
        append=given.append,
        initrd=options.chosen_initrd(given),
        flat=given.flat,
        boot_sector=bool(given.boot_sector),
    )
    if given.after:
        result = pc.run(max_insns=given.after)
        if result.reason != "max-insns":
            raise BadUsage(f"--after {given.after}: the guest ended before, after {result.instructions:,} instructions")
    assert isinstance(pc.cpu, TranslatingVcpu)
    start = pc.cpu.state["eip"] if given.at is None else given.at
    blocks = given.blocks or (None if given.insns else DEFAULT_BLOCKS)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    for unit in Explainer(pc.cpu).units(start, blocks=blocks, instructions=given.insns):
        show(unit, host_code.labels_of(unit, pc.library), console)
    console.print(_legend(), style="dim", highlight=False)
    return 0


def _parser() -> options.Parser:
    parser = options.Parser("bt explain", "Show what the translator makes of a guest's code.", EPILOG)
    options.add_guest(parser, machine.MachineConfig.memory)
    add = parser.add_argument
    add("--at", metavar="ADDR", type=options.address, help="explain the code there, not at the entry")
    add("--after", metavar="N", type=options.count, help="run N instructions first")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--blocks", metavar="N", type=options.count, help=f"so many blocks (default {DEFAULT_BLOCKS})")
    amount.add_argument("--insns", metavar="N", type=options.count, help="blocks that make up so many instructions")
    return parser


def show(unit: Unit, labels: Mapping[int, str], console: Console) -> None:
    """Print a unit: its instructions beside their host code, then what is off the hot path."""
    ratio = f"{unit.guest_bytes} guest bytes -> {unit.host_bytes} host bytes"
    console.print(
        f"block {unit.eip:08x}: {len(unit.instructions)} instructions, {ratio}\n", style="bold", highlight=False
    )
    console.print(_hot_table(unit, labels))
    console.print()
    console.print(_cold_table(unit, labels))
    console.print()


def _hot_table(unit: Unit, labels: Mapping[int, str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading, least, most in _COLUMNS:
        table.add_column(heading, no_wrap=True, min_width=least, max_width=most)
    table.add_row("", "", Text("(block entry)", style="dim"), "", "", *_pieces(unit.head, labels))
    for instruction in unit.instructions:
        style = _STYLES[instruction.form.cls]
        table.add_row(
            f"{instruction.eip:08x}",
            Text(instruction.code.hex(), style="dim"),
            Text(instruction.text, style="bold" if instruction.is_callout else ""),
            Text(instruction.form.cls.value, style=style),
            Text("!" if instruction.is_callout else "=" if host_code.is_identity(instruction) else "", style=style),
            *_instruction_code(instruction, labels),
        )
    if unit.link:
        table.add_row("", "", Text("(on to the next)", style="dim"), "", "", *_pieces(unit.link, labels))
    return table


def _instruction_code(instruction: GuestInstruction, labels: Mapping[int, str]) -> tuple[Text, Text]:
    if not instruction.hot:
        return Text("(in the one above)", style="dim"), Text()
    return _pieces(instruction.hot, labels)


def _pieces(pieces: Sequence[Piece], labels: Mapping[int, str]) -> tuple[Text, Text]:
    """Names and host instructions, line by line: each name beside the first instruction of its piece."""
    names, code = [], []
    for piece in pieces:
        style = "bold yellow" if piece.kind == "stub" else ""
        lines = [Text(line.text, style=style) for line in host_code.disassemble(piece, labels)]
        name = host_code.purpose(piece) if piece.kind != "stencil" else piece.name
        names += [Text(name, style=style), *[Text()] * (len(lines) - 1)]
        code += lines or [Text()]
    return Text("\n").join(names), Text("\n").join(code)


def _cold_table(unit: Unit, labels: Mapping[int, str]) -> Table:
    table = Table(box=None, pad_edge=False, title="off the hot path", title_justify="left", title_style="dim")
    for heading in ("of", "what for", "host code"):
        table.add_column(heading, no_wrap=True)
    for owner, piece in _cold_pieces(unit):
        lines = [line.text for line in host_code.disassemble(piece, labels)]
        table.add_row(owner, host_code.purpose(piece), "; ".join(lines) if len(lines) < 3 else "\n".join(lines))
    return table


def _cold_pieces(unit: Unit) -> Iterator[tuple[str, Piece]]:
    yield from (("", piece) for piece in unit.cold)
    for instruction in unit.instructions:
        yield from ((f"{instruction.eip:08x}", piece) for piece in instruction.cold)


def _legend() -> str:
    places = ", ".join(f"{role} in {register}" for role, register in host_code.pinned_registers().items())
    return f"In translated code: {places}. T is the address or operand between two stencils."
