"""Mutated frames by the million, against all of the code that a peer's bytes go through.

    python -m tests.fuzz --minutes 10
    python -m tests.fuzz --frames 10_000_000 --jobs 2
    python -m tests.fuzz --seeds 41:42          the one batch in which something was found

A seed is a batch of frames: of recorded sessions (tests/sessions.py), changed (tests/mutations.py).
Most are decoded and, where that goes well, joined into a replica that has heard the session and
keeps what it takes in. In every batch some conversations are held as well: a fresh link protocol
hears a session in which frames are changed, cut, left out, said twice or in another order, or whose
lengths lie; or the whole of it again. It is a finding, written to fuzz-failures.txt with its seed,
where

- anything but a `ManifestError` comes out;
- a replica is not as it was before what it refused;
- a fresh replica refuses, or holds otherwise, what was accepted;
- a frame takes `--slowest` milliseconds or more of this process's time. What seems to is measured
  three times more, on a replica to which the same has happened, and the least counts: a machine
  that is busy makes nothing look slow.

The exit status is 1 where something was found.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import attrs

from manifest.errors import ManifestError
from manifest.messages import Gossip
from manifest.protocol import LinkProtocol
from manifest.replica import Replica
from manifest.wire import decode_message, encode_message
from tests.commands import INTERRUPTED, amount, command_line, count, seeds
from tests.mutations import Parsed, mutate, parse
from tests.sessions import Session, check_passes_on, record_sessions, visitor

__all__ = ["Batch", "Finding", "run_batch"]

FAILURES = Path("fuzz-failures.txt")
STRETCH = 500
"""Frames that are joined into one replica before a new one takes its place."""
STRETCHES = 9
CONVERSATIONS = 40
"""Conversations in a batch."""
SUSPECT = 0.002
"""Seconds from which on something is measured again."""
STUCK = 300.0
"""Seconds after which a batch is taken to hang."""


@attrs.frozen
class Finding:
    """What must not be."""

    seed: int
    kind: str
    payload: bytes
    detail: str

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.kind}: {self.detail}\n    {self.payload[:4096].hex()}"


@attrs.define
class Batch:
    """What came of one seed, or of many."""

    frames: int = 0
    decoded: int = 0
    """Frames that are valid messages all the same."""
    joined: int = 0
    """Messages of gossip that were joined."""
    refused: int = 0
    """Messages that are valid and were refused by the replica or the link."""
    conversations: int = 0
    worst: float = 0.0
    """Seconds of the slowest frame."""
    slowest: bytes = b""
    findings: list[Finding] = attrs.field(factory=list)

    def add(self, other: Batch) -> None:
        """Count another batch in."""
        for name in ("frames", "decoded", "joined", "refused", "conversations"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.worst > self.worst:
            self.worst, self.slowest = other.worst, other.slowest
        self.findings += other.findings


@attrs.frozen
class _Material:
    """A session, and its frames taken apart."""

    session: Session
    frames: tuple[Parsed, ...]


@lru_cache(maxsize=1)
def _materials() -> tuple[_Material, ...]:
    sessions = record_sessions()
    made = tuple(
        _Material(session, tuple(parse(payload) for payload in session.payloads))
        for session in sessions
    )
    # What stays for good need not be looked through by every collection of what goes.
    gc.collect()
    gc.freeze()
    return made


def run_batch(seed: int, *, slowest: float = 0.005, scale: float = 1.0) -> Batch:
    """Try the frames of one seed; `scale` is how large a part of a batch they are."""
    run = _Run(seed, slowest)
    for _ in range(max(1, round(STRETCHES * scale))):
        run.stretch()
    for _ in range(max(1, round(CONVERSATIONS * scale))):
        run.converse()
    return run.batch


class _Run:
    """One batch as it is tried."""

    def __init__(self, seed: int, slowest: float) -> None:
        self.draw = random.Random(seed)
        self.seed = seed
        self.limit = slowest
        self.batch = Batch()
        self.all_frames = [frame for material in _materials() for frame in material.frames]

    # Frames by themselves

    def stretch(self) -> None:
        """Change frames of one session, decode each, and join what is valid into one replica."""
        draw, batch = self.draw, self.batch
        material = _materials()[int(draw.random() * len(_materials()))]
        limits = visitor(material.session).options.limits
        victim = _Victim(material.session)
        for at in range(STRETCH):
            frame = material.frames[int(draw.random() * len(material.frames))]
            other = self.all_frames[int(draw.random() * len(self.all_frames))]
            payload = mutate(draw, frame, other)[: limits.frame_bytes]
            batch.frames += 1
            decode = partial(decode_message, payload, record_bytes=limits.record_bytes)
            began = time.perf_counter()
            try:
                message = decode()
            except ManifestError:
                message = None
            except Exception:  # noqa: BLE001 - that is what is looked for
                message = None
                self.find("uncaught while decoding", payload, traceback.format_exc())
            passed = time.perf_counter() - began
            if passed > SUSPECT:
                passed = min(_seconds(decode) for _ in range(3))
            self.judge_time(payload, passed)
            if isinstance(message, Gossip):
                batch.decoded += 1
                self.join(victim, payload, message, limits.record_bytes)
            if at % 50 == 49:
                self.guard(payload, partial(victim.let_pass, draw.choice((0.5, 0.5, 0.5, 7.0))))
        self.guard(b"", victim.site.note)
        self.guard(b"", partial(check_passes_on, victim.site))

    def join(self, victim: _Victim, payload: bytes, message: Gossip, record_bytes: int) -> None:
        """Join a message, and see that all or nothing of it has happened."""
        replica = victim.site.replica
        before = _state(replica)
        began = time.thread_time()
        try:
            replica.accept(message)
        except ManifestError:
            self.batch.refused += 1
            if _state(replica) != before:
                self.find("changed by what it refused", payload, "")
            joined = False
        except Exception:  # noqa: BLE001 - that is what is looked for
            self.find("uncaught while joining", payload, traceback.format_exc())
            joined = False
        else:
            self.batch.joined += 1
            joined = True
        passed = time.thread_time() - began
        if passed > SUSPECT:
            passed = min(victim.again(message) for _ in range(3))
        self.judge_time(payload, passed)
        if joined:
            victim.history.append(message)
            again = encode_message(message)
            if decode_message(again, record_bytes=record_bytes) != message:
                self.find("another message when it is sent on", payload, again.hex())

    # Conversations

    def converse(self) -> None:
        """Have a fresh link protocol hear a session that is not what it should be."""
        draw = self.draw
        material = _materials()[int(draw.random() * len(_materials()))]
        site = visitor(material.session)
        protocol = LinkProtocol(site.replica)
        self.batch.conversations += 1
        heard: list[bytes] = []
        for data, whole in self.conversation(material):
            before = _state(site.replica)
            pieces = [*self.pieces(data)]
            self.batch.frames += 1
            began = time.thread_time()
            ended = True
            try:
                for piece in pieces:
                    protocol.receive_data(piece)
                protocol.bytes_to_send()
                ended = False
            except ManifestError:
                self.batch.refused += 1
                # A length that lies may make several frames of one, and the first of them is fine.
                if whole and _state(site.replica) != before:
                    self.find("changed by what it refused", data, "in a conversation")
            except Exception:  # noqa: BLE001 - that is what is looked for
                self.find("uncaught in a conversation", data, traceback.format_exc())
            passed = time.thread_time() - began
            if passed > SUSPECT:
                passed = min(_heard_again(material.session, heard, data) for _ in range(3))
            self.judge_time(data, passed)
            if ended:
                break
            heard.append(data)
        self.guard(b"", site.note)
        self.guard(b"", partial(check_passes_on, site))

    def conversation(self, material: _Material) -> Iterator[tuple[bytes, bool]]:
        """Yield frames, and of each whether its length is right."""
        draw = self.draw
        frames = list(material.frames)
        plan = draw.random()
        if plan < 0.1:
            frames += frames
        elif plan < 0.2:
            frames += frames[1:]
        elif plan < 0.3:
            draw.shuffle(frames)
        elif plan < 0.4:
            frames = frames[:1] + draw.sample(self.all_frames, 10)
        for frame in frames:
            payload = frame.payload
            chance = draw.random()
            if chance < 0.05:
                continue
            if chance < 0.1:
                yield len(payload).to_bytes(4, "big") + payload, True
            elif chance < 0.4 and (frame is not frames[0] or plan > 0.8):
                payload = mutate(draw, frame, draw.choice(self.all_frames)) or b"\x00"
            length = len(payload)
            if draw.random() < 0.05:
                length = draw.choice((0, 1, length - 1, length + 1, 2**31, 2**32 - 1))
            yield length.to_bytes(4, "big") + payload, length == len(payload)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Cut what is received in two, every now and then."""
        if self.draw.random() < 0.8:
            yield data
        else:
            at = int(self.draw.random() * len(data))
            yield data[:at]
            yield data[at:]

    # What is found

    def guard(self, payload: bytes, check: Callable[[], object]) -> None:
        """Run a check, and take what it raises for a finding."""
        try:
            check()
        except Exception:  # noqa: BLE001 - that is what is looked for
            self.find("a check failed", payload, traceback.format_exc())

    def judge_time(self, payload: bytes, passed: float) -> None:
        if passed > self.batch.worst:
            self.batch.worst, self.batch.slowest = passed, payload
        if passed >= self.limit:
            self.find("slow", payload, f"{passed * 1000:.1f} ms")

    def find(self, kind: str, payload: bytes, detail: str) -> None:
        self.batch.findings.append(Finding(self.seed, kind, payload, detail))


