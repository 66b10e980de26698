"""Version vectors: values, their join and their order."""

from __future__ import annotations

from typing import Any

import pytest

from manifest.crdt import Stamp, VersionVector


def test_a_vector_is_a_mapping_of_what_it_names() -> None:
    """It reads as the mapping that it was made of, and a node that it does not name is missing."""
    vector = VersionVector({"a": 3, "b": 1})
    assert dict(vector) == {"a": 3, "b": 1}
    assert len(vector) == 2
    assert vector.get("c", 0) == 0
    assert "c" not in vector
    with pytest.raises(KeyError):
        vector["c"]


def test_zero_is_the_same_as_absent() -> None:
    """A node at zero is not stored, so that vectors that say the same are equal."""
    assert VersionVector({"a": 0, "b": 2}) == VersionVector({"b": 2})
    assert len(VersionVector({"a": 0})) == 0
    assert not VersionVector()


def test_a_vector_does_not_change_with_what_it_was_made_of() -> None:
    """It copies the mapping that it is given."""
    times = {"a": 1}
    vector = VersionVector(times)
    times["a"] = 9
    assert vector["a"] == 1


@pytest.mark.parametrize(
    "times, said",
    [
        ({"a": -1}, "got 'a': -1"),
        ({"a": 1.5}, "got 'a': 1.5"),
        ({"a": True}, "got 'a': True"),
        ({7: 1}, "got 7: 1"),
        ({"a": None}, "got 'a': None"),
    ],
)
def test_what_is_not_a_time_or_a_node_is_refused(times: Any, said: str) -> None:
    """The error says what a vector maps to what, and which item is at fault."""
    right = "a version vector maps node ids (str) to times (int, 0 or more), "
    with pytest.raises(ValueError) as caught:
        VersionVector(times)
    assert str(caught.value) == right + said


def test_equality_and_hash_go_by_content() -> None:
    """The order in which nodes were named does not matter; a plain dictionary is another thing."""
    one, other = VersionVector({"a": 1, "b": 2}), VersionVector({"b": 2, "a": 1})
    assert one == other
    assert hash(one) == hash(other)
    assert one != VersionVector({"a": 1})
    assert one != {"a": 1, "b": 2}


def test_the_repr_is_sorted() -> None:
    """The same vector reads the same, whatever way it came about."""
    assert repr(VersionVector({"b": 2, "a": 1})) == "VersionVector({'a': 1, 'b': 2})"
    assert repr(VersionVector()) == "VersionVector()"


def test_a_vector_covers_what_lies_within_it() -> None:
    """The write that an item ends with is covered, the next one is not, nor any of a stranger."""
    vector = VersionVector({"a": 5})
    assert vector.covers(Stamp(4, "a"))
    assert vector.covers(Stamp(5, "a"))
    assert not vector.covers(Stamp(6, "a"))
    assert not vector.covers(Stamp(1, "b"))


def test_the_join_is_the_least_vector_that_is_at_least_both() -> None:
    """Per node the greater time, and neither of the two is changed."""
    one, other = VersionVector({"a": 3, "b": 1}), VersionVector({"b": 4, "c": 2})
    joined = one.join(other)
    assert joined == other.join(one) == VersionVector({"a": 3, "b": 4, "c": 2})
    assert one <= joined
    assert other <= joined
    assert dict(one) == {"a": 3, "b": 1}
    assert one.join({"a": 1, "d": 0}) == one


def test_vectors_are_partly_ordered() -> None:
    """One is within another where each of its times is; two can each be ahead of the other."""
    empty, small, large = VersionVector(), VersionVector({"a": 1}), VersionVector({"a": 2, "b": 1})
    assert empty <= small <= large
    assert large >= small
    assert not large <= small
    aside = VersionVector({"c": 1})
    assert not small <= aside
    assert not aside <= small


def test_a_vector_compares_with_vectors_alone() -> None:
    """Comparing with a plain dictionary is a TypeError, as it is for every other type."""
    with pytest.raises(TypeError, match="'<=' not supported"):
        _ = VersionVector() <= {}  # type: ignore[operator]
