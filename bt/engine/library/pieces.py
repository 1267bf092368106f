"""Room for the code of a vCPU: pieces of the library's arena, taken as code comes and given back when it is forgotten.

All pieces lie in one arena, so code in one reaches code in any other by rel32.
"""

from __future__ import annotations

from bt.codegen.arena import ArenaFull
from bt.engine.library.library import Library


class Pieces:
    """The pieces of one kind of code: 1 to `most`. `current` is the host address of the one being filled.

    The first is there from the start. It costs no memory before it is written, and whoever has it can always go on:
    forget what is there, fill it again.
    """

    def __init__(self, library: Library, most: int, *, vital: bool = True) -> None:
        """`vital`: its owner cannot do without. Raises ArenaFull when there is not one piece left, Closed if the
        library is.
        """
        self._library, self._most = library, most
        self._pieces = [library.claim(first=vital)]
        self.bytes = library.piece_bytes  # of one

    @property
    def current(self) -> int:
        return self._pieces[-1]

    @property
    def end(self) -> int:
        """Where the current piece ends."""
        return self.current + self.bytes

    def grow(self) -> bool:
        """Begin another piece; False when there are `most` already, or the library has none to spare."""
        if len(self._pieces) == self._most:
            return False
        try:
            self._pieces.append(self._library.claim(first=False))
        except ArenaFull:
            return False
        return True

    def shrink(self) -> None:
        """Give back all but the first; nothing may run in any of them until it has been written anew."""
        while len(self._pieces) > 1:
            self._library.release(self._pieces.pop())

    def close(self) -> None:
        """Give back all, and what has been given back before goes to the host."""
        while self._pieces:
            self._library.release(self._pieces.pop())
        self._library.trim()
