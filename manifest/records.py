"""What is registered: records, the services that they are shown as, their roles, ids and keys.

A *record* is the value in the replicated map, a *service* is how an application sees it. A
service's owner is the node of the entry's stamp, and its timestamp the stamp's time, so that
neither can disagree with the entry.

Ids and keys
    An id that looks like `<node id>.<number>` is *owner-bound*: only entries with that node's stamp
    are valid. Any other id is a *shared name* that the last writer holds. A persistent record lives
    under a key of its own, its id with a mark in front, which exempts it from the horizon. It
    outlives its owner, so anyone may free it, whatever its id; to write a record there takes the
    owner's stamp all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any, Protocol, cast

import semver

from .codec import EMPTY_DATA, JSON, Value, decoder
from .crdt import TOMBSTONE, Entry, Stamp, to_milliseconds
from .versions import Precedence, parse_version, precedence

__all__ = [
    "MAX_ID_BYTES",
    "MAX_PORT",
    "UNPRINTABLE",
    "Record",
    "Service",
    "check_address",
    "check_flag",
    "check_host",
    "check_id",
    "check_port",
    "freer_of",
    "id_of",
    "is_persistent",
    "is_wildcard",
    "key_of",
    "owner_of",
    "parse_role",
    "precedence_of",
    "service_of",
    "split_role",
    "valid_node_id",
]

MAX_ID_BYTES = 255
MAX_PORT = 65535
_MAX_ROLE_BYTES = 255
_MAX_ADDRESS = 255
_MAX_SHOWN_DATA = 80
_PERSISTENT = "*"

_NODE_ID = re.compile(r"[0-9A-F]{24}")
_OWNER_BOUND = re.compile(r"([0-9A-F]{24})\.(?:0|[1-9][0-9]{0,18})")

UNPRINTABLE = re.compile(
    r"[\x00-\x20\x7f-\xa0\xad\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000"
    r"\ud800-\udfff\ufeff]"
)
"""What no id, role, address or name contains: blanks, control characters, those that are invisible
or turn the direction of text, and lone surrogates. Spelled out, for `str.isprintable` differs
between versions of Python, and what one replica accepts all must.
"""

# A record's data was checked when it was packed here or came off the wire.
_unpack: Callable[[bytes], dict[str, JSON]] = decoder(dict[str, Any], "data")


class Record(Value, frozen=True):
    """The value of an entry: what its owner said of the service."""

    role: str
    address: str | None = None
    port: int | None = None
    data: bytes = EMPTY_DATA
    since: int = 0
    """Hybrid time of the write that set all this, or 0: the one whose stamp the entry bears."""

    def at(self, address: str) -> Record:
        """Return a record with another address, not set yet."""
        return Record(self.role, address, self.port, self.data)

    def set_at(self, time: int) -> Record:
        """Return a record that says the same, and was set by the write of that time."""
        return Record(self.role, self.address, self.port, self.data, time)

    def says_the_same(self, other: Record) -> bool:
        """Tell whether another record differs at most in when it was set."""
        return (
            self.role == other.role
            and self.port == other.port
            and self.address == other.address
            and self.data == other.data
        )

    def size(self, key: str) -> int:
        """Return what this record costs under `key`, in bytes, for comparison with a limit."""
        words = f"{key}{self.role}{self.address or ''}"
        # Nearly all of them are ASCII, which is known without looking.
        return len(self.data) + (len(words) if words.isascii() else len(words.encode()))


class _Written(Protocol):
    """An entry that is no tombstone."""

    @property
    def key(self) -> str: ...

    @property
    def stamp(self) -> Stamp: ...

    @property
    def value(self) -> Record: ...


class Service(Value, frozen=True, eq=False):
    """A service as the registry shows it.

    Immutable. Renewals by its owner change `timestamp` alone, which does not count in comparisons.
    """

    # What it says is read from the entry that it stands for: there are as many as entries, and
    # with fields of its own each would take five times as long to make and twice the memory.
    _entry: _Written

    def __repr__(self) -> str:
        host = self.address or ""
        if ":" in host:
            host = f"[{host}]"
        where = host if self.port is None else f"{host}:{self.port}"
        data = "" if self._entry.value.data == EMPTY_DATA else str(self.data)
        if len(data) > _MAX_SHOWN_DATA:
            data = f"{data[:_MAX_SHOWN_DATA]}..."
        return f"<Service {self.id} {self.role}{where and f' at {where}'}{data and f' {data}'}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Service):
            return NotImplemented
        mine, theirs = self._entry, other._entry
        return (
            mine.key == theirs.key
            and mine.stamp.node == theirs.stamp.node
            and mine.value.says_the_same(theirs.value)
        )

    def __ne__(self, other: object) -> bool:
        # What a `Value` has inherited compares all fields, whatever __eq__ says.
        return not self == other

    def __hash__(self) -> int:
        return hash((self._entry.key, self._entry.stamp.node, self.role))

    @classmethod
    def of(cls, key: str, stamp: Stamp, record: Record) -> Service:
        """Return the service that an entry stands for."""
        return cls(cast("_Written", Entry(key, stamp, record)))

    @property
    def id(self) -> str:
        """Identifies it in the registry."""
        return id_of(self._entry.key)

    @property
    def role(self) -> str:
        """`name@version`, or the name alone."""
        return self._entry.value.role

    @property
    def address(self) -> str | None:
        """The host to connect to, if that is known."""
        return self._entry.value.address

    @property
    def port(self) -> int | None:
        """The port to connect to, if it has one."""
        return self._entry.value.port

    @property
    def owner(self) -> str:
        """Id of the manifest that registered it."""
        return self._entry.stamp.node

    @property
    def persistent(self) -> bool:
        """Whether it outlives its owner."""
        return is_persistent(self._entry.key)

    @property
    def timestamp(self) -> int:
        """When its owner last wrote it, in milliseconds since 1970."""
        return to_milliseconds(self._entry.stamp.time)

    @property
    def name(self) -> str:
        """The role without its version."""
        return _parse_role(self.role)[0]

    @property
    def version(self) -> semver.Version | None:
        """The version in the role, if it has one."""
        return _parse_role(self.role)[1]

    @property
    def data(self) -> dict[str, JSON]:
        """What the owner attached: a fresh copy at each access, which may be changed freely."""
        return _unpack(self._entry.value.data)


def service_of(entry: Entry[str, Record]) -> Service | None:
    """Return the service that an entry stands for, or None for a tombstone."""
    # No tombstone, so it is one; `cast` would say so with a call more for each that is shown.
    return None if entry.value is TOMBSTONE else Service(entry)  # type: ignore[arg-type]


def parse_role(role: str) -> tuple[str, semver.Version | None]:
    """Return the name and the version of a role. ValueError where either is malformed.

    >>> parse_role("web@1.2.3")
    ('web', Version(major=1, minor=2, patch=3, prerelease=None, build=None))
    >>> parse_role("@scope/web")
    ('@scope/web', None)
    """
    if type(role) is not str:
        raise ValueError(f'a role is text such as "web@1.2.3" or "web", got {role!r:.80}')
    return _parse_role(role)


@lru_cache(maxsize=4096)
def _parse_role(role: str) -> tuple[str, semver.Version | None]:
    name, separator, version = split_role(role)
    if name in ("", "@") or UNPRINTABLE.search(role):
        raise ValueError(
            'a role is "name@version" or "name", without blanks or control characters, got '
            f"{role!r:.80}"
        )
    if len(role.encode()) > _MAX_ROLE_BYTES:
        raise ValueError(f"a role has at most {_MAX_ROLE_BYTES} bytes, got {len(role.encode())}")
    return name, parse_version(version) if separator else None


@lru_cache(maxsize=4096)
def precedence_of(role: str) -> Precedence:
    """Return a key that sorts roles by the semver precedence of their versions."""
    return precedence(_parse_role(role)[1])


def split_role(text: str) -> tuple[str, str, str]:
    """Return name, separator and the rest, at the first `@` that does not begin the text.

    >>> split_role("web@1.2.3"), split_role("@scope/web")
    (('web', '@', '1.2.3'), ('@scope/web', '', ''))
    """
    scope = text[:1] if text.startswith("@") else ""
    name, separator, rest = text[len(scope) :].partition("@")
    return scope + name, separator, rest


def valid_node_id(text: str) -> bool:
    """Tell whether a text is a node id: 24 upper-case hex digits."""
    return _NODE_ID.fullmatch(text) is not None


def owner_of(key: str) -> str | None:
    """Return the node that alone may write a record under a key, or None where anyone may.

    >>> owner_of("0123456789ABCDEF01234567.8"), owner_of("primary")
    ('0123456789ABCDEF01234567', None)
    >>> owner_of(key_of("0123456789ABCDEF01234567.8", persistent=True))
    '0123456789ABCDEF01234567'
    """
    match = _OWNER_BOUND.fullmatch(key.removeprefix(_PERSISTENT))
    return match[1] if match else None


def freer_of(key: str) -> str | None:
    """Return the node that alone may free what a key stands for, or None where anyone may.

    A persistent record is there when its owner is gone, so it is everybody's to free.

    >>> freer_of("0123456789ABCDEF01234567.8")
    '0123456789ABCDEF01234567'
    >>> freer_of(key_of("0123456789ABCDEF01234567.8", persistent=True))
    """
    return None if key.startswith(_PERSISTENT) else owner_of(key)


def key_of(id: str, *, persistent: bool) -> str:
    """Return the map's key of an id."""
    return _PERSISTENT + id if persistent else id


def id_of(key: str) -> str:
    """Return the id that a key stands for.

    >>> id_of(key_of("db", persistent=True)), id_of("db")
    ('db', 'db')
    """
    return key[1:] if key[0] == _PERSISTENT else key


def is_persistent(key: str) -> bool:
    """Tell whether a key is exempt from the horizon: a function of the key alone."""
    return key[0] == _PERSISTENT


def check_id(id: object) -> str:
    """Return a service id, or raise a ValueError that says what is right."""
    if type(id) is not str or not id or id[0] == _PERSISTENT or UNPRINTABLE.search(id):
        raise ValueError(
            "an id is text without blanks or control characters that does not begin with "
            f"{_PERSISTENT!r}, got {id!r:.80}"
        )
    if len(id.encode()) > MAX_ID_BYTES:
        raise ValueError(f"an id has at most {MAX_ID_BYTES} bytes, got {len(id.encode())}")
    return id


def check_host(host: object, *, what: str = "a host", instead: str = "") -> str:
    """Return where to connect to or to listen, or raise a ValueError that says what is right.

    A host name or an IP address; a colon is right in an IPv6 address only, so that no port slips
    in.
    """
    if type(host) is not str or not host or UNPRINTABLE.search(host) or len(host) > _MAX_ADDRESS:
        raise ValueError(
            f"{what} is a host name or an IP address, got {host!r:.80}{instead and f'; {instead}'}"
        )
    if ":" in host and not _is_ipv6(host):
        raise ValueError(
            f"{what} has a colon only if it is an IPv6 address, without brackets, got "
            f"{host!r:.80}; give the port as port=..."
        )
    return host


def check_address(address: object) -> str:
    """Return a service's address, or raise a ValueError that says what is right.

    What can be registered, and so what is taken from a peer: a host to connect to.
    """
    address = check_host(
        address,
        what="an address",
        instead="leave it out, or give None to have this host's filled in",
    )
    if is_wildcard(address):
        raise ValueError(
            f"{address!r:.80} is no address to connect to, it stands for every address of a host; "
            "leave it out, or give None to have this host's filled in"
        )
    return address


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def is_wildcard(host: str) -> bool:
    """Tell whether a host stands for every address, to listen on and not to connect to.

    >>> is_wildcard("0.0.0.0"), is_wildcard("::"), is_wildcard("0.example")
    (True, True, False)
    """
    # Nothing else can be one, and parsing what cannot would slow down each message of a peer.
    if host[0] not in "0:":
        return False
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def check_flag(flag: object, name: str) -> bool:
    """Return a truth value, or raise a ValueError that says what is right."""
    if type(flag) is not bool:
        raise ValueError(f"{name} is True or False, got {flag!r:.80}")
    return flag


def check_port(port: object) -> int:
    """Return a port, or raise a ValueError that says what is right."""
    if type(port) is not int or not 1 <= port <= MAX_PORT:
        raise ValueError(f"a port is an integer from 1 to {MAX_PORT}, got {port!r:.80}")
    return port
