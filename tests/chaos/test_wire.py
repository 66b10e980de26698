"""The cable in user space: it delays, loses its share, and keeps the order."""

from .wire import Wire


def test_packets_arrive_at_the_other_end_after_the_delay_in_order() -> None:
    """Nothing arrives before its time, and nothing overtakes."""
    wire = Wire(3, 4, delay=0.5, loss=0.0)
    assert wire.pause(10.0) is None
    wire.take(3, b"first", 10.0)
    wire.take(4, b"back", 10.1)
    wire.take(3, b"second", 10.2)
    assert wire.pause(10.2) == 0.3000000000000007
    assert wire.due(10.4) == []
    assert wire.due(10.65) == [(4, b"first"), (3, b"back")]
    assert wire.pause(11.0) == 0.0
    assert wire.due(11.0) == [(4, b"second")]


def test_the_share_of_lost_packets_is_what_was_asked_for() -> None:
    """Of ten thousand packets five in a hundred are lost, by the law of large numbers."""
    wire = Wire(3, 4, delay=0.0, loss=0.05)
    for _ in range(10_000):
        wire.take(3, b"packet", 0.0)
    assert 9_400 < len(wire.due(0.0)) < 9_600
