"""The errors of the CRDT, and what they have in common."""

from __future__ import annotations

import pytest

from manifest.crdt import CausalGap, ConflictingStamp, ManifestError


@pytest.mark.parametrize("error", [CausalGap, ConflictingStamp])
def test_errors_have_one_root(error: type[Exception]) -> None:
    """Who catches ManifestError catches what a delta can be refused for, and no ValueError."""
    assert issubclass(error, ManifestError)
    assert not issubclass(error, ValueError)


def test_errors_say_what_they_mean() -> None:
    """The documentation of each says what has happened to the replica and what to do."""
    assert "Nothing of the delta has been joined" in (ConflictingStamp.__doc__ or "")
    assert "refused whole" in (CausalGap.__doc__ or "")
