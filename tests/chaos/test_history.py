"""When histories agree, and what came back: decided after the fact, so that it can be tested."""

import math

from .history import History, agreed_at, expired, returned


def seen(
    *events: tuple[float, str, bool], reason: str = "freed"
) -> list[tuple[float, str, bool, str]]:
    """Return what somebody saw."""
    return [(time, id, visible, "" if visible else reason) for time, id, visible in events]


OWNER = History("A", [(1.0, "A.1", True), (2.0, "A.2", True), (3.0, "A.1", False)], [])


def test_agreement_is_when_the_last_has_seen_all() -> None:
    """Both what was held must be shown and what was freed must be gone, everywhere."""
    owner = History(
        "A", OWNER.did, seen((1.0, "A.1", True), (2.0, "A.2", True), (3.0, "A.1", False))
    )
    late = History("B", [], seen((1.5, "A.1", True), (11.0, "A.2", True), (12.0, "A.1", False)))
    assert agreed_at([owner, late], since=10.0) == 12.0
    assert agreed_at([owner], since=10.0) == 10.0


def test_whoever_misses_something_does_not_agree() -> None:
    """What is never shown, or never goes, has no time of agreement."""
    never_shown = History("B", [], [])
    never_gone = History("B", [], seen((1.5, "A.1", True), (2.5, "A.2", True)))
    assert agreed_at([OWNER, never_shown], since=10.0) == math.inf
    assert agreed_at([OWNER, never_gone], since=10.0) == math.inf


def test_agreement_that_is_lost_again_does_not_count() -> None:
    """It is for good: what goes later while it is held, or returns, is no agreement."""
    shown = seen((2.5, "A.2", True), (12.0, "A.2", False), (13.0, "A.2", True))
    did = [(2.0, "A.2", True)]
    owner = History("A", did, seen((2.0, "A.2", True)))
    assert agreed_at([owner, History("B", [], shown)], since=10.0) == 13.0
    assert agreed_at([owner, History("B", [], shown[:2])], since=10.0) == math.inf


def test_what_is_freed_later_is_of_no_interest() -> None:
    """Under constant load, what was held at the moment may go before everybody has seen it."""
    did = [(2.0, "A.2", True), (11.0, "A.2", False)]
    owner = History("A", did, seen((2.0, "A.2", True), (11.0, "A.2", False)))
    assert agreed_at([owner, History("B", [], [])], since=10.0) == 11.0
    gone = seen((2.0, "A.2", True), (11.5, "A.2", False))
    assert agreed_at([owner, History("B", [], gone)], since=10.0) == 10.0


def test_what_comes_back_is_told_from_what_is_heard_late() -> None:
    """Back is what was freed, had left a view, and is in it again."""
    back = History("B", [], seen((1.5, "A.1", True), (4.0, "A.1", False), (11.0, "A.1", True)))
    late = History("C", [], seen((11.0, "A.1", True), (11.1, "A.1", False)))
    assert returned([OWNER, back, late], since=10.0) == ["A.1 at B"]
    assert returned([OWNER, back, late], since=11.0) == []


def test_expiry_is_told_by_who_saw_it_and_whose_it_was() -> None:
    """Frees are no expiry, and neither is what lies before."""
    saw = seen((5.0, "A.1", False), (6.0, "B.1", False), reason="expired")
    history = History("C", [], [*saw, *seen((7.0, "A.2", False))])
    assert expired([history], since=1.0) == {"C": [5.0, 6.0]}
    assert expired([history], since=1.0, of=["A"]) == {"C": [5.0]}
    assert expired([history], since=5.0, of=["A"]) == {"C": []}
