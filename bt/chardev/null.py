"""A character device that nobody is at."""

from bt.chardev.chardev import Chardev


class Null(Chardev):
    """Nothing comes, what is written is gone."""

    def write(self, data: bytes) -> None:
        pass
