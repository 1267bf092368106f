"""memtest86+: by itself and from its ISO; what its screen shows, and the clock that it measures."""

from __future__ import annotations

from tests.guests.images import fetched
from tests.guests.session import Clock, Screen, Session, Shot, Step, WholeScreen

# Not compared: the processor, its clock and caches, speeds, times, memory that firmware keeps, the maker's name.
WHOLE = """\
      Memtest86+ v6.10      │ ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
CLK/Temp: ~~~~MHz           │ Pass ~~% {pass_bar}
L1 Cache: ~~~~~~~ ~~~~~~~~~ │ Test ~~% ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
L2 Cache: ~~~~~~~ ~~~~~~~~~ │ Test #~~ [~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
L3 Cache: ~~~~~~~ ~~~~~~~~~ │ Testing: ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
Memory  :   6~MB ~~~~~~~~~~ │ Pattern: ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
────────────────────────────┴─────────────┬─────────────────────────────────────
CPU: 1 Cores 1 Threads    SMP: Disabled   │ Time:  0:~~:~~  Status: {status}  ~
Using: ~~~~~~~~~                          │ Pass:  {passes}        Errors: 0
──────────────────────────────────────────┴─────────────────────────────────────
{banner}
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
 <ESC> Exit  <F1> Configuration  <Space> Scroll Lock            6.10.unknown.x~~
"""
NO_BANNER = "\n" * 12
PASS_BANNER = """\



                       ######      ##      #####    #####
                       ##   ##    ####    ##   ##  ##   ##
                       ##   ##   ##  ##   ##       ##
                       ######   ##    ##   #####    #####
                       ##       ########       ##       ##
                       ##       ##    ##  ##   ##  ##   ##
                       ##       ##    ##   #####    #####

                       Press any key to remove this banner
"""
CLOCK = Clock(r"^CLK/Temp: *(\d+)MHz")


def looks(passes: int, status: str, banner: str) -> WholeScreen:
    return WholeScreen(WHOLE.format(passes=passes, status=status.ljust(7), banner=banner, pass_bar="~" * 40))


# Test 3 has begun, so tests 0 to 2 are through.
TO_TEST_3: tuple[Step, ...] = (
    Screen(r"Memtest86\+ v6\.10"),
    Screen(r"Test #3"),
    looks(0, "Testing", NO_BANNER),
    CLOCK,
)
BY_ITSELF, BY_ITSELF_NEEDS = "-M pc -m 64 -kernel {image}", {"image": fetched("memtest86+ia32.bin")}


MEMTEST = (
    Session("memtest-bin", BY_ITSELF, (*TO_TEST_3, Shot("memtest-bin")), BY_ITSELF_NEEDS),
    Session(
        "memtest-64",
        "-M pc -m 64 -cpu qemu64 -kernel {image}",
        (*TO_TEST_3, Screen(r"unknown\.x64"), Shot("memtest-64")),
        {"image": fetched("memtest86+x64.bin")},
    ),
    Session(
        "memtest-iso",
        "-M pc -m 64 -cdrom {image}",
        (*TO_TEST_3, Shot("memtest-iso")),
        {"image": fetched("memtest86+ia32.iso")},
    ),
    Session(
        "memtest-pass",
        BY_ITSELF,
        (
            *(Screen(rf"Test #{number}") for number in (3, 6, 9, 10)),  # the last waits for minutes whether bits fade
            looks(1, "Pass", PASS_BANNER),
            Shot("memtest-pass"),
        ),
        BY_ITSELF_NEEDS,
    ),
)
