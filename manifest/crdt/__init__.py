"""A reference last-writer-wins map CRDT: small, typed, documented, proven.

Pure: no Trio, no I/O, no wall clock, no randomness, no import from the rest of the package.
"""

from .clock import HybridClock
from .entry import TOMBSTONE, Change, Delta, Entry
from .errors import CausalGap, ConflictingStamp, ManifestError
from .lwwmap import LWWMap, Moved, Share, never
from .stamp import COUNTER_BITS, Stamp, from_milliseconds, to_milliseconds
from .vector import VersionVector

__all__ = [
    "COUNTER_BITS",
    "TOMBSTONE",
    "CausalGap",
    "Change",
    "ConflictingStamp",
    "Delta",
    "Entry",
    "HybridClock",
    "LWWMap",
    "ManifestError",
    "Moved",
    "Share",
    "Stamp",
    "VersionVector",
    "from_milliseconds",
    "never",
    "to_milliseconds",
]
