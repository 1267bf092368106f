"""`bt explain IMAGE`: what the translator makes of a guest's code, side by side; what is interpreted, and how."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bt import machine
from bt.cli import begin, library, options
from bt.engine.linear import Address, translate
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.inspect import modes
from bt.inspect.code import offset_text, place_text
from bt.inspect.explanation import host_code
from bt.inspect.explanation.diary import Fragment, GuestInstruction, Piece
from bt.inspect.explanation.explain import Explainer
from bt.inspect.explanation.interpreted import InterpretedBlock, InterpretedInstruction
from bt.inspect.explanation.long_units import explained_long_units
from bt.inspect.explanation.units import ExplainedUnit, explained_unit
from bt.inspect.place import Place, looking_at
from bt.x86.mode import CODE_64
from bt.x86.opcodes import InstructionClass
from bt.x86.state import CS

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
_INTERPRETED_COLUMNS = (
    ("guest", 8, 13),
    ("", 4, 22),
    ("instruction", 16, 40),
    ("class", 10, 10),
    ("handler", 8, 36),
    ("record", 8, 30),
    ("and then", 20, None),
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
Blocks are shown in order of address from the entry (or PLACE) on, in the mode that the processor is in then.
PLACE is a linear address (0x7c00), or selector and offset in hexadecimal (f000:fff0).

With --tier 2 the unit of each block follows, as it would be if the block were hot by itself; real units follow the
path that is taken, and repeat short loops. There `sub r15` charges, gs: leads to the view, rbp to the branch table.
Flat 32-bit code and code of real and virtual-8086 mode become units, here without paging, and 64-bit code, where an
instruction that is for none has one before and one behind it: r15 is rsp there, r13 leads to the state, r10 and r11 are
for accesses.

`=` marks an instruction whose translation is the instruction itself with its registers renamed, `!` a callout: the
interpreter does it. [names] in host code are slots of the CPU state, <names> where a jump leads. Below each block come
its stubs off the hot path. Code that is not flat 32-bit is interpreted: each instruction is shown with its handler,
the operands in its decoded record, what the handler calls, raises or leaves to Python for, and for a floating-point
instruction the host's."""


