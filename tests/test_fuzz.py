"""The fuzzer itself: it finds what is planted, and in a share of what it tries, nothing else."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from typing import Any

import pytest

from manifest.crdt import Entry, Stamp
from manifest.errors import ManifestError
from manifest.messages import Gossip
from manifest.protocol import LinkProtocol
from manifest.records import Record
from manifest.replica import Joined, Replica
from manifest.wire import decode_message
from tests import fuzz
from tests.cuts import cut_everywhere
from tests.fuzz import Batch, Finding, run_batch, table
from tests.mutations import mutate, parse
from tests.sessions import Session, check_passes_on, record_sessions, visitor

SLOWEST = 10.0
"""Seconds: how fast frames are is judged by `nox -s fuzz`, not on whatever runs these tests."""


def some(seed: int) -> Batch:
    """Try a share of a batch."""
    return run_batch(seed, slowest=SLOWEST, scale=0.25)


@pytest.fixture(autouse=True, scope="module")
def materials() -> None:
    """Record what is mutated before a test plants anything, whichever of them runs first."""
    fuzz._materials()


@pytest.fixture(scope="module")
def sessions() -> list[Session]:
    """Return what is mutated."""
    return record_sessions()


@pytest.mark.parametrize("seed", range(4))
def test_mutated_frames_find_nothing(seed: int) -> None:
    """No frame raises anything but refusals, is half applied, or is a poison for others."""
    batch = some(seed)
    assert batch.findings == []
    assert batch.frames > 1_000
    assert batch.joined
    assert batch.refused
    assert batch.conversations


def test_a_seed_is_a_batch() -> None:
    """What was found once is found again."""
    one, other = some(7), some(7)
    assert (one.frames, one.decoded, one.joined, one.refused) == (
        other.frames, other.decoded, other.joined, other.refused
    )  # fmt: skip


def test_sessions_are_valid_and_passed_on(sessions: list[Session]) -> None:
    """Whoever hears a recorded session takes all of it in, and a third has it from there."""
    for session in sessions:
        site = visitor(session)
        protocol = LinkProtocol(site.replica)
        for payload in session.payloads:
            protocol.receive_data(len(payload).to_bytes(4, "big") + payload)
        check_passes_on(site)
    kinds = {payload[:1] for session in sessions for payload in session.payloads}
    assert kinds == {b"H", b"G", b"S", b"B"}


def test_payloads_are_taken_apart_to_the_last_byte(sessions: list[Session]) -> None:
    """The values of a payload lie within each other, and the outermost is all of it."""
    for session in sessions:
        for payload in session.payloads:
            parsed = parse(payload)
            assert (parsed.values[0].start, parsed.values[0].end) == (1, len(payload))
            for value in parsed.values:
                for item in value.items:
                    assert value.start < item.start < item.end <= value.end


def test_mutations_change_and_sometimes_pass(sessions: list[Session]) -> None:
    """Most of what comes of it is refused, and some is valid all the same."""
    draw = random.Random(1)
    frames = [parse(payload) for session in sessions for payload in session.payloads]
    changed = passed = 0
    for _ in range(2_000):
        frame = draw.choice(frames)
        payload = mutate(draw, frame, draw.choice(frames))
        changed += payload != frame.payload
        try:
            decode_message(payload, record_bytes=2048)
        except ManifestError:
            continue
        passed += 1
    assert changed > 1_500
    assert 100 < passed < 1_000


def kinds_of(batch: Batch) -> set[str]:
    """Return what kinds of findings there are."""
    return {finding.kind for finding in batch.findings}


@pytest.mark.parametrize("suspect", [math.inf, -math.inf])
def test_an_error_that_is_no_refusal_is_found(
    suspect: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else the decoder or the replica raises is told, measured again or not at all."""

    def fail() -> None:
        # Otherwise the load of the machine would decide whether this is measured again.
        monkeypatch.setattr(fuzz, "SUSPECT", suspect)
        raise KeyError("planted")

    def decode(payload: bytes, **limits: Any) -> Any:
        monkeypatch.setattr(fuzz, "SUSPECT", math.inf)
        if b"\xed\xa0\x80" in payload:
            fail()
        return decode_message(payload, **limits)

    with monkeypatch.context() as planted:
        planted.setattr(fuzz, "decode_message", decode)
        found = some(0).findings
    assert {finding.kind for finding in found} == {"uncaught while decoding"}
    assert "planted" in found[0].detail

    accept, calls = Replica.accept, Counter[Replica]()

    def join(self: Replica, gossip: Gossip) -> Joined:
        monkeypatch.setattr(fuzz, "SUSPECT", math.inf)
        calls[self] += 1
        # More than in any session as it was recorded.
        if calls[self] >= 30:
            fail()
        return accept(self, gossip)

    monkeypatch.setattr(Replica, "accept", join)
    assert "uncaught while joining" in kinds_of(some(0))


def test_what_is_half_applied_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal that leaves a trace is told, be it only in the clock."""
    accept = Replica.accept

    def join(self: Replica, gossip: Gossip) -> Joined:
        try:
            return accept(self, gossip)
        except ManifestError:
            self.clock.tick()
            raise

    monkeypatch.setattr(Replica, "accept", join)
    assert kinds_of(some(0)) == {"changed by what it refused"}


def test_a_poison_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one replica takes in and the next one refuses is told."""
    accept = Replica.accept

    def join(self: Replica, gossip: Gossip) -> Joined:
        joined = accept(self, gossip)
        if self.map.entry("a b") is None:
            stamp = Stamp(self.clock.tick(), self.node)
            self.map.write(Entry("a b", stamp, Record("web")))
        return joined

    monkeypatch.setattr(Replica, "accept", join)
    findings = some(0).findings
    assert {finding.kind for finding in findings} == {"a check failed"}
    assert "a fresh replica refuses what was accepted" in findings[0].detail


def test_what_is_slow_is_found() -> None:
    """Each frame that takes as long as is not allowed is a finding, and the slowest is kept."""
    batch = run_batch(0, slowest=1e-9, scale=0.1)
    assert kinds_of(batch) == {"slow"}
    assert batch.worst > 0
    assert batch.slowest


def test_batches_add_up() -> None:
    """The table tells of all batches together, and what was found in any."""
    total = Batch(frames=10, worst=0.001)
    finding = Finding(3, "slow", b"\x01\x02", "9.0 ms")
    total.add(Batch(frames=5, worst=0.009, slowest=b"\x01\x02", findings=[finding]))
    assert (total.frames, total.worst, total.slowest) == (15, 0.009, b"\x01\x02")
    text = table(total, 2.0, 5.0)
    assert re.search(r"\| mutated frames +\| 15 in 2 s", text)
    assert "| slowest frame | 9.00 ms | under 5 ms |" in text
    assert "| uncaught, changed or passed on | 0 | 0 |" in text
    assert str(finding) == "seed 3: slow: 9.0 ms\n    0102"


def test_a_session_may_be_cut_anywhere() -> None:
    """Wherever a meeting of two nodes is cut, nothing is partly applied, and all arrives."""
    tried, partial, apart = cut_everywhere(step=61)
    assert tried > 10
    assert (partial, apart) == (0, 0)
