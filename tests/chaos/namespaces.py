"""Hosts that are network namespaces, and cables between them that can be pulled.

A cable is a veth pair. One that is to delay and lose packets is a veth pair with netem where the
kernel has that; elsewhere a pair of TUN devices with a program of ours between them
(tests/chaos/wire.py), so that the TCP of the kernel has the same to cope with.

Everything bears the id of this process in its name, and a namespace takes all that is in it along
when it is deleted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from tests.processes import ROOT

__all__ = ["Cable", "Host", "Lab", "lab", "reason_against"]


def reason_against() -> str | None:
    """Return why there can be no namespaces here, or None where there can."""
    if sys.platform != "linux":
        return f"network namespaces are Linux's, and this is {sys.platform}"
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need the `ip` command of iproute2"
    try:
        with lab() as trial:
            one, other = trial.host("a"), trial.host("b")
            trial.cable(one, other)
    except OSError as error:
        return str(error)
    return None


def ip(*arguments: str) -> None:
    """Run `ip`, or `ip ... tc` and the like; OSError with what it said where it fails."""
    _run("ip", *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        raise OSError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")


@attrs.frozen
class Host:
    """A network namespace."""

    namespace: str

    @property
    def within(self) -> tuple[str, ...]:
        """The command that runs what follows it here."""
        return ("ip", "netns", "exec", self.namespace)


@attrs.define(eq=False)
class Cable:
    """Joins two hosts, each of which has an address at its end of it."""

    ends: tuple[Host, Host]
    device: str
    """What the device is called on either host."""
    addresses: tuple[str, str]
    kind: str
    """What it is made of, for the table."""
    wire: subprocess.Popen[bytes] | None = None
    """The program between the devices, where there is one."""

    def pull(self) -> None:
        """Let nothing through: the device on the first host is down, the other has no carrier."""
        ip("-n", self.ends[0].namespace, "link", "set", self.device, "down")

    def plug(self) -> None:
        """Let everything through again."""
        ip("-n", self.ends[0].namespace, "link", "set", self.device, "up")


class Lab:
    """Makes hosts and cables, and removes them all in the end."""

    def __init__(self) -> None:
        self._made: list[Host] = []
        self._cables: list[Cable] = []

    def host(self, name: str) -> Host:
        """Return a new host with nothing but its loopback device."""
        host = Host(f"manifest-chaos-{os.getpid()}-{name}")
        ip("netns", "add", host.namespace)
        self._made.append(host)
        ip("-n", host.namespace, "link", "set", "lo", "up")
        return host

    def cable(self, one: Host, other: Host) -> Cable:
        """Join two hosts by a veth pair."""
        cable = self._new_cable(one, other, "veth")
        (a, b), device = (each.namespace for each in cable.ends), cable.device
        ip("link", "add", device, "netns", a, "type", "veth", "peer", "name", device, "netns", b)
        self._set_up(cable)
        return cable

    def bad_cable(self, one: Host, other: Host, *, delay: float, loss: float) -> Cable:
        """Join two hosts by a cable that delays each packet by seconds and loses a share of them.

        Both are for each direction.
        """
        cable = self.cable(one, other)
        netem = ("root", "netem", "delay", f"{delay * 1000:g}ms", "loss", f"{loss * 100:g}%")
        try:
            for host in cable.ends:
                _run(*host.within, "tc", "qdisc", "add", "dev", cable.device, *netem)
        except OSError:
            # Most likely the kernel lacks it.
            ip("-n", one.namespace, "link", "del", cable.device)
            self._cables.remove(cable)
            return self._wired(one, other, delay, loss)
        cable.kind = "veth with netem"
        return cable

    def _wired(self, one: Host, other: Host, delay: float, loss: float) -> Cable:
        cable = self._new_cable(one, other, "TUN, delay and loss in user space: no netem here")
        cable.wire = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.wire", str(delay), str(loss)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert cable.wire.stdout is not None
        names = cable.wire.stdout.readline().split()
        if len(names) != 2:
            raise OSError("tests.chaos.wire could not make its TUN devices: see above")
        for host, name in zip(cable.ends, names, strict=True):
            ip("link", "set", name.decode(), "netns", host.namespace, "name", cable.device)
        self._set_up(cable)
        return cable

    def _new_cable(self, one: Host, other: Host, kind: str) -> Cable:
        number = len(self._cables) + 1
        addresses = f"10.77.{number}.1", f"10.77.{number}.2"
        cable = Cable((one, other), f"cable{number}", addresses, kind)
        self._cables.append(cable)
        return cable

    def _set_up(self, cable: Cable) -> None:
        for host, address in zip(cable.ends, cable.addresses, strict=True):
            ip("-n", host.namespace, "address", "add", f"{address}/30", "dev", cable.device)
            ip("-n", host.namespace, "link", "set", cable.device, "up")

    def close(self) -> None:
        """Remove all that was made, whatever of it is there."""
        for cable in self._cables:
            if cable.wire is not None:
                cable.wire.kill()
                cable.wire.communicate()
        for host in self._made:
            delete = ("ip", "netns", "delete", host.namespace)
            subprocess.run(delete, capture_output=True, check=False, timeout=30)


@contextmanager
def lab() -> Iterator[Lab]:
    """Have hosts and cables for the time of a block."""
    made = Lab()
    try:
        yield made
    finally:
        made.close()
