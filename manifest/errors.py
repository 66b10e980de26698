"""Everything that the package raises on purpose, as one tree under `ManifestError`.

Refusals of what a peer sends are `LinkError`s. They end a link and never reach the application as
an exception: it reads them in the link's status, in `Disconnected.reason` and in the log.
"""

from __future__ import annotations

from .crdt.errors import CausalGap, ConflictingStamp, ManifestError
from .refusals import Refusal

__all__ = [
    "CausalGap",
    "ConflictingStamp",
    "LimitReached",
    "LinkError",
    "LinkRefused",
    "MalformedMessage",
    "ManifestError",
    "ManifestInternalError",
    "NotOwner",
    "ServiceNotFound",
    "refusal_of",
]


class ManifestInternalError(ManifestError):
    """A bug in this library, never the application's fault; the cause is the original error."""


class NotOwner(ManifestError):
    """A service was to be freed or written that belongs to another manifest."""


class LimitReached(ManifestError):
    """This manifest holds as much as it may, so that nothing was registered: see `Limits`."""


class ServiceNotFound(ManifestError, LookupError):
    """No visible service matches the query."""


class LinkError(ManifestError):
    """What ends a link: the peer, or the way to it, did something that this side cannot accept.

    `refusal` is what it is counted as where this side ended the link.
    """

    def __init__(self, message: str, refusal: Refusal = Refusal.PROTOCOL) -> None:
        super().__init__(message)
        self.refusal = refusal


class LinkRefused(LinkError):
    """One side will not have the other: wrong protocol, cluster, clock or settings, or itself."""


class MalformedMessage(LinkError):
    """Bytes from a peer that are not a message. Nothing of it has been applied.

    `path` names the place in the message, `problem` what is wrong there.
    """

    def __init__(self, path: str, problem: str, refusal: Refusal = Refusal.MALFORMED) -> None:
        super().__init__(f"{path}: {problem}", refusal)
        self.path = path
        self.problem = problem

    def at(self, path: str) -> MalformedMessage:
        """Return the same fault at another path: that of the whole message."""
        return MalformedMessage(path, self.problem, self.refusal)


def refusal_of(error: ManifestError) -> Refusal:
    """Return what a link that this error ended is counted as."""
    match error:
        case LinkError(refusal=refusal):
            return refusal
        case CausalGap():
            return Refusal.GAP
        case _:
            return Refusal.CONFLICT
