"""What `Manifest.statistics` returns."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from .link import LinkStatus
from .protocol import Traffic
from .refusals import Refusal

__all__ = ["LinkStatistics", "Statistics"]


@attrs.frozen
class LinkStatistics:
    """One link at one moment."""

    status: LinkStatus
    dialled: bool
    traffic: Traffic


@attrs.frozen
class Statistics:
    """A manifest at one moment."""

    id: str
    services: int
    """Visible services."""
    entries: int
    """Entries of the map that are not tombstones, visible or not."""
    tombstones: int
    nodes: int
    """Manifests that are believed to be alive, this one included."""
    links: tuple[LinkStatistics, ...]
    bytes_sent: int
    """Over all links since the manifest was opened, those that have ended included."""
    bytes_received: int
    subscribers: int
    lag: int
    """Events that wait to be read by the slowest subscriber."""
    merged: int
    """Events that were merged because a subscriber lagged, all present subscribers together."""
    refused: Mapping[Refusal, int]
    """Connections that this side refused or dropped since opening, by reason; none for none.

    A `Refusal` is a short text, such as "clock".
    """
    paused: float
    """Seconds in which this process did not run, since opening."""
    displaced_by: str | None
    """Id of the later-born manifest of the same name that is believed instead of this one."""
