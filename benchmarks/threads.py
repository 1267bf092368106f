"""Two machines at once: `python -m benchmarks.threads [RUNS]`.

Claim: two boots in threads of one process take at most 1.15 times what two processes take. Native code runs
without the interpreter's lock; what is left for Python are exits to devices. The guest is Debian's kernel, if it has
been fetched (`make guests`), up to so many instructions; both sides begin when all machines are ready.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from statistics import median

from bt.cli import library
from bt.cli.options import find_image
from bt.errors import BadImage
from bt.machine import Machine

LIMIT = 1.15
MACHINES = 2
INSTRUCTIONS = 1_500_000_000
KERNEL, COMMAND_LINE = "debian-12-linux", "earlyprintk=ttyS0 console=ttyS0"
SPARE, SPARE_COMMAND_LINE = "sieve", "n=400"  # where it has not been fetched
CHILD = "--child"


def ready() -> Machine:
    """A machine about to boot."""
    pc = Machine(memory="128M", library=library.load())
    try:
        pc.load(find_image(KERNEL), append=COMMAND_LINE)
    except BadImage:
        pc.load(find_image(SPARE), append=SPARE_COMMAND_LINE)
    return pc


def in_threads() -> float:
    """Seconds until the last of them is done."""
    machines = [ready() for _ in range(MACHINES)]
    threads = [threading.Thread(target=pc.run, kwargs={"max_insns": INSTRUCTIONS}) for pc in machines]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - start
    for pc in machines:
        pc.close()
    return seconds


def in_processes() -> float:
    """The same, a process each."""
    command = [sys.executable, "-m", "benchmarks.threads", CHILD]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(MACHINES)
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    start = time.monotonic()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    seconds = time.monotonic() - start
    for child in children:
        child.communicate()
    return seconds


def child() -> int:
    with ready() as pc:
        print("ready", flush=True)
        sys.stdin.readline()
        pc.run(max_insns=INSTRUCTIONS)
        print("done", flush=True)
    return 0


def main() -> int:
    if CHILD in sys.argv:
        return child()
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    library.load()
    rows = [(in_threads(), in_processes()) for _ in range(runs)]
    for number, (threads, processes) in enumerate(rows, 1):
        print(f"run {number}: threads {threads:.2f} s, processes {processes:.2f} s, ratio {threads / processes:.3f}")
    ratio = median(threads / processes for threads, processes in rows)
    print(f"{MACHINES} machines, threads / processes: {ratio:.3f} (median of {runs}, at most {LIMIT})")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