class _Victim:
    """A replica that has heard a session, and all that has happened to it since."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.site = visitor(session)
        self.history: list[Gossip | float] = []
        protocol = LinkProtocol(self.site.replica)
        for payload in session.payloads:
            protocol.receive_data(len(payload).to_bytes(4, "big") + payload)

    def let_pass(self, seconds: float) -> None:
        self.history.append(seconds)
        self.site.bench.now += seconds
        self.site.replica.pulse(seconds)

    def again(self, message: Gossip) -> float:
        """Return the seconds that a message takes one to whom the same has happened before it."""
        double = _Victim(self.session)
        for event in self.history:
            if isinstance(event, Gossip):
                double.site.replica.accept(event)
            else:
                double.let_pass(event)
        gc.collect()
        return _seconds(partial(double.site.replica.accept, message))


def _heard_again(session: Session, heard: list[bytes], data: bytes) -> float:
    """Return the seconds that data takes a fresh protocol which has heard the same before it."""
    protocol = LinkProtocol(visitor(session).replica)
    for each in heard:
        protocol.receive_data(each)
        protocol.bytes_to_send()
    gc.collect()

    def hear() -> None:
        protocol.receive_data(data)
        protocol.bytes_to_send()

    return _seconds(hear)


def _seconds(call: Callable[[], object]) -> float:
    """Return how much of this thread's time a call takes, whatever comes of it.

    It is measured again, so what it raises has been counted, or told as a finding, by now.
    """
    began = time.thread_time()
    with suppress(Exception):
        call()
    return time.thread_time() - began


def _state(replica: Replica) -> tuple[Any, ...]:
    """Return what must be the same again after a refusal."""
    return (
        dict(replica.map._entries),
        dict(replica.map._context),
        replica.map.horizon,
        replica.map.position,
        replica.map.tombstones,
        dict(replica.leases._held),
        replica.leases.believed,
        dict(replica.view.services),
        dict(replica._own),
        replica.clock._last,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Try batches until there were enough frames or the time is over; 1 for a finding."""
    parser = command_line("tests.fuzz", __doc__)
    parser.add_argument(
        "--minutes",
        type=amount,
        default=10.0,
        help="how long to go on at most; default: %(default)g",
    )
    parser.add_argument(
        "--frames",
        type=count,
        default=2**62,
        help="how many to try at most; default: as many as there is time for",
    )
    parser.add_argument(
        "--seeds",
        type=seeds,
        default="0:1000000000",
        metavar="A:B",
        help="first and one past the last seed; default: %(default)s",
    )
    parser.add_argument(
        "--jobs",
        type=count,
        default=os.cpu_count() or 1,
        help="processes; default: one for each processor, %(default)s here",
    )
    parser.add_argument(
        "--slowest",
        type=amount,
        default=5.0,
        help="milliseconds a frame may take; default: %(default)g",
    )
    given = parser.parse_args(arguments)
    tried = _Tried(60 * given.minutes, given.frames, given.slowest / 1000)
    interrupted = False
    # Ctrl-C reaches all processes of a terminal, and those that try batches would show where.
    ignored = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(given.jobs, initializer=signal.signal, initargs=ignored) as pool:
        try:
            tried.go_on(pool, iter(given.seeds), given.jobs)
        except KeyboardInterrupt:
            interrupted = True
            _kill(pool)
    total = tried.total
    say("\n\n" + table(total, time.monotonic() - tried.began, given.slowest))
    if total.findings:
        say(f"\nwhat was found is in {FAILURES}\n")
    if interrupted:
        say("\ninterrupted\n")
        return INTERRUPTED
    return 1 if total.findings else 0


