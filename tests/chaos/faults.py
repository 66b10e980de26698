"""The faults: what is done to real processes, and what has to hold all the same.

Each takes where to run, what to note, and how often to repeat. What a fault finds is noted; what it
raises is a failure, too.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import attrs
import trio

from tests.processes import Process

from .cluster import HEARTBEAT, LEASE, LIFETIME, Cluster, Place, chain, member, ring
from .history import History, agreed_at, expired, returned
from .table import Outcome

__all__ = ["FAULTS", "Fault"]

_SETTLING = 6.0
"""Seconds after a fault in which all have to agree, and stay so."""


async def _agreement(cluster: Cluster, outcome: Outcome, since: float, within: float) -> None:
    """Wait, then note how long all took to agree on what was done until `since`."""
    await trio.sleep(max(0.0, since + _SETTLING - time.monotonic()))
    histories = await cluster.histories()
    took = agreed_at(histories, since) - since
    if took < math.inf:
        outcome.times.append(took)
        outcome.expect(took <= within, f"agreement took {took:.2f} s; {within:g} s are allowed")
    else:
        outcome.problems.append(f"no agreement within {_SETTLING:g} s")
    back = returned(histories, since)
    outcome.expect(not back, f"{len(back)} freed services came back: {back[:3]}")


async def _partition(cluster: Cluster, outcome: Outcome, turn: int, seconds: float) -> None:
    """Pull two cables of a ring for so long, and see that each side goes on and both agree."""
    count = len(cluster.members)
    first, second = turn % count, (turn + 2) % count
    side = {cluster.members[(first + step) % count].id for step in (1, 2)}
    pulled = time.monotonic()
    for index in (first, second):
        cluster.cables[index].pull()
    await trio.sleep(seconds)
    histories = await cluster.histories()
    others = {each.node for each in histories} - side
    for ours, theirs in ((side, others), (others, side)):
        here = [each for each in histories if each.node in ours]
        wrong = sum(map(len, expired(here, since=pulled, of=ours).values()))
        outcome.expect(not wrong, f"{wrong} services expired on their own side")
        gone = expired(here, since=pulled, of=theirs)
        if seconds < LIFETIME:
            outcome.expect(not any(gone.values()), "services expired within their lifetime")
        for times in gone.values():
            if seconds > LEASE + 1:
                outcome.expect(times, "the other side did not expire")
    healed = time.monotonic()
    for index in (first, second):
        cluster.cables[index].plug()
    await _agreement(cluster, outcome, healed, within=5.0)


async def split(place: Place, outcome: Outcome, repetitions: int) -> None:
    """Partition a ring for longer than the lease."""
    async with ring(place) as cluster:
        await cluster.load()
        await trio.sleep(2)
        for turn in range(repetitions):
            await _partition(cluster, outcome, turn, seconds=LEASE + 3)


async def blip(place: Place, outcome: Outcome, repetitions: int) -> None:
    """Partition a ring for less than a lifetime."""
    async with ring(place) as cluster:
        await cluster.load()
        await trio.sleep(2)
        for turn in range(repetitions):
            await _partition(cluster, outcome, turn, seconds=LIFETIME / 2)


async def loss(place: Place, outcome: Outcome, repetitions: int) -> None:
    """Run a ring on cables that delay and lose packets."""
    async with ring(place, bad=(0.02, 0.05)) as cluster:
        outcome.notes.append(f"cables: {cluster.cables[0].kind}")
        await cluster.load()
        began = time.monotonic()
        for _ in range(repetitions):
            await trio.sleep(2)
            await _agreement(cluster, outcome, time.monotonic(), within=5.0)
        gone = sum(map(len, expired(await cluster.histories(), since=began).values()))
        outcome.expect(not gone, f"{gone} services expired, and their owners were there")


async def stop_shortly(place: Place, outcome: Outcome, repetitions: int) -> None:
    """Stop each process of a ring in turn for 3 s, which is less than a lifetime."""
    async with ring(place) as cluster:
        await cluster.load()
        await trio.sleep(2)
        began = time.monotonic()
        for turn in range(max(repetitions, len(cluster.members))):
            stopped = cluster.members[turn % len(cluster.members)]
            resumed = await _stop(stopped, 3.0)
            await _agreement(cluster, outcome, resumed, within=2.0)
        gone = expired(await cluster.histories(), since=began)
        outcome.expect(
            not any(gone.values()), f"{sum(map(len, gone.values()))} services expired falsely"
        )


async def stop_for_long(place: Place, outcome: Outcome, repetitions: int) -> None:
    """Stop a process of a ring for three times its lease."""
    async with ring(place) as cluster:
        await cluster.load()
        await trio.sleep(2)
        for turn in range(repetitions):
            stopped = cluster.members[turn % len(cluster.members)]
            began = time.monotonic()
            resumed = await _stop(stopped, 3 * LEASE)
            await _agreement(cluster, outcome, resumed, within=2.0)
            gone = expired(await cluster.histories(), since=began)
            lapsed = expired(await cluster.histories(), since=began, of=[stopped.id])
            for node, times in gone.items():
                others = len(times) - len(lapsed[node])
                outcome.expect(not others, f"{others} services of running owners expired")
                if node == stopped.id:
                    outcome.expect(not times, "who was stopped took others for dead")
                    continue
                outcome.expect(times, "the stopped owner did not lapse")
                for each in times:
                    after = each - began
                    right = LIFETIME - 0.1 < after < LEASE + 1
                    outcome.expect(right, f"the stopped owner lapsed after {after:.1f} s")


async def _stop(process: Process, seconds: float) -> float:
    """Stop a process for so long; return when it was resumed."""
    process.process.send_signal(signal.SIGSTOP)
    try:
        await trio.sleep(seconds)
    finally:
        process.process.send_signal(signal.SIGCONT)
    return time.monotonic()


async def kill(place: Place, outcome: Outcome, repetitions: int) -> None:
    """Kill a named process and start it again under its name: it displaces itself at once."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(ring(place, 3))
        await cluster.load()
        hub = cluster.members[0]
        named = await stack.enter_async_context(member(place, 9, name="db-1"))
        await named.ask("connect", port=hub.port)
        await named.ask("register", count=5, role="db")
        for _ in range(repetitions):
            for each in cluster.members:
                await each.ask("until", role="db", count=5)
            killed, before = time.monotonic(), named.id
            await named.kill()
            named = await stack.enter_async_context(
                member(place, 9, listen=named.port, name="db-1")
            )
            await named.ask("register", count=5, role="db")
            outcome.expect(time.monotonic() - killed < LIFETIME, "it took too long to start")
            again = time.monotonic()
            await named.ask("connect", port=hub.port)
            await trio.sleep(1.5)
            took = max(
                _displaced_at(each, before, named.id) - again for each in await cluster.histories()
            )
            if took < math.inf:
                outcome.times.append(took)
            outcome.expect(took < 1.0, f"the former incarnation was displaced after {took:.2f} s")
            for each in cluster.members:
                owners = {one["id"].partition(".")[0] for one in await each.ask("services")}
                outcome.expect(before not in owners, "the former incarnation is still shown")


