"""Everything that the package raises on purpose, as one tree under `ManifestError`.

Refusals of what a peer sends are `LinkError`s. They end a link and never reach the application as
an exception: it reads them in the link's status, in `Disconnected.reason` and in the log.
"""

from __future__ import annotations

from .crdt.errors import CausalGap, ConflictingStamp, ManifestError

__all__ = [
    "CausalGap",
    "ConflictingStamp",
    "LinkError",
    "LinkRefused",
    "MalformedMessage",
    "ManifestError",
    "ManifestInternalError",
    "NotOwner",
    "ServiceNotFound",
]


class ManifestInternalError(ManifestError):
    """A bug in this library, never the application's fault; the cause is the original error."""


class NotOwner(ManifestError):
    """A service was to be freed or written that belongs to another manifest."""


class ServiceNotFound(ManifestError, LookupError):
    """No visible service matches the query."""


class LinkError(ManifestError):
    """What ends a link: the peer, or the way to it, did something that this side cannot accept."""


class LinkRefused(LinkError):
    """One side will not have the other: wrong protocol, cluster, clock or settings, or itself."""


class MalformedMessage(LinkError):
    """Bytes from a peer that are not a message. Nothing of it has been applied.

    `path` names the place in the message, `problem` what is wrong there.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem
