"""TLS without I/O: what both ends learn, byte by byte, in every way that it can go wrong."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import attrs
import pytest

from manifest import TLS, LinkError, LinkRefused
from manifest.explaining import explain
from manifest.frames import FrameReader
from manifest.messages import Bye
from manifest.session import Session
from manifest.wire import decode_message

from .certificates import THEIRS, context, expired, member, signed, too_early

NAME = "a.internal"
GOOD = member(NAME, "10.0.0.1", "::1")


@attrs.define
class Ends:
    """Both ends of one connection; what goes wrong at each is kept."""

    dialling: Session
    accepting: Session
    said: dict[str, LinkError] = attrs.field(factory=dict)

    def exchange(self, piece: int = 100_000) -> None:
        """Carry bytes, in pieces of this size, until neither end has anything to send."""
        while (there := self.dialling.bytes_to_send()) + (back := self.accepting.bytes_to_send()):
            self._carry("accepting", there, piece)
            self._carry("dialling", back, piece)

    def _carry(self, end: str, data: bytes, piece: int) -> None:
        for start in range(0, len(data), piece):
            if end not in self.said:
                try:
                    getattr(self, end).receive(data[start : start + piece])
                except LinkError as error:
                    self.said[end] = error


def ends(
    dialling: TLS = GOOD, accepting: TLS = GOOD, host: str = NAME, piece: int = 99_999
) -> Ends:
    """Return both ends of a connection, after the handshake, however that went."""
    both = Ends(Session(dialling, host), Session(accepting, None))
    both.dialling.start()
    both.accepting.start()
    both.exchange(piece)
    return both


def established(piece: int = 99_999) -> Ends:
    """Return both ends of a connection that is right."""
    both = ends(piece=piece)
    assert both.said == {}
    assert both.dialling.established
    assert both.accepting.established
    return both


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_bytes_arrive_however_they_are_cut(piece: int) -> None:
    """Both ends prove who they are and read what the other sent, also byte by byte."""
    both = established(piece)
    for sender, receiver in (
        (both.dialling, both.accepting),
        (both.accepting, both.dialling),
    ):
        sender.encrypt(b"hello, ")
        sender.encrypt(b"")
        sender.encrypt(b"x" * 70_000)
        assert not receiver.readable
        both.exchange(piece)
        assert receiver.readable
        assert receiver.read(7) == b"hello, "
        assert receiver.read(None) == b"x" * 70_000
        assert (receiver.readable, receiver.read(None)) == (False, b"")


@pytest.mark.parametrize("host", [NAME, "A.Internal", f"{NAME}.", "10.0.0.1", "::1", "::1%eth0"])
def test_a_peer_is_known_by_the_host_that_was_dialled(host: str) -> None:
    """A name in any case, an absolute one, an address and a scoped address are all recognised."""
    assert ends(host=host).said == {}


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "."])
def test_what_can_be_no_name_is_a_value_error(host: str) -> None:
    """A host that no certificate can be for is a ValueError before anything is sent."""
    with pytest.raises(ValueError):
        Session(GOOD, host)


def test_one_direction_ends_by_itself() -> None:
    """An end that has said its last can still read, and is told of the other's end as well."""
    both = established()
    both.accepting.encrypt(b"z" * 40_000)
    first = both.accepting.bytes_to_send()
    # With half of a record under way, as it may be at any time.
    both.dialling.receive(first[:20_000])
    both.dialling.encrypt(b"last")
    both.dialling.finish()
    both.exchange()
    assert both.accepting.read(None) == b"last"
    assert both.accepting.ended
    assert both.accepting.readable
    both.dialling.receive(first[20_000:])
    both.accepting.encrypt(b"more")
    both.accepting.finish()
    both.exchange()
    assert both.said == {}
    assert both.dialling.read(None) == b"z" * 40_000 + b"more"
    assert both.dialling.ended
    both.dialling.receive(b"anything at all")
    assert both.dialling.read(None) == b""


def test_a_cut_at_any_byte_leaves_what_came_before() -> None:
    """Of a stream that is cut anywhere, whole records are read and nothing else, without an end."""
    both = established()
    for text in (b"first", b"second", b"third"):
        both.dialling.encrypt(text)
    ciphertext = both.dialling.bytes_to_send()
    seen = [b""]
    for byte in range(len(ciphertext)):
        both.accepting.receive(ciphertext[byte : byte + 1])
        now = seen[-1] + both.accepting.read(None)
        if now != seen[-1]:
            seen.append(now)
    assert seen == [b"", b"first", b"firstsecond", b"firstsecondthird"]
    assert not both.accepting.ended


