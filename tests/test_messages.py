"""Messages as plain facts: values that compare, and words of parting that harm no terminal."""

import attrs
import pytest

from manifest.crdt import Delta
from manifest.messages import Bye, Gossip, Lease, Synced, one_line
from tests.data.golden.vectors import HELLO


def test_messages_are_values() -> None:
    """Messages with equal fields are equal, and none can be changed."""
    assert Gossip(Delta(), (Lease("A", 1, 2),)) == Gossip(Delta(), (Lease("A", 1, 2, 0, None),))
    assert Synced() == Synced()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        HELLO.node = "B"  # type: ignore[misc]


@pytest.mark.parametrize(
    "unruly",
    ["\0", "\n", "\r", "\t", "\x1b", "\x7f", "\x9b", "\u2028", "\u202e", "\u2066", "\ud800"],
)
def test_a_reason_is_one_line(unruly: str) -> None:
    """What could end a line of a log or command a terminal stands as a blank in Bye."""
    bye = Bye(code=f"err{unruly}or", reason=f"no{unruly}way")
    assert (bye.code, bye.reason) == ("err or", "no way")


def test_other_text_is_left_as_it_is() -> None:
    """Blanks, quotes and text in any script pass through."""
    text = "clocks are 61.2 s apart: grüße, 世界 \N{EARTH GLOBE EUROPE-AFRICA} — “see” NTP"
    assert one_line(text) == text
