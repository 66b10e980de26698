"""A session that is cut after every one of its bytes, between manifests on a simulated network."""

from __future__ import annotations

import trio
import trio.lowlevel
from trio.testing import MockClock

from manifest import Manifest, open_manifest
from manifest.testing import SimulatedNetwork

__all__ = ["cut_everywhere"]

_A, _B = "192.0.2.1", "192.0.2.2"


def cut_everywhere(first: int = 0, step: int = 1) -> tuple[int, int, int]:
    """Cut at each offset of what two nodes say to each other as they meet.

    Returns how many offsets that were, after how many of them something was shown or claimed that
    had not arrived whole, and after how many the two did not agree in the end.
    """
    partial = apart = tried = 0
    offset, over = first, False
    while not over:
        whole, agreed, over = trio.run(_cut_after, offset, clock=MockClock(autojump_threshold=0))
        tried += 1
        partial += not whole
        apart += not agreed
        offset += step
    return tried, partial, apart


async def _cut_after(offset: int) -> tuple[bool, bool, bool]:
    """Cut after so many bytes; return: all was whole, the end was right, nothing was left."""
    network = SimulatedNetwork(seed=offset)
    a, b = network.host(_A), network.host(_B)
    async with (
        open_manifest(environment=a.environment()) as one,
        open_manifest(environment=b.environment()) as other,
    ):
        for registry in (one, other):
            for number in range(10):
                registry.register("web@1.0.0", {"text": "x" * 10 * number}, port=80 + number)
            registry.free(registry.register("web@1.0.0", port=1))
            registry.register("db@1.0.0", id="shared", port=5432)
        await one.listen()
        link = other.connect(host=_A)
        while link.status.state == "dialling" and not a.ends:  # noqa: ASYNC110 - whoever dials is not heard of otherwise
            await trio.lowlevel.checkpoint()
        network.cut(_A, _B, after=offset)
        await trio.testing.wait_all_tasks_blocked()
        over = link.status.state == "synced"
        whole = _is_whole(one, other) and _is_whole(other, one)
        with trio.move_on_after(30):  # noqa: ASYNC912 - it may hold at once
            while one.services() != other.services() or len(one.services()) != 22:  # noqa: ASYNC110
                await trio.sleep(0.05)
        agreed = one.services() == other.services() and len(one.services()) == 22
        return whole, agreed, over


def _is_whole(reader: Manifest, writer: Manifest) -> bool:
    """Tell whether all that one has of another is as it was written, and all that it claims."""
    read, written = reader._hub.replica.map, writer._hub.replica.map
    for _, entry in written.journal():
        found = read.entry(entry.key)
        if entry.stamp.node != writer.id:
            continue
        if entry.stamp.time <= read.reflected(writer.id) and (
            found is None or found.stamp < entry.stamp
        ):
            return False
        if found is not None and found.stamp == entry.stamp and found != entry:
            return False
    return True