def test_what_is_changed_under_way_is_noticed() -> None:
    """A record with any one bit of it changed breaks the connection, and nothing of it is read."""
    for place in range(5, 40):
        both = established()
        both.dialling.encrypt(b"0123456789abcdefgh")
        data = bytearray(both.dialling.bytes_to_send())
        data[place % len(data)] ^= 1
        with pytest.raises(LinkError, match="the TLS connection broke: ") as caught:
            both.accepting.receive(bytes(data))
        assert not isinstance(caught.value, LinkRefused)
        assert both.accepting.read(None) == b""
        with pytest.raises(LinkError):
            both.accepting.encrypt(b"never again")


def without_certificate() -> TLS:
    """Return what shows no certificate to those that it dials."""
    client = context(ssl.PROTOCOL_TLS_CLIENT, None)
    return TLS(server=GOOD.server, client=client)


def older(tls: TLS) -> TLS:
    """Return what speaks TLS 1.2, as no TLS of ours would be made."""
    for side in (tls.server, tls.client):
        side.minimum_version = ssl.TLSVersion.TLSv1_2
        side.maximum_version = ssl.TLSVersion.TLSv1_2
    return tls


ANOTHER_CA = r"the peer's certificate is signed by another CA than .* have both made by one CA"
REFUSED_CA = r"the peer refused this side's certificate: it is signed by another CA than those th"
OLD = r"the two have no version of TLS in common: this side speaks TLS 1.3 and nothing older"
REFUSED_NAME = r"the peer refused this side's certificate: it is not for the name that the peer d"


@pytest.mark.parametrize(
    "dialling, accepting, host, dialled, accepted",
    [
        (member(leaf=signed(NAME, by=THEIRS)), GOOD, NAME, REFUSED_CA, ANOTHER_CA),
        (GOOD, member(leaf=signed(NAME, by=THEIRS)), NAME, ANOTHER_CA, REFUSED_CA),
        (GOOD, member(NAME, trusted=THEIRS), NAME, REFUSED_CA, ANOTHER_CA),
        (
            without_certificate(), GOOD, NAME,
            "the peer wants a certificate and this side presented none: open this manifest with t",
            "the peer presented no certificate: open it with tls= and a certificate from the CA",
        ),
        (
            member(leaf=expired(NAME)), GOOD, NAME,
            "the peer refused this side's certificate: it has expired",
            "the peer's certificate has expired: give the peer a new one",
        ),
        (
            GOOD, member(leaf=expired(NAME)), NAME,
            "the peer's certificate has expired: give the peer a new one",
            "the peer refused this side's certificate: it has expired",
        ),
        (
            GOOD, member(leaf=too_early(NAME)), NAME,
            "the peer's certificate is not valid yet: one of the two clocks is wrong",
            r"the peer refused this side's certificate: .*, or not valid yet by the peer's clock",
        ),
        (
            GOOD, GOOD, "b.internal",
            "the peer's certificate is not for b.internal: have it made for the names and",
            REFUSED_NAME,
        ),
        (GOOD, GOOD, "10.0.0.2", "the peer's certificate is not for 10.0.0.2: ", REFUSED_NAME),
        (older(member(NAME)), GOOD, NAME, OLD, OLD),
        (GOOD, older(member(NAME)), NAME, OLD, OLD),
    ],
)  # fmt: skip
def test_both_ends_learn_why(
    dialling: TLS, accepting: TLS, host: str, dialled: str, accepted: str
) -> None:
    """Whoever is refused, both ends get a reason in words, and neither reads a byte."""
    both = ends(dialling, accepting, host)
    for end, expected in (("dialling", dialled), ("accepting", accepted)):
        assert isinstance(both.said[end], LinkRefused)
        with pytest.raises(LinkRefused, match=f"^{expected}"):
            raise both.said[end]


def bye_in(data: bytes) -> Bye:
    """Return the Bye that is all there is in some bytes."""
    (payload,) = FrameReader(10_000).feed(data)
    message = decode_message(payload, record_bytes=1024)
    assert isinstance(message, Bye)
    return message


