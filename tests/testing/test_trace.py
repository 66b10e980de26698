"""Equal digests mean equal runs, and the first difference is found."""

from hypothesis import given
from hypothesis import strategies as st

from manifest.testing import Happening, Trace
from manifest.testing.trace import first_difference

HAPPENINGS = st.lists(
    st.builds(
        Happening,
        st.sampled_from([0.0, 1.0, 11.0]),
        st.sampled_from(["", "a", "1 a", "a 1"]),
        st.sampled_from([b"", b"1", b"a", b"11 a"]),
    ),
    max_size=3,
)


def traced(happenings: list[Happening], *, keep: bool = True) -> Trace:
    """Return a trace of these events."""
    trace = Trace(keep=keep)
    for each in happenings:
        trace.note(each.time, each.what, each.data)
    return trace


@given(HAPPENINGS, HAPPENINGS)
def test_equal_digests_are_equal_records(one: list[Happening], other: list[Happening]) -> None:
    """No two records look alike, wherever one field ends and the next begins."""
    assert (traced(one).digest == traced(other).digest) == (one == other)


@given(HAPPENINGS)
def test_a_trace_need_not_keep_what_it_digests(happenings: list[Happening]) -> None:
    """The digest and the number of events are the same; the record is there or not."""
    kept, passing = traced(happenings), traced(happenings, keep=False)
    assert kept.record == happenings
    assert passing.record == []
    assert kept.digest == passing.digest
    assert kept.length == passing.length == len(happenings)


def test_the_first_difference_is_a_pair() -> None:
    """Of events that differ, or of one and the end of the other; None where there is none."""
    a, b, c = (Happening(float(time), "what") for time in range(3))
    assert first_difference([a, b], [a, b]) is None
    assert first_difference([a, b, c], [a, c, b]) == (b, c)
    assert first_difference([a], [a, b]) == (None, b)
    assert first_difference([a, b], [a]) == (b, None)


def test_a_happening_is_shown_in_a_line() -> None:
    """With the beginning of its bytes, where it has any."""
    assert str(Happening(0.25, "n0: born")) == "0.250000 s: n0: born"
    assert str(Happening(1.0, "a -> b", b"x" * 50)).endswith(f"a -> b 50 bytes {b'x' * 40!r}")
