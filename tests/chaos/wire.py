"""A cable between two TUN devices that delays packets and loses some, for kernels without netem.

    python -m tests.chaos.wire DELAY LOSS       seconds, and a share from 0 to 1

Makes the devices, prints their names, and carries packets until stdin ends. Whoever started it may
move the devices to other namespaces. What is lost is drawn from a seed, so that one run loses about
as the next one does. Packets keep their order.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import select
import struct
import sys
import time
from collections import deque

__all__ = ["Wire"]

_TUNSETIFF = 0x400454CA
_IFF_TUN_WITHOUT_HEADER = 0x0001 | 0x1000
_PACKET = 65536


class Wire:
    """Carries packets both ways between two descriptors; pure but for `carry`."""

    def __init__(self, one: int, other: int, *, delay: float, loss: float, seed: int = 1) -> None:
        self._way = {one: other, other: one}
        self._delay = delay
        self._loss = loss
        self._random = random.Random(seed)
        self._under_way: deque[tuple[float, int, bytes]] = deque()

    def take(self, source: int, packet: bytes, now: float) -> None:
        """Take a packet in, or lose it."""
        if self._random.random() >= self._loss:
            self._under_way.append((now + self._delay, self._way[source], packet))

    def due(self, now: float) -> list[tuple[int, bytes]]:
        """Return what arrives by now, and where."""
        arrived: list[tuple[int, bytes]] = []
        while self._under_way and self._under_way[0][0] <= now:
            _, target, packet = self._under_way.popleft()
            arrived.append((target, packet))
        return arrived

    def pause(self, now: float) -> float | None:
        """Return for how long nothing arrives, or None where nothing is under way."""
        return max(0.0, self._under_way[0][0] - now) if self._under_way else None

    def carry(self, until: int) -> None:
        """Carry packets until there is something to be read from a descriptor."""
        while True:
            pause = self.pause(time.monotonic())
            readable, _, _ = select.select([until, *self._way], [], [], pause)
            if until in readable:
                return
            for source in readable:
                self.take(source, os.read(source, _PACKET), time.monotonic())
            for target, packet in self.due(time.monotonic()):
                # A device that is down takes no packets.
                with contextlib.suppress(OSError):
                    os.write(target, packet)


def open_tun() -> tuple[int, str]:
    """Make a TUN device; return its descriptor and its name."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    asked = struct.pack("16sH22x", b"wire%d", _IFF_TUN_WITHOUT_HEADER)
    made = fcntl.ioctl(device, _TUNSETIFF, asked)
    return device, made[:16].rstrip(b"\0").decode()


def main() -> None:
    """Make the devices, say what they are called, and carry."""
    delay, loss = map(float, sys.argv[1:])
    (one, first), (other, second) = open_tun(), open_tun()
    print(first, second, flush=True)  # noqa: T201  # its way of answering
    Wire(one, other, delay=delay, loss=loss).carry(sys.stdin.fileno())


if __name__ == "__main__":
    main()