@pytest.mark.parametrize("first", [b"\x00", b"GET / HTTP/1.1\r\n", b"\x15\x03\x03\x00\x02\x02\x28"])
def test_a_peer_that_dials_in_plain_is_told_so_in_plain(first: bytes) -> None:
    """Whoever dials and does not speak TLS gets a Bye that it can read."""
    session = Session(GOOD, None)
    session.start()
    with pytest.raises(LinkRefused, match=r"^the peer does not speak TLS, and this manifest does"):
        session.receive(first)
    bye = bye_in(session.bytes_to_send())
    assert bye.code == "refused"
    assert bye.reason.startswith("this manifest speaks TLS alone")
    assert session.bytes_to_send() == b""


def test_a_peer_that_listens_in_plain_is_recognised() -> None:
    """Whoever is dialled and answers in plain is refused, and nothing more is sent to it."""
    session = Session(GOOD, NAME)
    session.start()
    assert session.bytes_to_send()
    with pytest.raises(LinkRefused, match=r"^the peer does not speak TLS"):
        session.receive(b"\x00\x00\x01")
    assert session.bytes_to_send() == b""


def test_what_only_begins_like_tls_is_refused() -> None:
    """A record that is none is refused in OpenSSL's words, for want of better ones."""
    session = Session(GOOD, None)
    with pytest.raises(LinkRefused, match=r"^the TLS handshake failed: [a-z]"):
        session.receive(b"\x16\x03\x01\x00\x05hello")


MEMBER = member(NAME, "Members.internal", peer_name="members.internal")


def test_a_name_that_all_members_bear() -> None:
    """With a peer name, that is asked of both ends, whatever host was dialled."""
    assert ends(MEMBER, MEMBER, host="10.9.9.9").said == {}
    assert list(ends(GOOD, MEMBER).said) == ["accepting"]


@pytest.mark.parametrize(
    "leaf, names", [(signed(NAME, "b"), f"{NAME}, b"), (signed("10.0.0.1"), "10.0.0.1")]
)
def test_who_does_not_bear_it_is_told_so_under_tls(
    leaf: object, names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate of the CA that lacks the name is refused, with a Bye that the peer can read."""
    stranger = attrs.evolve(member(leaf=leaf))  # type: ignore[arg-type]
    host = "10.0.0.1" if names == "10.0.0.1" else NAME
    both = ends(stranger, attrs.evolve(MEMBER, server=member(NAME, "10.0.0.1").server), host=host)
    expected = f"certificate is for {names}, and not for members.internal, which peer_name= asks"
    assert str(both.said["accepting"]).startswith(f"the peer's {expected}")
    assert isinstance(both.said["accepting"], LinkRefused)
    assert not both.accepting.established
    assert bye_in(both.dialling.read(None)).reason.startswith(f"your {expected}")
    assert both.dialling.ended


def test_a_peer_name_is_asked_even_where_the_context_does_not() -> None:
    """A context that checks no names does not weaken `peer_name` on the dialling side."""
    lax = context(ssl.PROTOCOL_TLS_CLIENT, signed(NAME))
    lax.check_hostname = False
    stranger = ends(attrs.evolve(MEMBER, client=lax), GOOD, host="anywhere")
    assert str(stranger.said["dialling"]).startswith(
        f"the peer's certificate is for {NAME}, 10.0.0.1, "
    )
    anyone = ends(TLS(server=GOOD.server, client=lax), GOOD, host="anywhere")
    assert anyone.said == {}


def failures() -> Iterator[tuple[ssl.SSLError, str]]:
    """Yield errors that are hard to come by, and what is to be said of them."""
    rare = ssl.SSLCertVerificationError(1, "certificate verify failed")
    rare.verify_code, rare.verify_message = 24, "invalid CA certificate"
    yield rare, "the peer's certificate is not accepted: invalid CA certificate"
    silent = ssl.SSLError(1, "no reason at all")
    silent.reason = None  # type: ignore[assignment]  # as it is where OpenSSL has none
    yield silent, "the TLS handshake failed: "
    expired = ssl.SSLError(1, "alert")
    expired.reason = "SSLV3_ALERT_CERTIFICATE_EXPIRED"
    yield expired, "the peer refused this side's certificate: it has expired (on Jan 1 2026)"


@pytest.mark.parametrize("error, expected", [*failures()])
def test_rare_failures_are_explained_too(error: ssl.SSLError, expected: str) -> None:
    """What is in no table is told in OpenSSL's words; this side knows when its own expired."""
    told = explain(error, NAME, "Jan 1 2026", established=False)
    assert isinstance(told, LinkRefused)
    assert str(told).startswith(expected)
