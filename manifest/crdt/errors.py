"""What can go wrong with replicated state, and the root of every error of the package.

The root stands here, at the bottom of the import graph, so that the CRDT can be used and read on
its own. `manifest.errors` holds the rest of the tree.
"""

from __future__ import annotations

__all__ = ["CausalGap", "ConflictingStamp", "ManifestError"]


class ManifestError(Exception):
    """The root of every error that this package raises on purpose."""


class ConflictingStamp(ManifestError):
    """Two entries bear one stamp and different values.

    A stamp names one write, so this can only come from a writer that is broken or hostile: two
    processes that use one node id, or a forged entry. Nothing of the delta has been joined.
    """


class CausalGap(ManifestError):
    """A delta starts later than what this replica has reflected.

    Joining it would let the context claim writes that never arrived, so it is refused whole. Ask
    the sender for a delta that starts at this replica's context.
    """
