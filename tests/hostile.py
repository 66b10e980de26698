"""What hostile peers reach: real processes, real sockets, and a table of figures and goals.

    python -m tests.hostile                 all of it, some minutes
    python -m tests.hostile crowd forgery   these alone

`tests/stage.py` has who is attacked and who looks on, `tests/crowd.py` the crowds, and
`tests/crafted.py` the frames. The exit status is 1 where a goal was missed.
"""

from __future__ import annotations

import argparse
import array
import fcntl
import multiprocessing
import sys
import termios
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor

import attrs
import trio
from msgspec.structs import replace

import manifest
from manifest.errors import ManifestError
from manifest.frames import frame
from manifest.options import Limits
from tests.besieged import forget_peak, peak, percentile, raise_file_limit
from tests.crafted import crafted_frames
from tests.cuts import cut_everywhere
from tests.impostor import FORGED, TEN_YEARS, Impostor
from tests.stage import HOST, child, stage, until
from tests.wired import Bench

MIB = 1024 * 1024
ATTEMPTS = 10_000
SILENT, SLOW = 2_000, 200
LOAD = 15_000
"""Bytes of data in each record, where a peer does not read what is written."""


@attrs.frozen
class Figure:
    """A row of the table."""

    test: str
    figure: str
    goal: str
    reached: bool


def none_of(test: str, found: int, what: str = "") -> Figure:
    """Return the row of something that must not happen at all."""
    return Figure(test, f"{found:,}{what and ' '}{what}", "0", not found)


def quick(test: str, seconds: float) -> Figure:
    """Return the row of something that is to take less than 50 ms."""
    return Figure(test, f"{seconds * 1000:.1f} ms", "under 50 ms", seconds < 0.05)


# One frame


def cost_of_a_frame(name: str, size: int, accepted: int) -> tuple[float, float]:
    """Return the bytes and the seconds that a crafted frame costs, in a process of its own.

    Of three times the least counts, each on a protocol of its own, in time of this thread, so that
    a busy machine makes nothing slow; and the memory of the first.
    """
    payload = dict(crafted_frames(size, record_bytes=Limits().record_bytes))[name]
    data, costs = frame(payload), list[tuple[float, float]]()
    for _ in range(3):
        bench = Bench()
        one, other = bench.open_all(2, limits=Limits(frame_bytes=accepted))
        wire = bench.connect(one, other)
        wire.carry_hellos()
        before = forget_peak()
        began = time.thread_time()
        try:
            for at in range(0, len(data), 65536):
                wire.protocol(other).receive_data(data[at : at + 65536])
        except ManifestError:
            pass
        seconds = time.thread_time() - began
        costs.append((peak() - before, seconds))
    return costs[0][0], min(seconds for _, seconds in costs)


async def frames() -> list[Figure]:  # noqa: ASYNC124 - the other acts do wait
    """Have crafted frames received: of 1 MiB, and as large as is accepted."""
    figures: list[Figure] = []
    largest = Limits().frame_bytes
    whats = {
        (MIB, largest): "one hostile frame of 1 MiB, to limits as they are",
        (largest, largest): f"one hostile frame of {largest // 1024} KiB, the most they accept",
        # Whoever raises the limit is told in docs/limits.md what it costs.
        (MIB, MIB): "one hostile frame of 1 MiB, to one who has raised them",
    }
    for (size, accepted), what in whats.items():
        names = [name for name, _ in crafted_frames(size, record_bytes=Limits().record_bytes)]
        # Its processes are fresh, and need not import anything again.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.hostile"])
        with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
            costs = dict(
                zip(
                    names,
                    pool.map(cost_of_a_frame, names, [size] * len(names), [accepted] * len(names)),
                    strict=True,
                )
            )
        for name, (grown, seconds) in costs.items():
            say(f"  {size:9,} B {seconds * 1000:8.1f} ms {grown / MIB:6.1f} MiB  {name}\n")
        name = max(costs, key=lambda name: costs[name][1])
        row = quick(f"{what}: the slowest of {len(costs)}", costs[name][1])
        if accepted > largest:
            row = attrs.evolve(row, goal="none", reached=True)
        figures.append(attrs.evolve(row, figure=f"{row.figure} ({name})"))
        name = max(costs, key=lambda name: costs[name][0])
        grown = costs[name][0] / MIB
        figures.append(
            Figure(f"{what}: memory", f"{grown:.1f} MiB ({name})", "under 20 MiB", grown < 20)
        )
    return figures


# On the stage


async def crowd() -> list[Figure]:
    """Have thousands connect that say nothing, or next to nothing."""
    async with stage() as scene:
        await scene.propagate(40)
        await trio.sleep(1)
        before = await scene.attacked.ask()
        calm = await scene.propagate(200)
        async with child("tests.crowd", port=scene.port, silent=SILENT, slow=SLOW) as attackers:
            await attackers.hear()
            coming = await scene.attacked.ask()
            took = await scene.propagate(500)
            during = await scene.attacked.ask()
            began = time.perf_counter()
            async with manifest.open_manifest() as newcomer:
                with trio.move_on_after(30):
                    await newcomer.connect(scene.port).wait_synced()
                joined = time.perf_counter() - began
            made = await attackers.ask()
        lost = len(scene.lost)
    most = max(coming["most_memory"], during["most_memory"])
    grown = (most - before["memory"]) / MIB
    say(
        f"  before: propagation p99 {percentile(calm, 0.99) * 1000:.1f} ms\n"
        f"  while they came: lookups p99 {coming['p99'] * 1000:.1f} ms, "
        f"worst {coming['worst'] * 1000:.1f} ms\n"
        f"  then: lookups worst {during['worst'] * 1000:.1f} ms\n"
        f"  {made:,} connections made, {during['most_links']:,} links at once at most\n"
        f"  refused: {during['refused']:.200}\n"
    )
    who = f"{SLOW} one-byte-a-second peers and {SILENT:,} silent ones"
    return [
        quick(f"{who}: lookups, p99", during["p99"]),
        quick("the same: propagation between honest peers, p99", percentile(took, 0.99)),
        Figure("the same: memory", f"+{grown:.1f} MiB", "under +40 MiB", grown < 40),
        Figure("the same: an honest peer joins", f"{joined:.2f} s", "under 5 s", joined < 5),
        none_of("the same: honest links lost", lost),
    ]


async def deaf() -> list[Figure]:
    """Have a peer greet and never read again, while much is written."""
    async with stage() as scene:
        stream = await trio.open_tcp_stream(HOST, scene.port)
        impostor = Impostor()
        await stream.send_all(impostor.protocol.bytes_to_send())
        await trio.sleep(0.2)
        before = await scene.attacked.ask()
        began, took = time.perf_counter(), list[float]()
        held = most = 0
        filled: float | None = None
        while True:
            took += await scene.propagate(25, fill="x" * LOAD)
            report = await scene.attacked.ask()
            sent = report["peers"].get(impostor.node)
            passed = time.perf_counter() - began
            if sent is None or passed > 40:
                break
            # What has come this far, though it was not read, is held here and not there.
            arrived = waiting_in(stream)
            held = max(held, sent - arrived)
            if sent > most:
                most, filled = sent, passed
        stream.socket.close()
        lost = len(scene.lost)
        grown = (report["most_memory"] - before["memory"]) / MIB
    say(
        f"  {most / MIB:.2f} MiB were sent to it, the buffers of its own side included\n"
        f"  the process attacked grew by {grown:.1f} MiB, all that was registered included\n"
    )
    after = passed - (filled or 0)
    return [
        Figure(
            "a peer that never reads, under load: held for it, by the kernel as well", f"{held / MIB:.2f} MiB", "at most 1 MiB", held <= MIB,  # noqa: E501
        ),
        Figure(
            "the same: dropped after nothing more could be sent to it", f"{after:.1f} s",
            "send deadline, 10 s (+ 2 s to notice)", sent is None and after < 12,
        ),
        quick("the same: propagation to others, p99", percentile(took, 0.99)),
        none_of("the same: honest links lost", lost),
    ]  # fmt: skip


def waiting_in(stream: trio.SocketStream) -> int:
    """Return how many bytes wait to be read from a socket."""
    count = array.array("i", [0])
    fcntl.ioctl(stream.socket.fileno(), termios.FIONREAD, count)
    return count[0]


async def forgery() -> list[Figure]:
    """Have others write and free what is one node's alone, each on a connection of its own."""
    async with stage() as scene:
        mine = [scene.one.register("web@1.2.3", {"n": n}, port=80).id for n in range(20)]
        kept = f"{scene.one.id}.777"
        scene.one.register("web@1.2.3", port=81, id=kept, persistent=True)
        await until(lambda: {*mine, kept} <= scene.other.services().keys())
        answers, left = Counter[str](), iter(range(ATTEMPTS))

        async def forge() -> None:
            for number in left:
                impostor = Impostor()
                forged = impostor.forge(number, mine, kept)
                said = await scene.attack(impostor, forged)
                answers["refused" if said and FORGED in said else repr(said)] += 1

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(forge)
        views = await scene.views()
        lost = len(scene.lost)
    say(f"  answers: {dict(answers)}\n")
    accepted = sum(view.get(id) != scene.one.id for view in views for id in (*mine, kept))
    refused = answers["refused"]
    return [
        none_of(f"write or free of another's record, {ATTEMPTS:,} attempts", accepted, "accepted"),
        Figure(
            "the same: answered by that reason", f"{refused:,}", f"{ATTEMPTS:,}",
            refused == ATTEMPTS,
        ),
        none_of("the same: honest links lost", lost),
    ]  # fmt: skip