class _Tried:
    """What has been tried so far, in all processes."""

    def __init__(self, seconds: float, frames: int, slowest: float) -> None:
        self.seconds = seconds
        self.frames = frames
        self.slowest = slowest
        self.total, self.kinds, self.began = Batch(), Counter[str](), time.monotonic()

    def go_on(self, pool: ProcessPoolExecutor, seeds: Iterator[int], jobs: int) -> None:
        """Try batches, and tell of each, until it is enough or one of them hangs."""
        waiting: dict[Future[Batch], int] = {}
        while True:
            enough = self.total.frames >= self.frames
            over = time.monotonic() - self.began > self.seconds
            while not (enough or over) and len(waiting) < jobs + 1:
                seed = next(seeds, None)
                if seed is None:
                    break
                waiting[pool.submit(run_batch, seed, slowest=self.slowest)] = seed
            if not waiting:
                break
            done, _ = wait(waiting, timeout=STUCK, return_when=FIRST_COMPLETED)
            if not done:
                detail = f"one of the seeds {sorted(waiting.values())} has not ended"
                self.count(Batch(findings=[Finding(min(waiting.values()), "stuck", b"", detail)]))
                _kill(pool)
                break
            for future in done:
                del waiting[future]
                self.count(future.result())
            passed, total = time.monotonic() - self.began, self.total
            say(
                f"\r{total.frames:,} frames in {passed:,.0f} s ({total.frames / passed:,.0f} a "
                f"second), worst {total.worst * 1000:.2f} ms, "
                f"found: {dict(self.kinds) or 'nothing'} "
            )

    def count(self, batch: Batch) -> None:
        """Add a batch to what was tried, and write down what it found."""
        self.total.add(batch)
        self.kinds.update(finding.kind for finding in batch.findings)
        write_down(batch.findings)


def _kill(pool: ProcessPoolExecutor) -> None:
    """End the processes of a pool, whatever they are at."""
    for process in pool._processes.values():
        process.kill()


def write_down(findings: list[Finding]) -> None:
    """Keep findings, with their seeds."""
    if findings:
        with FAILURES.open("a", encoding="utf-8") as file:
            file.writelines(f"{finding}\n" for finding in findings)


def table(total: Batch, seconds: float, slowest: float) -> str:
    """Return a Markdown table of what was tried and found."""
    slow = sum(finding.kind == "slow" for finding in total.findings)
    rows = (
        ("mutated frames", f"{total.frames:,} in {seconds:,.0f} s", ""),
        ("valid all the same", f"{total.decoded:,}", ""),
        ("joined", f"{total.joined:,}", ""),
        ("valid, and refused by the replica or the link", f"{total.refused:,}", ""),
        ("conversations", f"{total.conversations:,}", ""),
        ("uncaught, changed or passed on", f"{len(total.findings) - slow}", "0"),
        ("slowest frame", f"{total.worst * 1000:.2f} ms", f"under {slowest:g} ms"),
    )
    lines = ["| what | figure | goal |", "|---|---:|---:|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def say(text: str) -> None:
    """Write text to stdout at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