def _displaced_at(seen: History, before: str, after: str) -> float:
    """Return when all five of one owner had been replaced and those of another had come."""
    gone = [at for at, id, _, reason in seen.saw if id.startswith(before) and reason == "replaced"]
    come = [at for at, id, visible, _ in seen.saw if id.startswith(after) and visible]
    # Besides them, there is what a listener registers for itself.
    return max(*gone, *come) if len(gone) == len(come) == 6 else math.inf


async def descriptors(place: Place, outcome: Outcome, repetitions: int) -> None:
    """Have strangers hold all descriptors of a process, then let go."""
    async with chain(place, 2) as cluster, member(place, 9) as other_peer:
        peer, victim = cluster.members
        pid = victim.process.pid
        held = _descriptors(pid)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (held + 6, held + 6))
        late = 0.0
        for turn in range(repetitions):
            async with AsyncExitStack() as strangers:
                for _ in range(100):
                    stranger = await trio.open_tcp_stream("127.0.0.1", victim.port)
                    await strangers.enter_async_context(stranger)
                await trio.sleep(1.0)
                # All but the one or two that admission takes from a silent stranger, to go on with.
                outcome.expect(_descriptors(pid) >= held + 4, "the strangers did not hold them all")
                before, began = _cpu_seconds(pid), time.monotonic()
                for one, other in ((peer, victim), (victim, peer)):
                    asked = time.monotonic()
                    await one.ask("register", count=1, role=f"turn-{turn}-{one.id}")
                    await other.ask("until", role=f"turn-{turn}-{one.id}", count=1)
                    late = max(late, time.monotonic() - asked)
                if turn == 0:
                    # It has no descriptor to dial with, but drops a stranger for one.
                    await victim.ask("connect", port=other_peer.port)
                await trio.sleep(3.0)
                if turn == 0:
                    [status] = await victim.ask("status")
                    outcome.expect(status["state"] == "synced", f"did not dial: {status}")
                busy = (_cpu_seconds(pid) - before) / (time.monotonic() - began)
                outcome.expect(busy < 0.5, f"the process was busy for {busy:.0%} of the time")
                outcome.expect(victim.process.returncode is None, "the process did not survive")
            gone = time.monotonic()
            async with member(place, 10 + turn, listen=None) as newcomer:
                begun = time.monotonic()
                await newcomer.ask("connect", port=victim.port)
                await newcomer.ask("synced")
                await victim.ask("synced")
                outcome.times.append(time.monotonic() - begun)
                outcome.expect(time.monotonic() - gone < 10.0, "nobody was accepted any more")
        outcome.expect(late < 1.0, f"a registration took {late:.2f} s over an existing link")
        outcome.notes.append(
            f"the slowest registration over the existing link took {1000 * late:.0f} ms; "
            f"{len(cluster.said().splitlines())} lines on stderr in {repetitions} times 4 s"
        )


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def vanish(place: Place, outcome: Outcome, repetitions: int) -> None:
    """Have a peer vanish without a FIN: it is noticed within the lease, and found when back."""
    for _ in range(repetitions):
        async with chain(place) as cluster:
            stays, goes = cluster.members
            await goes.ask("register", count=5, role="web")
            await stays.ask("until", role="web", count=5)
            cluster.cables[0].pull()
            vanished = time.monotonic()
            await goes.kill()
            await stays.ask("until_state", state="waiting")
            noticed = time.monotonic() - vanished
            outcome.notes.append(f"noticed after {noticed:.2f} s, the lease being {LEASE:g} s")
            outcome.expect(noticed < LEASE + 1, f"it was noticed after {noticed:.1f} s")
            await stays.ask("until", role="web", count=0)
            lapsed = time.monotonic() - vanished
            outcome.expect(lapsed < LEASE + 1, f"its services were gone after {lapsed:.1f} s")
            await _come_back(cluster, outcome)


