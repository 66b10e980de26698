"""Why a connection was refused or dropped by this side: one short word for each reason.

The words are for monitors: `Statistics.refused` counts by them, and a word once given keeps its
meaning. The whole story, with what was given and what is right, is in the log and in the link's
status. docs/limits.md has them all in one table.
"""

from __future__ import annotations

import enum

__all__ = ["Refusal"]


class Refusal(enum.StrEnum):
    """Why a connection was refused or dropped by this side; each reads as its value."""

    # What the peer is
    ITSELF = "itself"
    """It is this manifest itself."""
    VERSION = "version"
    """It speaks no common version of the protocol."""
    CLUSTER = "cluster"
    """It is of another cluster."""
    SETTINGS = "settings"
    """What must be the same in the whole cluster is not: `retention` or `record_bytes`."""
    CLOCK = "clock"
    """Its clock is too far from this one's."""
    TLS = "tls"
    """One side did not accept the other's certificate, or only one of them speaks TLS."""

    # What it sent
    MALFORMED = "malformed"
    """Bytes that are no message, or a value that no message may have."""
    FRAME_BYTES = "frame_bytes"
    """A frame that is too long, or empty."""
    FRAME_ROWS = "frame_rows"
    """A message of more rows than one may have."""
    RECORD_BYTES = "record_bytes"
    """A record that is too large."""
    FORGED = "forged"
    """An owner-bound id that another node wrote."""
    PROTOCOL = "protocol"
    """A message that is not due: gossip before Hello, a second Hello, a second Synced."""
    STAMP = "stamp"
    """A time too far ahead of this node's clock."""
    HORIZON = "horizon"
    """A horizon that would collect what is not due."""
    IDENTITY = "identity"
    """Writes of this node that this node never made."""
    GAP = "gap"
    """An interval that begins beyond what has arrived here."""
    CONFLICT = "conflict"
    """One stamp with two values."""

    # How much of it there is
    OWNERS = "owners"
    """It brings more nodes than are kept."""
    ENTRIES = "entries"
    """It brings more entries, tombstones included, than are kept."""
    OWNER_RECORDS = "owner_records"
    """It brings more records of one owner than are kept."""
    OWNER_TOMBSTONES = "owner_tombstones"
    """It brings more tombstones of one owner than are kept."""
    OWNER_PERSISTENT = "owner_persistent"
    """It brings more persistent records of one owner, freed ones included, than are kept."""
    CONNECTIONS = "connections"
    """There were as many connections as are accepted."""
    ADDRESS_CONNECTIONS = "address_connections"
    """There were as many connections from its address as are accepted."""
    UNGREETED = "ungreeted"
    """It had not said Hello when its place was needed."""
    DESCRIPTORS = "descriptors"
    """The operating system had no descriptor left for it."""

    # How long it took
    HANDSHAKE = "handshake"
    """No Hello in time."""
    FRAME = "frame"
    """A frame that was not complete in time."""
    SILENCE = "silence"
    """It was silent for longer than its lease."""
    SEND = "send"
    """It did not take in time what was sent to it."""
