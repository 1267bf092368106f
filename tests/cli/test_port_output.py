"""What ports send is written before the guest goes on, in as few writes as that takes."""

from __future__ import annotations

from collections.abc import Callable

from bt.cli.port_output import PortSink, Writer


def test_what_is_handed_over_at_a_time_is_one_write() -> None:
    written: list[bytes] = []
    posted: list[Callable[[], None]] = []
    writer = Writer(written.append)
    first, second = PortSink(writer), PortSink(writer)
    first.send(ord("a"))
    assert written == [b"a"]  # nothing runs
    with writer.in_pieces(posted.append):
        for sink, byte in ((first, b"b"), (second, b"c"), (first, b"\n")):
            sink.send(byte[0])
        assert (len(posted), written) == (1, [b"a"])
        posted.pop()()
        assert written == [b"a", b"bc\n"]
        first.send(ord("d"))
        assert len(posted) == 1
    assert written == [b"a", b"bc\n", b"d"]  # the run has ended before anything else was done
    posted.pop()()
    assert len(written) == 3
