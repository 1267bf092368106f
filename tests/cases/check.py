"""Compares what an executor did with what a case expects, and writes outcomes in the notation of cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.cases.model import (
    FLAG_BITS,
    TRAP_VECTORS,
    VISIBLE_FLAGS,
    Case,
    Expectation,
    Outcome,
    State,
)


def expected_outcome(case: Case) -> Outcome:
    """The complete outcome a case describes: the start state with the right-hand side laid over it."""
    expected = case.expected or Expectation()
    registers = list(case.start.registers)
    for number, (value, mask) in expected.registers.items():
        registers[number] = registers[number] & ~mask | value
    images = case.images()
    for address, data in expected.memory.items():
        start = next(start for start, image in images.items() if start <= address < start + len(image))
        image, offset = images[start], address - start
        images[start] = image[:offset] + data + image[offset + len(data) :]
    state = State(
        registers=tuple(registers),
        eip=case.end if expected.eip is None else expected.eip,
        eflags=case.start.eflags & ~expected.flags_named | expected.flags,
        memory=images,
    )
    return Outcome(state, expected.trap)


def differences(case: Case, wanted: Outcome, got: Outcome) -> list[str]:
    """One line for each thing that differs, `name: wanted, got`; empty when the outcomes agree.

    Of EFLAGS the bits user code can change are compared; what the case ignores is not.
    """
    found = []
    if wanted.trap != got.trap:
        found.append(f"exception: wanted {wanted.trap or 'none'}, got {got.trap or 'none'}")
    if wanted.state.eip != got.state.eip:
        found.append(f"eip: wanted {wanted.state.eip:08x}, got {got.state.eip:08x}")
    digits = case.bits // 4 if case.bits == 64 else 8
    registers = zip(case.register_names, wanted.state.registers, got.state.registers, strict=True)
    for number, (name, want, have) in enumerate(registers):
        if want != have and number not in case.ignored_registers:
            found.append(f"{name}: wanted {want:0{digits}x}, got {have:0{digits}x}")
    if changed := (wanted.state.eflags ^ got.state.eflags) & VISIBLE_FLAGS & ~case.ignored_flags:
        found.append(f"flags: wanted {_flags(wanted.state.eflags, changed)}, got {_flags(got.state.eflags, changed)}")
    for address, want_bytes, have_bytes in _memory_differences(case, wanted.state.memory, got.state.memory):
        found.append(f"[{address:x}]: wanted {want_bytes.hex()}, got {have_bytes.hex()}")
    return found


def _flags(eflags: int, mask: int) -> str:
    return " ".join(f"{name}={int(bool(eflags & bit))}" for name, bit in FLAG_BITS.items() if mask & bit)


def _memory_differences(
    case: Case, wanted: Mapping[int, bytes], got: Mapping[int, bytes]
) -> Iterator[tuple[int, bytes, bytes]]:
    """Runs of differing bytes, joined over gaps shorter than a doubleword so that one store reads as one."""
    for start, want in wanted.items():
        have = got[start]
        if want == have:
            continue
        ignored = {address - start + i for address, length in case.ignored_memory for i in range(length)}
        places = [i for i, (a, b) in enumerate(zip(want, have, strict=True)) if a != b and i not in ignored]
        if not places:
            continue
        first = last = places[0]
        for place in [*places[1:], len(want) + 8]:
            if place - last > 3:
                yield start + first, want[first : last + 1], have[first : last + 1]
                first = place
            last = place


def right_hand_side(case: Case, outcome: Outcome) -> str:
    """The outcome in the notation of cases: only what changed, without flags that are undefined."""
    words = []
    if outcome.trap:
        words.append(str(outcome.trap))
    registers = zip(case.register_names, case.start.registers, outcome.state.registers, strict=True)
    for number, (name, before, after) in enumerate(registers):
        if before != after and number not in case.ignored_registers:
            words.append(f"{name}={after:x}" if case.bits == 64 else f"{name}={after:08x}")
    default_eip = case.origin if outcome.trap and outcome.trap.vector not in TRAP_VECTORS else case.end
    if outcome.state.eip != default_eip:
        words.append(f"eip={outcome.state.eip:08x}")
    changed = (case.start.eflags ^ outcome.state.eflags) & VISIBLE_FLAGS & ~case.ignored_flags
    if changed:
        words.append(_flags(outcome.state.eflags, changed))
    for address, _, after_bytes in _memory_differences(case, case.images(), outcome.state.memory):
        words.append(f"[{address:x}]={after_bytes.hex()}")
    return " ".join(words)
