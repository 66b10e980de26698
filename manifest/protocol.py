"""The link protocol without I/O: bytes in, facts out; and bytes to send whenever there are any.

One object per connection, bound to the replica that it serves. `receive_data` takes what the stream
brought, applies it to the replica and returns the messages; `bytes_to_send` returns what to write
now. Nothing here waits, and nothing here knows Trio.

The conversation
    Both sides send Hello at once. When a side has the peer's Hello it knows what the peer has
    reflected, sends what the peer lacks, and then Synced. From then on it sends what has changed
    since its cursor, one delta at a time, whenever it is asked for bytes. A side that will not go
    on says Bye.

The cursor
    One journal position per link: the peer has had, or has reflected, everything up to it. So
    memory per link does not grow with what waits to be sent; a slow peer gets fewer and larger
    deltas. A delta that does not fit a frame goes out in parts that carry entries alone; context,
    horizon and leases follow once the walk has reached the journal's end, and never before: that is
    the honesty invariant on the wire. A connection that breaks in between leaves nothing behind,
    for the next one starts from the peer's own context.

Nothing goes back
    What arrived on this link lies in known stretches of the journal, so its own entries are skipped
    without remembering one of them, and an entry that changed since has moved out of the stretch.
    What the peer wrote itself is never sent to it, by whichever way it came.

docs/protocol.md tells the whole of it, with what can and what cannot be promised.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime

import attrs

from .crdt import Entry, from_milliseconds, to_milliseconds
from .errors import LinkError, LinkRefused, ManifestError
from .frames import HEADER_BYTES, FrameReader, frame
from .messages import Bye, Gossip, Hello, Message, Synced
from .packing import GossipPacker
from .records import Record
from .refusals import Refusal
from .renewals import holds_value
from .replica import Replica
from .wire import PROTOCOL, decode_message, encode_message

__all__ = ["HELLO_BYTES", "LinkProtocol", "Traffic"]

HELLO_BYTES = 64 * 1024
"""The largest Hello; before it, neither side knows what frames the other accepts."""

_PART_BYTES = 64 * 1024
"""How much is packed at a time, however large frames may be: neither end is to block for long."""

_STRETCHES = 1000
"""How many stretches of the journal are remembered as a peer's own; what it sent in older ones may
go back to it, which costs no more than that."""

_REASON_BYTES = 700
"""How much of a reason is sent: a whole Bye fits the smallest frame that a peer may ask for."""


@attrs.define
class Traffic:
    """What has passed over a link."""

    bytes_sent: int = 0
    bytes_received: int = 0
    entries_sent: int = 0
    entries_received: int = 0
    """Entries received that changed something here."""
    entries_redundant: int = 0
    """Entries received that changed nothing."""

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(*map(sum, zip(attrs.astuple(self), attrs.astuple(other), strict=True)))


class LinkProtocol:
    """One side of one connection."""

    def __init__(
        self,
        replica: Replica,
        *,
        seen: str | None = None,
        listening: str | None = None,
        admit: Callable[[], None] = lambda: None,
    ) -> None:
        """`admit` raises `LinkRefused` where there is no place for a peer that has said Hello."""
        self._replica = replica
        self._admit = admit
        # Who has not said Hello gets no larger buffer than that takes.
        self._frames = FrameReader(HELLO_BYTES)
        self._queued: list[bytes] = []
        self._cursor = 0
        # Up to where contexts have been sent; behind the cursor only within one walk.
        self._marked = 0
        # Up to where contexts have been looked at, and those nodes that the peer is to be told of.
        self._noted = 0
        self._lacking: dict[str, None] = {}
        # Up to where entries have been looked at, and whether one of them is to go out at once.
        self._looked = 0
        self._urgent = False
        # What the peer has reflected, as far as this side knows.
        self._known: dict[str, int] = {}
        # Up to where the peer has collected, as far as this side knows, or will by what it sent.
        self._collected = 0
        # Stretches of the journal that this peer's own messages made.
        self._theirs: deque[tuple[int, int]] = deque(maxlen=_STRETCHES)
        # Nodes whose heartbeats this connection is spared, in both directions; and which of them
        # the peer is to be told of, that they are, or are not any more.
        self._pruned: dict[str, None] = {}
        self._prunes: dict[str, None] = {}
        self._grafts: dict[str, None] = {}
        # Nodes whose heartbeats the peer has missed.
        self._missed: dict[str, None] = {}
        self._asked: list[str] = []
        self._peer_node = ""
        self._keepalive = False
        # The horizon under which nothing is remembered any more.
        self._swept = 0
        self._within: dict[str, float] = {}
        self._brought = False
        self._said_synced = False
        self._said_bye = False
        self.peer: Hello | None = None
        """The peer's Hello, once it has arrived."""
        self.synced = False
        """Whether the peer has sent all that this side lacked at its Hello."""
        self.traffic = Traffic()
        self._say_hello(seen, listening)

    # Receiving

    @property
    def partial(self) -> bool:
        """Whether a frame has begun to arrive and is not complete."""
        return self._frames.partial

    def receive_data(self, data: bytes) -> list[Message]:
        """Take bytes from the stream, apply what they say, and return the messages.

        `LinkError`, or what `LWWMap.join` raises, where they cannot be accepted. What came before
        the fault has been applied, of the faulty message nothing; a Bye is ready to be sent and
        nothing more is to be received.
        """
        self.traffic.bytes_received += len(data)
        if self._said_bye:
            return []
        messages: list[Message] = []
        try:
            for payload in self._frames.feed(data):
                record_bytes = self._replica.options.limits.record_bytes
                message = decode_message(payload, record_bytes=record_bytes)
                self._receive(message)
                messages.append(message)
        except ManifestError as error:
            self.close("refused" if isinstance(error, LinkRefused) else "error", str(error))
            raise
        return messages

    def _receive(self, message: Message) -> None:
        match message:
            case Bye():
                pass
            case Hello() if self.peer is None:
                self._check(message)
                self.peer = message
                self._peer_node = message.node
                self._known = dict(message.context)
                self._collected = message.horizon
                latest = self._replica.map.latest
                if all(time <= self._known.get(node, 0) for node, time in latest.items()):
                    # It has reflected all that is here, which O(nodes) say rather than O(map).
                    self._cursor = self._replica.map.position
                self._frames.limit = self._replica.options.limits.frame_bytes
            case Gossip() if self.peer is not None:
                self._join(message)
            case Synced() if self.synced:
                raise LinkError("Synced is said once on a connection, got it again")
            case Synced() if self.peer is not None:
                self.synced = True
            case _:
                raise LinkError(
                    f"a link begins with one Hello, got {type(message).__name__} "
                    f"{'before' if self.peer is None else 'after'} it"
                )

    def _join(self, gossip: Gossip) -> None:
        joined = self._replica.accept(gossip)
        for node, seconds in joined.within.items():
            # What waits for nobody still does not where more has come since.
            self._within[node] = min(seconds, self._within.get(node, seconds))
        self._brought = self._brought or joined.entries > 0
        self.traffic.entries_received += joined.entries
        self.traffic.entries_redundant += gossip.count - joined.entries
        self._collected = max(self._collected, gossip.delta.horizon)
        if joined.last > joined.first:
            # A peer that only talks makes one stretch, however many messages it sends.
            goes_on = self._theirs and self._theirs[-1][1] == joined.first
            first = self._theirs.pop()[0] if goes_on else joined.first
            self._theirs.append((first, joined.last))
        known = self._known
        for node, time in gossip.delta.until.items():
            if time > known.get(node, 0):
                known[node] = time
        self._shape_tree(gossip, joined.within)

    def _shape_tree(self, gossip: Gossip, moved: Collection[str]) -> None:
        """Take note of whose heartbeats are to pass here, and of whose need not.

        `moved` are the nodes of which something new has come.
        """
        latest, since = self._replica.map.latest, gossip.delta.since
        wrote = {entry.stamp.node for entry in gossip.delta.entries}
        wrote.update(renewal.node for renewal in gossip.renewals)
        for node in gossip.delta.until:
            # With writes among them it is no heartbeat, nor where there are some beyond it.
            if node in wrote or latest.get(node, 0) > since.get(node, 0):
                continue
            if node in moved:
                if node in self._pruned:
                    self.graft((node,))
            # What keeps a link alive is never spared: the heartbeats of its two ends.
            elif node != self._peer_node and self._replica.leases.expects(node):
                # Where it was pruned, the peer does not know: a graft has crossed the prune.
                self._prune(node)
                self._prunes[node] = None
                self._grafts.pop(node, None)
        for node in gossip.prunes:
            # It need not be told any more; and to take it back, it has to be.
            self._prunes.pop(node, None)
            if self._replica.leases.expects(node):
                self._prune(node)
            elif node in self._replica.map.nodes:
                # Nobody would ask for it later: its lease is overdue already.
                self.graft((node,))
        for node in gossip.grafts:
            self._pruned.pop(node, None)
            # Of a node that nobody has heard of there is nothing to send, nor to remember.
            if node in self._replica.map.nodes:
                self._missed[node] = None
                if self._replica.map.reflected(node) <= self._known.get(node, 0):
                    self._asked.append(node)

    def _prune(self, node: str) -> None:
        if node != self._replica.node and node in self._replica.map.nodes:
            self._pruned[node] = None

    def graft(self, nodes: Iterable[str]) -> None:
        """Ask the peer for heartbeats that are missed, whether or not it was to spare them.

        It may spare them all the same, where a prune and a graft have crossed.
        """
        for node in nodes:
            if node in self._pruned:
                del self._pruned[node]
                # What came of it meanwhile was passed over.
                self._lacking[node] = None
            self._prunes.pop(node, None)
            if self.peer is not None and node not in (self._peer_node, self._replica.node):
                self._grafts[node] = None

    def take_asked(self) -> list[str]:
        """Return of whom the peer has asked for heartbeats, since the last call, and in vain.

        Others are to be asked: what is missed there is soon missed here, and hops take time.
        """
        asked, self._asked = self._asked, []
        return asked

    def take_news(self) -> tuple[bool, Mapping[str, float]]:
        """Return what other peers are to be told of what has arrived since the last call.

        Whether it has brought writes, which are to go on at once; and the nodes whose contexts have
        moved, with the seconds within which they are to be told of each.
        """
        news = self._brought, self._within
        self._brought, self._within = False, {}
        return news

    def may_wait(self, within: Mapping[str, float], least: float) -> float:
        """Return within how many seconds this peer is to be told that contexts have moved.

        `least` where it knows, or hears it elsewhere, or where that is sooner.
        """
        known, pruned, reflected = self._known, self._pruned, self._replica.map.reflected
        for node, seconds in within.items():
            if seconds < least and node not in pruned and reflected(node) > known.get(node, 0):
                least = seconds
        return least

    def _check(self, hello: Hello) -> None:
        """Refuse a peer that this side cannot share a registry with."""
        replica, options = self._replica, self._replica.options
        if hello.node == replica.node:
            raise LinkRefused(f"this address is the manifest itself, {hello.node}", Refusal.ITSELF)
        if hello.oldest > PROTOCOL or hello.protocol < PROTOCOL:
            raise LinkRefused(
                f"no common protocol: {replica.node} speaks version {PROTOCOL}, {hello.node} "
                f"speaks {hello.oldest} to {hello.protocol}; upgrade the older of the two",
                Refusal.VERSION,
            )
        if hello.cluster != options.cluster:
            raise LinkRefused(
                f'different clusters: {replica.node} is of "{options.cluster}", {hello.node} of '
                f'"{hello.cluster}"; open both with one cluster=',
                Refusal.CLUSTER,
            )
        mine, theirs = int(options.retention * 1000), hello.retention
        if mine != theirs:
            raise LinkRefused(
                f"retention must be the same in the whole cluster: {mine / 1000:.15g} s at "
                f"{replica.node}, {theirs / 1000:.15g} s at {hello.node}; open both with one "
                "retention=",
                Refusal.SETTINGS,
            )
        mine, theirs = options.limits.record_bytes, hello.record_bytes
        if mine != theirs:
            raise LinkRefused(
                f"record_bytes must be the same in the whole cluster: {mine} at {replica.node}, "
                f"{theirs} at {hello.node}; open both with one limits=",
                Refusal.SETTINGS,
            )
        self._check_clock(hello)
        self._admit()

    def _check_clock(self, hello: Hello) -> None:
        replica, physical = self._replica, self._replica.physical
        limit = int(replica.options.max_clock_skew * 1000)
        mine, wall = physical.now(), physical.wall()
        if abs(mine - hello.clock) <= limit:
            return
        if abs(wall - hello.clock) > limit:
            raise LinkRefused(
                f"clocks are {abs(mine - hello.clock) / 1000:.1f} s apart and may be "
                f"{limit / 1000:g} s: {_time(mine)} at {replica.node}, {_time(hello.clock)} at "
                f"{hello.node}; set both machines' clocks (NTP)",
                Refusal.CLOCK,
            )
        # The peer and this machine's wall clock agree: what is wrong is the anchor.
        if hello.clock < mine:
            ahead = to_milliseconds(replica.clock.now()) - wall
            # Hybrid time never goes back. With a new anchor this node would be too far ahead for
            # the peer all the same, and those that are linked to it too far ahead for this node.
            raise LinkRefused(
                f"the wall clock at {replica.node} was set back while it ran, to {_time(wall)}, "
                f"and its writes bear times up to {ahead / 1000:.1f} s later, which {hello.node} "
                f"cannot accept; open {replica.node} anew",
                Refusal.CLOCK,
            )
        replica.anchor()

    # Sending

    def bytes_to_send(self) -> bytes:
        """Return what to write to the stream now, about one frame of gossip; b"" for nothing.

        What is returned counts as sent: write all of it, or close the stream and forget this
        object.
        """
        if self._queued:
            data = b"".join(self._queued)
            self._queued.clear()
        elif self.peer is None or self._said_bye:
            return b""
        else:
            data = self._gossip(self.peer)
        self.traffic.bytes_sent += len(data)
        return data

    def keep_alive(self) -> None:
        """Let the next gossip go out even if it is empty, so that the peer hears something."""
        self._keepalive = True
        horizon, nodes = self._replica.map.horizon, self._replica.map.nodes
        if horizon == self._swept:
            return
        self._swept = horizon
        self._known = {node: time for node, time in self._known.items() if time > horizon}
        # Not what it knows: that goes stale here, and at another moment than at the other end.
        self._pruned = {node: None for node in self._pruned if node in nodes}

    @property
    def is_pressed(self) -> bool:
        """Whether something is to be sent at once, rather than with whatever goes out next.

        What waits are contexts, and writes of those whose heartbeats this connection is spared.
        """
        said = self._queued or self._keepalive or self._missed or self._grafts
        return bool(said) or self._urgent or self._find_urgent()

    def _find_urgent(self) -> bool:
        """Look for an entry that is to go out at once, each of them once."""
        looked, self._looked = max(self._looked, self._cursor), self._replica.map.position
        if looked == self._looked:
            return self._urgent
        for position, entry in self._replica.map.journal(looked):
            if entry.stamp.node not in self._pruned and self._is_news(position, entry):
                self._urgent = True
                break
        return self._urgent

    def _is_news(self, position: int, entry: Entry[str, Record]) -> bool:
        """Tell whether the peer neither sent an entry here nor has it, as far as that is known."""
        if self._is_covered(entry):
            return False
        for first, last in reversed(self._theirs):
            if position > last:
                return True
            if position > first:
                return False
        return True

    def _is_covered(self, entry: Entry[str, Record]) -> bool:
        # Its own writes it has reflected, however far they came round a ring. Its own marks are
        # sent all the same: by them it learns that another process uses its id.
        time, node = entry.stamp
        return node == self._peer_node or time <= self._known.get(node, 0)

    @property
    def backlog(self) -> int:
        """How many changes there are here, at the most, that have not been looked at for it."""
        return self._replica.map.position - self._cursor

    @property
    def flushed(self) -> bool:
        """Whether everything that there is to say has been returned by `bytes_to_send`."""
        return not self._queued and (
            self._said_bye or (self.peer is not None and self._marked == self._replica.map.position)
        )

    @property
    def parting(self) -> bool:
        """Whether Bye has been said: nothing but it remains to be sent, and nothing is received."""
        return self._said_bye

    def close(self, code: str, reason: str) -> None:
        """Say Bye, once; only that remains to be sent."""
        if not self._said_bye:
            self._said_bye = True
            short = reason.encode(errors="replace")[:_REASON_BYTES].decode(errors="ignore")
            self._say(Bye(code=code, reason=short))

    def _say(self, message: Message) -> None:
        self._queued.append(frame(encode_message(message)))

    def _say_hello(self, seen: str | None, listening: str | None) -> None:
        replica, options = self._replica, self._replica.options
        hello = Hello(
            protocol=PROTOCOL,
            oldest=PROTOCOL,
            cluster=options.cluster,
            node=replica.node,
            born=replica.born,
            clock=max(1, replica.physical.now()),
            retention=int(options.retention * 1000),
            record_bytes=options.limits.record_bytes,
            frame_bytes=options.limits.frame_bytes,
            lease=max(1, int(options.lease * 1000)),
            name=options.name,
            listening=listening,
            seen=seen,
            horizon=replica.map.horizon,
        )
        # A digest that names fewer nodes than it could only has the peer send more than it need.
        room = (HELLO_BYTES - len(encode_message(hello))) // 40
        digest = dict(list(replica.digest().items())[-room:])
        self._say(attrs.evolve(hello, context=digest))

    def _gossip(self, peer: Hello) -> bytes:
        replica = self._replica
        told = not (self._keepalive or self._missed or self._grafts)
        if told and self._marked == replica.map.position:
            return self._synced()
        packer = self._packer(peer)
        if not self._pack_entries(packer):
            return frame(packer.payload(horizon=0))
        self._pack_marks(packer)
        data = b""
        if packer or self._keepalive:
            self._keepalive = False
            data = frame(packer.payload(horizon=replica.map.horizon))
            self._collected = max(self._collected, replica.map.horizon)
        return data + self._synced() if self._marked == replica.map.position else data

    def _synced(self) -> bytes:
        if self._said_synced:
            return b""
        self._said_synced = True
        return frame(encode_message(Synced()))

    def _packer(self, peer: Hello) -> GossipPacker:
        limits = self._replica.options.limits
        limit = min(limits.frame_bytes, peer.frame_bytes, _PART_BYTES)
        limit = max(limit, limits.record_bytes + 512) - HEADER_BYTES
        return GossipPacker(limit, base=self._replica.clock.latest)

    def _pack_entries(self, packer: GossipPacker) -> bool:
        """Pack what lies behind the cursor; False where the rest does not fit."""
        for position, entry in self._replica.map.journal(self._cursor):
            while self._theirs and self._theirs[0][1] < position:
                self._theirs.popleft()
            arrived_here = bool(self._theirs) and self._theirs[0][0] < position
            if not arrived_here and not self._is_covered(entry):
                if not packer.add_entry(entry, held=self._holds_value(entry)):
                    return False
                self.traffic.entries_sent += 1
            self._cursor = position
        self._cursor = self._replica.map.position
        self._urgent = False
        return True

    def _holds_value(self, entry: Entry[str, Record]) -> bool:
        """Tell whether the peer holds the value that an entry renews, if it renews one."""
        if not isinstance(entry.value, Record) or not entry.value.since:
            return False
        retention = int(self._replica.options.retention * 1000)
        # What the peer told may be old, and it collects without a word.
        due = self._replica.clock.now() - from_milliseconds(retention)
        known = self._known.get(entry.stamp.node, 0)
        return holds_value(entry, known, max(self._collected, due), retention)

    def _pack_marks(self, packer: GossipPacker) -> None:
        """Pack the contexts that moved, each with its lease, once all entries are on their way."""
        self._note_moves()
        now, lacking = self._replica.waking.now(), self._lacking
        for node in list(lacking):
            if self._lacks(node) and not self._pack_mark(packer, node, now):
                return
            del lacking[node]
        for node in list(self._missed):
            if not self._pack_mark(packer, node, now):
                return
            del self._missed[node]
        for told, add in ((self._prunes, packer.add_prune), (self._grafts, packer.add_graft)):
            for node in list(told):
                if not add(node):
                    return
                del told[node]
        self._pass_over()

    def _pass_over(self) -> None:
        """Stand at the end of the journal: the peer has, or need not have, all of it."""
        self._cursor = self._marked = self._replica.map.position
        self._theirs.clear()

    def _pack_mark(self, packer: GossipPacker, node: str, now: float) -> bool:
        time, known = self._replica.map.reflected(node), self._known.get(node, 0)
        if time <= known:
            return True
        if fits := packer.add_mark(node, known, time, self._replica.lease_of(node, now)):
            self._known[node] = time
        return fits

    def _note_moves(self) -> None:
        """Look at the contexts that moved, each move once, for those that the peer lacks."""
        known, pruned, latest = self._known, self._pruned, self._replica.map.latest
        for _, node, time in self._replica.map.moved(self._noted):
            # As `_lacks` says, without a call for each.
            have = known.get(node, 0)
            if time > have and (node not in pruned or latest.get(node, 0) > have):
                self._lacking[node] = None
        self._noted = self._replica.map.position

    def _lacks(self, node: str) -> bool:
        """Tell whether the peer is to be told how far a node's history goes.

        It is not where it knows as much, or where it hears elsewhere what is new and that is
        heartbeats alone, not writes.
        """
        have, replica_map = self._known.get(node, 0), self._replica.map
        return replica_map.reflected(node) > have and (
            node not in self._pruned or replica_map.latest.get(node, 0) > have
        )


def _time(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(
            sep=" ", timespec="seconds"
        )
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms"
