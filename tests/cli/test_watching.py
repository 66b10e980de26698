"""The command that looks on: `watch`."""

from __future__ import annotations

import json
import os
import signal

from manifest import Heartbeat
from manifest.cli.watching import _concerns
from tests.cli.processes import Registry, cli


def test_watch_tells_what_is_there_and_what_comes(own: Registry) -> None:
    """What is there comes first and ends in `synced`, then what happens; Ctrl-C is no failure."""
    first = own.register("web@1.0.0", port=80)
    with cli("watch", own.peer, "--json", measured=True) as watching:
        watching.out.event("synced")
        # Who it is and what is there may arrive together, in either order.
        begin = [json.loads(line) for line in watching.out.kept]
        assert sorted(each["event"] for each in begin) == [
            "connected", "registered", "registered", "synced"
        ]  # fmt: skip
        assert {each["link"]["peer"] for each in begin if "link" in each} == {own.id}
        there = {each["service"]["id"] for each in begin if "service" in each}
        assert there == {f"{own.id}.1", first}
        own.register("leader", id="leader", port=1)
        assert watching.out.event("registered")["service"]["port"] == 1
        own.process.tell(do="register", role="leader", id="leader", port=2)
        updated = watching.out.event("updated")
        assert (updated["before"]["port"], updated["service"]["port"]) == (1, 2)
        own.free(first)
        freed = watching.out.event("freed")
        assert (freed["service"]["id"], freed["reason"]) == (first, "freed")
        assert freed["time"] >= freed["service"]["timestamp"]
        assert watching.end(signal.SIGINT) == 0
        assert watching.err.rest() == []


def test_watch_leaves_out_what_was_not_asked_for(own: Registry) -> None:
    """With ROLE and --where only what matches is told, what matched before a change included."""
    with cli(
        "watch", own.peer, "web@^1", "--where", "zone=eu", "--new-only", "--json", measured=True
    ) as watching:
        watching.out.event("synced")
        own.register("db")
        own.register("web@2.0.0", data={"zone": "eu"})
        own.register("web@1.0.0", data={"zone": "us"})
        own.register("web@1.0.0", id="w", data={"zone": "eu"})
        assert watching.out.event("registered")["service"]["id"] == "w"
        own.process.tell(do="register", role="web@1.0.0", id="w", data={"zone": "us"})
        assert watching.out.event("updated")["service"]["data"] == {"zone": "us"}
        own.process.tell(do="register", role="web@1.0.0", id="w", data={"zone": "ap"})
        own.register("web@1.0.0", data={"zone": "eu"}, port=9)
        assert watching.out.event("registered")["service"]["port"] == 9
        assert watching.end(signal.SIGTERM) == 0
        assert len(watching.out.kept) == 5


def test_watch_says_that_the_peer_has_gone() -> None:
    """A peer that leaves is told as text, with the reason, and what it had as freed."""
    registry = Registry("--name", "hub")
    with cli("watch", registry.peer) as watching:
        watching.out.expect(f"synced        hub at {registry.peer}")
        registry.close()
        watching.out.expect(f"manifest@0.1.0 {registry.peer} {registry.id}.1 (freed)")
        watching.out.expect(
            f"disconnected  hub at {registry.peer}: the peer said: the manifest was closed"
        )
        assert watching.end(signal.SIGTERM) == 0


def test_watch_ends_with_its_reader(registry: Registry) -> None:
    """`watch | head -1` ends as soon as head does, quietly, with the status of a broken pipe."""
    ours, theirs = os.pipe()
    with cli("watch", registry.peer, stdout=theirs, measured=True) as watching:
        os.close(theirs)
        assert os.read(ours, 100)
        os.close(ours)
        assert watching.end() == 141
        assert watching.err.rest() == []


def test_what_is_nobodys_business_is_left_out() -> None:
    """Heartbeats of the manifest that watches are not what is watched."""
    assert not _concerns(Heartbeat(0), None)