def main(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    image = options.chosen_image(given)
    config = machine.MachineConfig(memory=given.memory, cpu=options.chosen_cpu(given, image))
    pc = machine.Machine(config, library=library.load(config.cpu))
    pc.load(
        image,
        append=given.append,
        initrd=options.chosen_initrd(given),
        flat=given.flat,
        boot_sector=bool(given.boot_sector),
    )
    begin.advance(pc, given.after, given.until)
    assert isinstance(pc.cpu, TranslatingVcpu)
    cpu = pc.cpu
    blocks = given.blocks or (None if given.insns else DEFAULT_BLOCKS)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    translated = False
    with looking_at(cpu, given.at or Place(cpu.state["eip"], cpu.state.segment(CS, "selector"))) as eip:
        console.print(modes.describe_mode(cpu.state), highlight=False)
        console.print(*modes.describe_segments(cpu.state), "", sep="\n", style="dim", highlight=False)
        for block in Explainer(cpu).blocks(eip, blocks=blocks, instructions=given.insns):
            if isinstance(block, InterpretedBlock):
                show_interpreted(block, console)
                if given.tier == "2" and cpu.state["mode"] & CODE_64:
                    for unit in explained_long_units(cpu, block.eip):
                        show_unit(unit, console)
            else:
                show(
                    block,
                    place_text(cpu, block.eip),
                    translate(cpu, block.eip),
                    host_code.labels_of(block, pc.library),
                    console,
                )
                translated = True
                if given.tier == "2":
                    show_unit(explained_unit(cpu, block.eip), console)
    if translated:
        console.print(_legend(), style="dim", highlight=False)
    return 0


def _parser() -> options.Parser:
    parser = options.Parser("bt explain", "Show what the translator makes of a guest's code.", EPILOG)
    options.add_guest(parser, machine.MachineConfig.memory)
    add = parser.add_argument
    add("--at", metavar="PLACE", type=begin.place, help="explain the code there, not at the entry")
    begin.add(parser)
    add("--tier", choices=("1", "2"), default="1", help="2: show the unit that each block could become besides")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--blocks", metavar="N", type=options.count, help=f"so many blocks (default {DEFAULT_BLOCKS})")
    amount.add_argument("--insns", metavar="N", type=options.count, help="blocks that make up so many instructions")
    return parser


def show(fragment: Fragment, place: str, address: Address, labels: Mapping[int, str], console: Console) -> None:
    """Print a fragment: its instructions beside their host code, then what is off the hot path."""
    ratio = f"{fragment.guest_bytes} guest bytes -> {fragment.host_bytes} host bytes"
    _heading(place, address, f"{len(fragment.instructions)} instructions, {ratio}", console)
    console.print(_hot_table(fragment, labels))
    console.print()
    console.print(_cold_table(fragment, labels))
    console.print()


def _heading(place: str, address: Address, what: str, console: Console) -> None:
    physical = f"{address.physical:#x}" if address.physical is not None else "unmapped"
    where = f"linear {address.linear:#x}, physical {physical}"
    console.print(f"block {place} ({where}): {what}\n", style="bold", highlight=False)


def show_interpreted(block: InterpretedBlock, console: Console) -> None:
    """Print a block that the interpreter executes, a line for each record."""
    what = f"{len(block.instructions)} instructions, {block.guest_bytes} guest bytes, interpreted: {block.why}"
    _heading(block.place, block.address, what, console)
    table = Table(box=None, pad_edge=False)
    for heading, least, most in _INTERPRETED_COLUMNS:
        table.add_column(heading, no_wrap=heading != "and then", min_width=least, max_width=most)
    for instruction in block.instructions:
        table.add_row(
            instruction.place,
            Text(instruction.code.hex(), style="dim"),
            Text(instruction.text),
            Text(instruction.form.cls.value, style=_STYLES[instruction.form.cls]),
            Text.assemble(instruction.form.meaning, (f" {instruction.handler.name}", "dim")),
            Text(instruction.operands),
            Text(_consequences(instruction)),
        )
    console.print(table)
    console.print()


def show_unit(unit: ExplainedUnit, console: Console) -> None:
    """Print what tier 2 makes of a block: the instructions themselves, where they are charged, how they are left."""
    console.print(f"{unit}\n", style="bold", highlight=False)
    table = Table(box=None, pad_edge=False)
    for heading in ("guest", "instruction", "", "host code"):
        table.add_column(heading, no_wrap=True)
    for line in unit.lines:
        style = "green" if line.mark == "=" else "bold yellow"
        table.add_row(f"{line.eip:08x}", Text(line.text), Text(line.mark, style=style), Text("\n".join(line.host)))
    table.add_row("", Text("(off the hot path)", style="dim"), "", Text("\n".join(unit.stubs)))
    console.print(table)
    console.print()


def _consequences(instruction: InterpretedInstruction) -> str:
    """What may come of an interpreted instruction, beside going on to the next."""
    handler = instruction.handler
    parts = []
    if instruction.host:
        parts.append(f"host: {'; '.join(instruction.host)}")
    if handler.calls:
        parts.append(f"calls {' '.join(handler.calls)}")
    if instruction.faults:
        parts.append(f"raises {' '.join(instruction.faults)}")
    if handler.exits:
        parts.append(f"leaves for {' '.join(handler.exits)}")
    return "; ".join(parts)


def _hot_table(fragment: Fragment, labels: Mapping[int, str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading, least, most in _COLUMNS:
        table.add_column(heading, no_wrap=True, min_width=least, max_width=most)
    table.add_row("", "", Text("(block entry)", style="dim"), "", "", *_pieces(fragment.head, labels))
    for instruction in fragment.instructions:
        style = _STYLES[instruction.form.cls]
        table.add_row(
            offset_text(fragment.mode, instruction.eip),
            Text(instruction.code.hex(), style="dim"),
            Text(instruction.text, style="bold" if instruction.is_callout else ""),
            Text(instruction.form.cls.value, style=style),
            Text("!" if instruction.is_callout else "=" if host_code.is_identity(instruction) else "", style=style),
            *_instruction_code(instruction, labels),
        )
    if fragment.link:
        table.add_row("", "", Text("(on to the next)", style="dim"), "", "", *_pieces(fragment.link, labels))
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
        lines = [_host_line(piece, line, style) for line in host_code.disassemble(piece, labels)]
        name = host_code.purpose(piece) if piece.kind != "stencil" else piece.name
        names += [Text(name, style=style), *[Text()] * (len(lines) - 1)]
        code += lines or [Text()]
    return Text("\n").join(names), Text("\n").join(code)


def _host_line(piece: Piece, line: host_code.HostLine, style: str) -> Text:
    """A host instruction, with its bytes where it was encoded for this place alone (floating point)."""
    code = "" if piece.kind else f"{line.code.hex()} "
    return Text.assemble((code, "dim"), (line.text, style))


def _cold_table(fragment: Fragment, labels: Mapping[int, str]) -> Table:
    table = Table(box=None, pad_edge=False, title="off the hot path", title_justify="left", title_style="dim")
    for heading in ("of", "what for", "host code"):
        table.add_column(heading, no_wrap=True)
    for owner, piece in _cold_pieces(fragment):
        lines = [line.text for line in host_code.disassemble(piece, labels)]
        code = ("; " if len(lines) < 3 else "\n").join(lines)
        table.add_row(owner, host_code.purpose(piece), Text(code))  # not markup: operands are in brackets
    return table


def _cold_pieces(fragment: Fragment) -> Iterator[tuple[str, Piece]]:
    yield from (("", piece) for piece in fragment.cold)
    for instruction in fragment.instructions:
        yield from ((offset_text(fragment.mode, instruction.eip), piece) for piece in instruction.cold)


def _legend() -> str:
    places = ", ".join(f"{role} in {register}" for role, register in host_code.pinned_registers().items())
    return f"In translated code: {places}. T is the address or operand between two stencils."
