"""A program of the fuzzer: where it starts, its code in slots, and what happens to it from outside, when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple

from tests.cases.model import with_every_instruction
from tests.robustness.fuzz import long_world, world
from tests.robustness.fuzz.long_settings import LONG_SETTINGS
from tests.robustness.fuzz.loops import Loops
from tests.robustness.fuzz.recipes import Recipes
from tests.robustness.fuzz.settings import SETTINGS

SLOTS = 64
"""In a program; copies of them fill the code region."""
MODELS = ("pentium4",) * 6 + ("pentium3", "pentium", "486", "pentium4,+nx", with_every_instruction())
LOOP_MODELS = ("pentium4", "pentium4,+nx", with_every_instruction())
_CHANCE_OF_LIMITS = 0.4
_NO_OPERATION = b"\x90"


class Event(NamedTuple):
    """Run `after` instructions, then do something: "run" nothing, "interrupt" vector `value`, "nmi", "a20", "write"
    random bytes to the code."""

    after: int
    kind: str
    value: int = 0


@dataclass(frozen=True)
class Program:
    """`seed`: of the tables and registers it begins with. As text it is a line of JSON.

    `limited`: each engine has limits of its own to its blocks and caches. What it keeps of page tables that changed
    under it, as a processor may, then depends on the engine.
    """

    setting: str
    model: str
    seed: str
    slots: tuple[bytes, ...]
    events: tuple[Event, ...]
    limited: bool = False
    calm: bool = False
    """Loops (loops.py) in a state that keeps nobody from executing them."""

    @property
    def code(self) -> bytes:
        """What fills the code region."""
        if self.is_long:
            return long_world.arranged(b"".join(self.slots))
        return b"".join(self.slots) * (world.CODE_BYTES // (SLOTS * world.SLOT_BYTES))

    @property
    def is_long(self) -> bool:
        """Whether it is in long mode (long_program.py)."""
        return self.setting in LONG_SETTINGS

    @property
    def instructions(self) -> int:
        return sum(event.after for event in self.events)

    def to_line(self) -> str:
        slots = b"".join(self.slots).hex()
        events = [list(event) for event in self.events]
        return json.dumps([self.setting, self.model, self.seed, slots, events, self.limited, self.calm])

    @staticmethod
    def from_line(line: str) -> Program:
        setting, model, seed, code, events, *flags = json.loads(line)
        slots = cut(bytes.fromhex(code))
        return Program(setting, model, seed, slots, tuple(Event(*event) for event in events), *flags)


def cut(code: bytes) -> tuple[bytes, ...]:
    """Code as slots."""
    size = world.SLOT_BYTES
    return tuple(code[at : at + size] for at in range(0, SLOTS * size, size))


def generate(random: Random, wanted: tuple[int, ...] = (), setting: str = "") -> Program:
    """A new program; `wanted`: numbers of forms to prefer."""
    if not setting:
        setting = random.choices(list(SETTINGS), [s.weight for s in SETTINGS.values()])[0]
    recipes = _recipes(random, setting, wanted)
    slots = tuple(_slot(random, recipes) for _ in range(SLOTS))
    limited = random.random() < _CHANCE_OF_LIMITS
    return Program(setting, random.choice(MODELS), str(random.getrandbits(48)), slots, _events(random), limited)


def generate_loops(random: Random, setting: str = "") -> Program:
    """A new program of loops, in flat segments."""
    flat = [name for name, s in SETTINGS.items() if s.is_flat]
    code = Loops(random).code(SLOTS * world.SLOT_BYTES)
    events = [
        Event(
            random.choice((10, 1_000, 5_000, 20_000, 20_000)), random.choice(("run", "interrupt", "nmi")), world.TIMER
        )
        for _ in range(random.randrange(2, 6))
    ]
    return Program(
        setting or random.choice(flat),
        random.choice(LOOP_MODELS),
        str(random.getrandbits(48)),
        cut(code),
        (*events, Event(20_000, "run")),
        calm=True,  # and no limits: a unit for each instruction, made anew and anew, takes its time
    )


def _recipes(random: Random, setting: str, wanted: tuple[int, ...]) -> tuple[Recipes, Recipes]:
    """For code of the setting's size, and of the other."""
    bits = SETTINGS[setting].bits
    return Recipes(random, bits, wanted), Recipes(random, 48 - bits, wanted)


def _slot(random: Random, recipes: tuple[Recipes, Recipes]) -> bytes:
    """Sequences until the slot is full. The last may be cut off, to go on with what the next slot begins with."""
    code, own = b"", recipes[random.random() > 0.92]
    while len(code) < world.SLOT_BYTES:
        code += own.sequence()
        rest = world.SLOT_BYTES - len(code) - 2
        if rest >= 0 and random.random() < 0.15:  # jump over the rest
            code += bytes([0xEB, rest]) + _NO_OPERATION * rest
    return code[: world.SLOT_BYTES]


def _events(random: Random) -> tuple[Event, ...]:
    kinds = ("run", "run", "interrupt", "interrupt", "interrupt", "nmi", "write", "a20")
    events = []
    for _ in range(random.randrange(4, 16)):
        kind = random.choice(kinds)
        value = (
            random.choice((world.TIMER, world.MOVER, world.MOVER)) if kind == "interrupt" else random.getrandbits(32)
        )
        if kind == "interrupt" and random.random() < 0.1:
            value = random.randrange(0x22, 0x40)
        events.append(Event(random.choice((1, 2, 5, 20, 50, 100, 150, 200, 300)), kind, value))
    return (*events, Event(50, "run"))


def mutate(random: Random, program: Program, others: Sequence[Program], wanted: tuple[int, ...]) -> Program:
    """The program with something changed: slots new, moved or from another one, bytes, events, state, setting."""
    slots = list(program.slots)
    recipes = _recipes(random, program.setting, wanted)
    for _ in range(random.choice((1, 2, 4, 12))):
        number, kind = random.randrange(SLOTS), random.random()
        if kind < 0.4:
            slots[number] = _slot(random, recipes)
        elif kind < 0.6:
            slots[number] = random.choice(random.choice(others).slots)
        elif kind < 0.75:
            slots[number] = slots[random.randrange(SLOTS)]
        else:
            code = bytearray(slots[number])
            code[random.randrange(len(code))] = random.getrandbits(8)
            slots[number] = bytes(code)
    changed = replace(program, slots=tuple(slots))
    if random.random() < 0.3:
        changed = replace(changed, events=_events(random))
    if random.random() < 0.3:
        changed = replace(changed, seed=str(random.getrandbits(48)))
    if random.random() < 0.1:
        alike = [name for name, s in SETTINGS.items() if s.bits == SETTINGS[program.setting].bits]
        changed = replace(changed, setting=random.choice(alike))
    if random.random() < 0.1:
        changed = replace(changed, model=random.choice(MODELS))
    return changed