async def unacknowledged(place: Place, outcome: Outcome, repetitions: int) -> None:
    """Have a peer vanish while much is sent to it: the send deadline ends the link."""
    for _ in range(repetitions):
        async with chain(
            place,
            timeouts={"send": 2.0},
            heartbeat_interval=30.0,
            registration_lifetime=30.0,
        ) as cluster:
            stays, goes = cluster.members
            cluster.cables[0].pull()
            await goes.kill()
            vanished = time.monotonic()
            await stays.ask("register", count=2_000, role="large", data={"text": "x" * 12_000})
            [status] = await stays.ask("until_state", state="waiting")
            noticed = time.monotonic() - vanished
            outcome.notes.append(f"noticed after {noticed:.2f} s: {status['reason']}")
            outcome.expect(noticed < 5.0, f"it was noticed after {noticed:.1f} s")
            outcome.expect("did not take" in status["reason"], f"because {status['reason']}")
            await _come_back(cluster, outcome)


async def _come_back(cluster: Cluster, outcome: Outcome) -> None:
    """Plug the cable in again, start the peer again, and see how soon the two agree."""
    stays = cluster.members[0]
    async with member(cluster.place, 9, cluster.hosts[1]) as back:
        await back.ask("register", count=1, role="back")
        plugged = time.monotonic()
        cluster.cables[0].plug()
        await stays.ask("until", role="back", count=1)
        outcome.times.append(time.monotonic() - plugged)
        outcome.expect(outcome.times[-1] < 5.0, "it was found late")


@attrs.frozen
class Fault:
    """A fault, what it needs, and what is checked."""

    run: Callable[[Place, Outcome, int], Awaitable[None]]
    checked: str
    on_hosts: bool = True
    """Whether it needs network namespaces; the others are done on loopback."""


FAULTS: Mapping[str, Fault] = {
    "partition": Fault(
        split,
        f"5 in a ring under load, cut in two for {LEASE + 3:g} s: each side expires the other and "
        "none of its own; all agree within 5 s of healing; nothing freed comes back",
    ),
    "blip": Fault(
        blip,
        f"the same for {LIFETIME / 2:g} s, less than a lifetime: nothing expires at all",
    ),
    "loss": Fault(
        loss,
        "5 in a ring under load, each packet 20 ms late and 5 % lost, each way: nothing expires; "
        "all agree within 5 s on what was done until any moment",
    ),
    "stop 3 s": Fault(
        stop_shortly,
        "SIGSTOP of each of 5 in turn under load: nothing expires anywhere; all agree within 2 s "
        "of SIGCONT",
        on_hosts=False,
    ),
    f"stop {3 * LEASE:g} s": Fault(
        stop_for_long,
        f"SIGSTOP for 3 leases under load: it lapses at the others after {LIFETIME:g} to "
        f"{LEASE:g} s, it takes nobody for dead, and all is back within 2 s of SIGCONT",
        on_hosts=False,
    ),
    "kill -9": Fault(
        kill,
        "a named process, killed and started again under its name before its lease lapses, "
        "displaces its former self everywhere within 1 s of dialling",
        on_hosts=False,
    ),
    "descriptors": Fault(
        descriptors,
        "100 strangers hold all descriptors for 4 s: the process survives, does not spin, its link "
        "carries both ways within 1 s; once they are gone it accepts and dials again",
        on_hosts=False,
    ),
    "half-open, silent": Fault(
        vanish,
        "a peer vanishes without FIN: noticed, and its services gone, within the lease and 1 s; "
        "found within 5 s when it is back",
    ),
    "half-open, sending": Fault(
        unacknowledged,
        "the same while 24 MB are sent to it, with a lease of 60 s: noticed by the send deadline, "
        "2 s; found within 5 s when it is back",
    ),
}
assert HEARTBEAT < LIFETIME / 2, "or two lost heartbeats would be too many"
