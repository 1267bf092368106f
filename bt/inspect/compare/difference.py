"""What two machines disagree about, in words and numbers for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bt.inspect.compare.peer import Peer
from bt.inspect.compare.registers import describe

MOST_BYTES = 8  # of differing RAM shown, by address
_WORD = 4


@dataclass(frozen=True)
class Difference:
    """One thing that differs, and how the two machines have it."""

    what: str
    left: str
    right: str


def differences(left: Peer, right: Peer) -> list[Difference]:
    """What differs in progress, registers and output."""
    found = []
    if left.instructions != right.instructions:
        found.append(Difference("instructions", f"{left.instructions:,}", f"{right.instructions:,}"))
    if left.ended != right.ended:
        found.append(Difference("guest", left.ended or "goes on", right.ended or "goes on"))
    a, b = left.registers(), right.registers()
    found += [Difference(name, describe(name, a[name]), describe(name, b[name])) for name in a if a[name] != b[name]]
    if (difference := _output(left.output(), right.output())) is not None:
        found.append(difference)
    return found


def _output(left: bytes, right: bytes) -> Difference | None:
    if left == right:
        return None
    at = next((n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    return Difference(f"output after {at} bytes", repr(left[at : at + 16]), repr(right[at : at + 16]))


def deep_differences(left: Peer, right: Peer) -> list[Difference]:
    """What differs in devices and RAM."""
    return [*_devices(left.devices(), right.devices()), *_ram(left, right)]


def _devices(left: Mapping[str, object], right: Mapping[str, object]) -> list[Difference]:
    if left == right:
        return []
    a, b = dict(_flatten(left)), dict(_flatten(right))
    names = sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
    return [Difference(name, str(a.get(name)), str(b.get(name))) for name in names]


def _flatten(state: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """The leaves of nested mappings, by dotted names."""
    for name, value in state.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name.removeprefix("_"), value


def _ram(left: Peer, right: Peer) -> list[Difference]:
    a, b = left.pages(), right.pages()
    if a == b:
        return []
    pages = sorted(page for page in a.keys() | b.keys() if a.get(page) != b.get(page))
    return ram_differences(pages, left.page, right.page)


def ram_differences(
    pages: Sequence[int], left: Callable[[int], bytes], right: Callable[[int], bytes]
) -> list[Difference]:
    """What differs in pages of RAM, of which two functions give the contents; the first MOST_BYTES of it."""
    found: list[Difference] = []
    for page in pages:
        mine, other = left(page), right(page)
        for at in range(0, len(mine), _WORD):
            if mine[at : at + _WORD] != other[at : at + _WORD]:
                if len(found) == MOST_BYTES:
                    return [*found, Difference("RAM", f"{len(pages)} pages in all", "")]
                found.append(Difference(f"RAM [{page + at:#x}]", *(p[at : at + _WORD].hex(" ") for p in (mine, other))))
    return found