async def years() -> list[Figure]:
    """Have stamps and clocks come that are ten years off."""
    async with stage() as scene:
        scene.one.register("db@1.0.0", id="primary", port=5432)
        scene.one.register("db@1.0.0", id="kept", port=5432, persistent=True)
        await until(lambda: {"primary", "kept"} <= scene.other.services().keys())
        before = scene.other.services().keys()
        accepted = 0
        for ahead in (TEN_YEARS, -TEN_YEARS):
            liar = Impostor(ahead=ahead)
            answers = {"clock": await scene.attack(liar)}
            for what, lie in Impostor().lies(scene.one.id, ahead).items():
                answers[what] = await scene.attack(Impostor(), lie)
            for what, said in answers.items():
                say(f"  {'ahead' if ahead > 0 else 'behind'}, {what}: {said!s:.120}\n")
            # What lies far behind is old news: it may be heard, and changes nothing.
            accepted += sum(not said for said in answers.values()) if ahead > 0 else 0
        views = await scene.views()
        expired = [id for id, reason in scene.gone.items() if reason == "expired"]
        lost = len(scene.lost)
    captured = sum(view.get(id) != scene.one.id for view in views for id in ("primary", "kept"))
    missing = sum(not before <= view.keys() for view in views)
    return [
        none_of("stamps and clocks 10 years off: keys captured", captured),
        none_of("the same: services expired or missing anywhere", len(expired) + missing),
        none_of("the same: messages from the future that were not refused", accepted),
        none_of("the same: links lost but the liar's", lost),
    ]


async def identity() -> list[Figure]:
    """Have a session replayed, our own id claimed, and one stamp used twice."""
    async with stage() as scene:
        author = Impostor()
        author.replica.write("name", author.record)
        tape = await scene.converse(author)
        await until(lambda: "name" in scene.other.services())
        author.replica.leave()
        await scene.converse(author)
        await until(lambda: "name" not in scene.other.services())
        for _ in range(20):
            await scene.play(tape)
        zombies = sum("name" in view for view in await scene.views())
        twin = await scene.attack(Impostor(scene.id))
        forger = Impostor()
        ours = [
            await scene.attack(Impostor(), forger.gossip(forger.entry("x", node=scene.id))),
            await scene.attack(Impostor(), forger.gossip(until={scene.id: forger.stamp().time})),
        ]
        entry = forger.entry("twice")
        await scene.attack(Impostor(), forger.gossip(entry, until={forger.node: entry.stamp.time}))
        second = entry._replace(value=replace(forger.record, port=1))
        conflict = await scene.attack(Impostor(), forger.gossip(second))
        lost = len(scene.lost)
    say(f"  {twin!s:.100}\n  {ours!s:.300}\n  {conflict!s:.150}\n")
    refused = sum("never made" in str(said) for said in ours)
    return [
        none_of("a session replayed 20 times after its author has left: zombies", zombies),
        _refusal("a peer that claims our node id", "itself" in str(twin)),
        _refusal("writes and marks under our node id", refused == len(ours)),
        _refusal("another value under a stamp that was used", "two writes" in str(conflict)),
        none_of("the same: honest links lost", lost),
    ]


def _refusal(test: str, refused: bool) -> Figure:
    return Figure(test, "refused" if refused else "NOT REFUSED", "refused", refused)


async def cuts() -> list[Figure]:
    """Cut a session after every byte, on a simulated network."""
    offsets, partial, apart = await trio.to_thread.run_sync(cut_everywhere)
    return [
        none_of(f"connection cut after each of {offsets:,} bytes: partly applied", partial),
        none_of("the same: not of one mind once it was dialled again", apart),
    ]


ACTS: dict[str, Callable[[], Awaitable[list[Figure]]]] = {
    "frames": frames,
    "crowd": crowd,
    "deaf": deaf,
    "forgery": forgery,
    "years": years,
    "identity": identity,
    "cuts": cuts,
}


def main() -> int:
    """Play the acts that are named, or all; return 1 where a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("acts", nargs="*", metavar="act", help=", ".join(ACTS))
    chosen = parser.parse_args().acts or list(ACTS)
    if unknown := [name for name in chosen if name not in ACTS]:
        parser.error(f"there is no act {unknown[0]!r}; there are: {', '.join(ACTS)}")
    raise_file_limit()
    figures: list[Figure] = []
    for name in chosen:
        say(f"{name}: {ACTS[name].__doc__}\n")
        figures += trio.run(ACTS[name])
    say("\n" + table(figures))
    return 0 if all(figure.reached for figure in figures) else 1


def table(figures: list[Figure]) -> str:
    """Return figures and goals as a Markdown table."""
    lines = ["| test | figure | goal | |", "|---|---|---|---|"]
    for row in figures:
        verdict = "reached" if row.reached else "**missed**"
        lines.append(f"| {row.test} | {row.figure} | {row.goal} | {verdict} |")
    return "\n".join(lines) + "\n"


def say(text: str) -> None:
    """Write text to stdout at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
