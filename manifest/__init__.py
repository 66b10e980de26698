"""A high-availability service registry for Trio, with no server to lose.

Open a manifest in every process, connect them in any topology, register what each serves and find
what it needs: every process holds the whole registry. `manifest.crdt` is the replicated map
beneath.
"""

__version__ = "0.1.0"

from .environment import Environment
from .errors import (
    CausalGap,
    ConflictingStamp,
    LimitReached,
    LinkError,
    LinkRefused,
    MalformedMessage,
    ManifestError,
    ManifestInternalError,
    NotOwner,
    ServiceNotFound,
)
from .events import (
    Accepted,
    Closed,
    Connected,
    Disconnected,
    Displaced,
    Event,
    Freed,
    FreeReason,
    Heartbeat,
    Registered,
    Synced,
    Updated,
)
from .link import Link, LinkState, LinkStatus
from .listener import Listener
from .network import Address, Network
from .opening import open_manifest
from .options import Limits, Timeouts
from .records import Service
from .refusals import Refusal
from .registry import Manifest
from .statistics import LinkStatistics, Statistics
from .structure import to_json
from .subscription import Subscription
from .tasks import ManifestClosed
from .tls import TLS

__all__ = [
    "TLS",
    "Accepted",
    "Address",
    "CausalGap",
    "Closed",
    "ConflictingStamp",
    "Connected",
    "Disconnected",
    "Displaced",
    "Environment",
    "Event",
    "FreeReason",
    "Freed",
    "Heartbeat",
    "LimitReached",
    "Limits",
    "Link",
    "LinkError",
    "LinkRefused",
    "LinkState",
    "LinkStatistics",
    "LinkStatus",
    "Listener",
    "MalformedMessage",
    "Manifest",
    "ManifestClosed",
    "ManifestError",
    "ManifestInternalError",
    "Network",
    "NotOwner",
    "Refusal",
    "Registered",
    "Service",
    "ServiceNotFound",
    "Statistics",
    "Subscription",
    "Synced",
    "Timeouts",
    "Updated",
    "open_manifest",
    "to_json",
]
