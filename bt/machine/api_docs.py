"""docs/api.md: `python -m bt.machine.api_docs` makes it of docstrings; tests/api/test_api_docs.py runs its examples."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import bt
from bt.api import keyboard, memory, registers, screen, serial, stops
from bt.devices.device import Device, Line
from bt.end import End
from bt.machine.board import Part
from bt.machine.config import MachineConfig
from bt.machine.machine import Machine
from bt.machine.media import Drive
from bt.machine.result import Result, Where
from bt.machine.snapshot import Snapshot

PATH = Path(__file__).parents[2] / "docs" / "api.md"
HEAD = '''\
# The Python API

Made from docstrings by `python -m bt.machine.api_docs`; the examples are run by `tests/api/test_api_docs.py`.

What is imported from `bt` itself is here; `import bt` alone imports nothing of it. Errors are `BtError`, with one line
for people. What a device, a sink or a posted function raises leaves `run`, and the machine can go on afterwards.

## Examples

A guest by itself:

```python
from bt import Machine

with Machine(memory="64M", cpu="pentium3") as vm:
    vm.load("kernel.elf", append="n=1000")
    result = vm.run(timeout=60)
    print(result.reason, result.status, vm.serial.output.decode())
```

Until something comes; the same instruction in every run and under both engines:

```python
from bt import Address, GuestTime, Insns, Machine, Pattern

with Machine(memory="64M") as vm:
    entry = vm.load("kernel.elf")
    stop = vm.run(until=[Pattern("Hello"), Address(0xFFFF0000)], limit=GuestTime(10))
    assert stop.until == Pattern("Hello"), stop.reason
    print(stop.where, stop.instructions, vm.reg.eax, vm.reg["cs"].base)
    vm.run(until=Insns(1000))
    print(vm.mem.linear[vm.reg.eip : vm.reg.eip + 4].hex(), vm.mem.physical.u32[0x1000])
```

The far end of the serial port, a keyboard and a screen:

```python
from bt import GuestTime, Machine

with Machine(memory="64M") as vm:
    vm.load("kernel.elf")
    match = vm.serial.expect(r"(\\w+), world", limit=GuestTime(10))
    print(match[1])
    vm.serial.send("a line for the guest\\n")
    vm.keyboard.type("hello\\n")
    vm.keyboard.keys("ctrl-alt-f2")
    vm.run(limit=GuestTime(1))
    print(vm.screen.text(), vm.screen.cursor)
    vm.screen.save("screen.ppm")
```

`vm.serial.run("uname -a").text` is for a shell at the other end. A device of one's own:

```python
from bt import Device, Machine, Part


class Counter(Device):
    """Each read gives the next number; a write sets it."""

    fields = ("value",)  # what is saved in snapshots
    value = 0

    def read(self, offset: int, size: int) -> int:
        self.value += 1
        return self.value & 0xFF

    def write(self, offset: int, size: int, value: int) -> None:
        self.value = value


with Machine(memory="64M") as vm:
    vm.ports.attach(Counter("mine"), 0x300, 1)  # port 300h
    vm.mmio.attach(Counter("also mine"), 0xFED0_8000, 4)  # and in memory
    vm.add(Part("counter", "310-317", (5,), lambda board, irq: Counter("counter")))  # reset and saved with the others
    vm.load("kernel.elf")
    vm.run(timeout=60)
```

Back to a snapshot, and two machines at once:

```python
import threading

from bt import Insns, Machine

with Machine(memory="64M") as one, Machine(memory="64M", engine="interp") as other:
    for vm in (one, other):
        vm.load("kernel.elf")
    threads = [threading.Thread(target=vm.run) for vm in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one.serial.output == other.serial.output
    one.reset()
    with one.snapshot() as snapshot:
        one.run(until=Insns(10_000))
        one.restore(snapshot)
```

The monitor, and a disk that changes:

```python
from bt import Drive, Machine
from bt.monitor.monitor import Monitor

with Machine(memory="64M", drives=[Drive("disc.iso", media="cdrom")]) as vm:
    vm.load("kernel.elf")
    monitor = Monitor(vm)
    print(monitor.execute("info registers"), monitor.execute("x/4xw $esp"), monitor.execute("info block"))
    vm.change("ide1-cd0", "other.iso")
    vm.eject("ide1-cd0")
```
'''
SECTIONS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("Machines", (Machine, MachineConfig, Drive, Snapshot)),
    ("Runs", (Result, Where, End, stops.Pattern, stops.Address, stops.Insns, stops.GuestTime)),
    ("Serial port, keyboard, mouse, screen", (serial.Serial, serial.CommandOutput, keyboard.Keyboard, keyboard.Mouse,
                                              screen.Screen)),
    ("Registers and memory", (registers.Registers, registers.SegmentRegister, memory.Memory, memory.Space,
                              memory.Numbers)),
    ("Devices", (Device, Line, Part)),
)  # fmt: skip
FROM_BT = frozenset(vars(bt)["_NAMES"])


def render() -> str:
    """The whole file."""
    parts = [HEAD]
    for title, classes in SECTIONS:
        parts.append(f"\n## {title}\n")
        parts += [_class(each) for each in classes]
    return "".join(parts)


def _class(each: type) -> str:
    home = "" if each.__name__ in FROM_BT else f" (`{each.__module__}`)"
    members = "".join(f"\n- `{shown}`{f': {text}' if text else ''}" for shown, text in _members(each))
    return f"\n### {each.__name__}{home}\n\n{_text(each)}\n{members}{'' if not members else chr(10)}"


def _members(each: type) -> Iterator[tuple[str, str]]:
    """What is public, with its signature and what it says of itself, in the order of the source."""
    if "__init__" in vars(each) and not hasattr(each, "__dataclass_fields__") and each in (Machine,):
        yield f"{each.__name__}{_signature(vars(each)['__init__'])}", _text(vars(each)["__init__"])
    for owner in reversed(each.__mro__[:-1]):
        if not owner.__module__.startswith("bt."):
            continue
        for name, member in vars(owner).items():
            if name.startswith("_") or (owner is not each and name in vars(each)):
                continue
            if isinstance(member, property | cached_property):
                function = member.fget if isinstance(member, property) else member.func
                if _text(function):
                    yield name, _text(function)
            elif inspect.isfunction(member) and _text(member):
                yield f"{name}{_signature(member)}", _text(member)


def _signature(function: object) -> str:
    assert callable(function)
    signature = inspect.signature(function)
    parameters = [parameter for name, parameter in signature.parameters.items() if name != "self"]
    text = str(signature.replace(parameters=parameters))
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)  # annotations are text
    return re.sub(r" -> None$", "", text)


def _text(member: object) -> str:
    """The docstring as one paragraph a paragraph."""
    text = inspect.getdoc(member) or ""
    if inspect.isclass(member) and text.startswith(f"{member.__name__}("):
        return ""  # a dataclass without words of its own
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n")).replace("\n\n", "\n\n  ")


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
