"""Images that say themselves where they go: the address fields of a multiboot header, 1 or 2.

They rule, whatever the rest of the file looks like (Multiboot Specification 0.6.96, 3.1.3; 2.0, 3.1.5).
"""

from bt.boot.placement import Executable, Piece
from bt.errors import BadImage


def parse(
    who: str, image: bytes, offset: int, header: int, load: int, load_end: int, bss_end: int, entry: int
) -> Executable:
    """The executable that a header at file offset `offset` describes; `who` begins errors. Raises BadImage."""
    start = offset - (header - load)
    if header < load or start < 0:
        raise BadImage(
            f"{who} load_addr {load:#x} and header_addr {header:#x} do not agree with "
            f"the header's place in the file, {offset:#x}"
        )
    if not load_end:  # zero: all of the file
        load_end = load + len(image) - start
    stop = start + load_end - load
    if stop > len(image):
        raise BadImage(f"{who} load_end_addr needs {stop:#x} bytes of file, it has {len(image):#x}: cut off?")
    if not bss_end:  # zero: none
        bss_end = load_end
    if not load < load_end <= bss_end:
        raise BadImage(
            f"{who} load_addr {load:#x}, load_end_addr {load_end:#x} and bss_end_addr {bss_end:#x} do not ascend"
        )
    if not load <= entry < bss_end:
        raise BadImage(f"{who} entry_addr {entry:#x} lies outside the image ({load:#x}..{bss_end - 1:#x})")
    return Executable(entry, [Piece(load, memoryview(image)[start:stop], bss_end - load, "image")])
