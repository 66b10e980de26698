"""Frames: a stream of bytes is cut into payloads, and nothing is set aside for what is refused."""

import pytest

from manifest.errors import LinkRefused, MalformedMessage
from manifest.frames import HEADER_BYTES, FrameReader, frame


def header(length: int) -> bytes:
    """Return the header of a frame of this length."""
    return length.to_bytes(HEADER_BYTES, "big")


def test_a_frame_is_four_bytes_of_length_and_the_payload() -> None:
    """The length is big-endian and does not count itself."""
    assert frame(b"x" * 258) == b"\x00\x00\x01\x02" + b"x" * 258


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 100])
def test_payloads_are_the_same_however_the_stream_was_cut(size: int) -> None:
    """Pieces of any size give the same payloads in the same order."""
    payloads = [b"a", b"bc", b"d" * 10, b"\x00\x00\x00\x01"]
    stream = b"".join(map(frame, payloads))
    reader = FrameReader(limit=10)
    found: list[bytes] = []
    for start in range(0, len(stream), size):
        found.extend(reader.feed(stream[start : start + size]))
    assert found == payloads
    assert not reader.partial


def test_a_frame_that_is_not_complete_is_partial() -> None:
    """`partial` holds from the first byte of a header until the last of the payload."""
    reader = FrameReader(limit=10)
    assert not reader.partial
    for byte in frame(b"ab")[:-1]:
        assert list(reader.feed(bytes([byte]))) == []
        assert reader.partial
    assert list(reader.feed(b"b" + frame(b"c"))) == [b"ab", b"c"]
    assert not reader.partial


def test_nothing_is_no_frame() -> None:
    """Feeding nothing changes nothing."""
    reader = FrameReader(limit=10)
    assert list(reader.feed(b"")) == []
    assert not reader.partial


def test_the_limit_itself_is_allowed() -> None:
    """A payload of exactly the limit is a payload."""
    assert list(FrameReader(limit=10).feed(frame(b"x" * 10))) == [b"x" * 10]


@pytest.mark.parametrize("length", [0, 11, 2**31, 2**32 - 1])
def test_a_bad_length_is_refused_from_the_header_alone(length: int) -> None:
    """No byte of the payload is waited for, and the error names the limit and what came."""
    with pytest.raises(MalformedMessage, match=rf"^frame: .* 1 to 10 bytes, got {length}$") as info:
        list(FrameReader(limit=10).feed(header(length)))
    assert info.value.path == "frame"


def test_what_came_before_a_bad_length_is_a_payload() -> None:
    """Frames in front of the faulty one are yielded first."""
    found: list[bytes] = []
    with pytest.raises(MalformedMessage):
        found.extend(FrameReader(limit=10).feed(frame(b"good") + header(11)))
    frames = FrameReader(limit=10).feed(frame(b"good") + header(11))
    assert next(frames) == b"good"


def test_a_new_limit_holds_from_the_next_frame_on() -> None:
    """The limit may be changed between two frames that came in one piece."""
    reader = FrameReader(limit=10)
    frames = reader.feed(frame(b"x" * 10) + frame(b"y" * 5) + header(6))
    assert next(frames) == b"x" * 10
    reader.limit = 5
    assert next(frames) == b"y" * 5
    with pytest.raises(MalformedMessage, match="1 to 5 bytes"):
        next(frames)


def test_who_stops_reading_loses_nothing() -> None:
    """Payloads that were not asked for are still there at the next call."""
    reader = FrameReader(limit=10)
    frames = reader.feed(frame(b"a") + frame(b"b") + b"\x00")
    assert next(frames) == b"a"
    frames.close()  # type: ignore[attr-defined]
    assert list(reader.feed(b"\x00\x00\x01c")) == [b"b", b"c"]


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02", frame(b"abc") + b"\x16\x03\x03\x00\x05rest"])
def test_tls_is_recognised(data: bytes) -> None:
    """A peer that speaks TLS where nobody else does is refused by that name, not for a length."""
    with pytest.raises(LinkRefused, match="the peer speaks TLS, and this manifest does not"):
        list(FrameReader(1000).feed(data))
