"""The walls between modules: what each may import, and who alone may touch what.

The rules are the two tables at the top. They are held against the source text, so an import inside
a function counts too, and so does `clock=time.time` without a call. Modules are named by their path
in the package; a name that ends in a slash stands for a subpackage and all in it.
"""

import ast
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

PACKAGE = Path(__file__).parents[1] / "manifest"

# The world: event loops, the network, the clock on the wall, chance, other processes and threads.
WORLD = (
    "asyncio", "concurrent", "importlib", "multiprocessing", "os", "random", "secrets", "select",
    "selectors", "signal", "socket", "ssl", "subprocess", "threading", "time", "trio", "uuid",
)  # fmt: skip
PURE = (
    "admission.py", "backoff.py", "bounds.py", "codec.py", "crdt/", "errors.py", "events.py",
    "frames.py", "leases.py", "messages.py", "options.py", "ordering.py", "packing.py",
    "protocol.py", "query.py", "ranges.py", "records.py", "refusals.py", "registrations.py",
    "renewals.py", "replica.py", "timekeeping.py", "unpacking.py", "versions.py", "view.py",
    "wire.py",
)  # fmt: skip


@attrs.frozen
class Room:
    """Modules that may import the standard library without the world, and beyond it only this.

    Where `names_others`, annotations may name the rest of the package: under `if TYPE_CHECKING:`
    nothing is imported when the program runs.
    """

    modules: tuple[str, ...]
    packages: tuple[str, ...]
    neighbours: tuple[str, ...]
    names_others: bool
    because: str


@attrs.frozen
class Kept:
    """Names that these modules alone may import or mention."""

    names: tuple[str, ...]
    by: tuple[str, ...]
    because: str


ROOMS = (
    Room(
        modules=("crdt/",),
        packages=("attrs",),
        neighbours=("crdt/",),
        names_others=False,
        because="the CRDT stands alone, to be read and used alone",
    ),
    Room(
        modules=PURE,
        packages=("attrs", "msgspec", "semver"),
        neighbours=PURE,
        names_others=True,
        because="what is pure is tested without a scheduler",
    ),
)
KEPT = (
    Kept(("msgspec",), ("codec.py",), "one module decides how bytes are read and written"),
    Kept(("cattrs",), ("structure.py",), "one module decides how values look as JSON"),
    Kept(
        (
            "socket", "socketserver", "trio.socket", "trio.SocketListener", "trio.SocketStream",
            "trio.open_ssl_over_tcp_listeners", "trio.open_ssl_over_tcp_stream",
            "trio.open_tcp_listeners", "trio.open_tcp_stream", "trio.open_unix_socket",
            "trio.serve_ssl_over_tcp", "trio.serve_tcp",
        ),
        ("tcp.py", "cli/"),
        "whatever else needs a connection is given one, so that it runs on simulated networks",
    ),
    Kept(("click", "rich"), ("cli/",), "they come with the extra `cli` only"),
    Kept(("cryptography",), ("cli/issuing.py",), "it comes with the extra `certs` only"),
    Kept(("ssl",), ("explaining.py", "session.py", "tls.py"), "TLS is a matter of the rim"),
    Kept(("hypothesis",), ("testing/",), "it comes with the extra `testing` only"),
    Kept(
        (
            "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns",
            "time.perf_counter", "time.perf_counter_ns", "time.sleep", "datetime.date.today",
            "datetime.datetime.now", "datetime.datetime.today", "datetime.datetime.utcnow",
            "os.getrandom", "os.urandom", "secrets", "uuid",
            *(f"random.{name}" for name in random.__all__ if name != "Random"),
        ),
        ("environment.py",),
        "time and chance are injected, so that a simulation can decide them",
    ),
)  # fmt: skip


def breaches(module: str, source: str) -> list[str]:
    """Return what in a module's source text breaks a rule, one line for each breach."""
    uses = list(names_used(module, source))
    found = [
        f"{module}:{use.line} imports {use.name}: {room.because}"
        for room in ROOMS
        if in_any(module, room.modules)
        for use in uses
        if use.is_import and not may_enter(use, room)
    ]
    found += [
        f"{module}:{use.line} uses {use.name}, kept by {', '.join(kept.by)}: {kept.because}"
        for kept in KEPT
        if not in_any(module, kept.by)
        for use in uses
        if under_any(use.name, kept.names)
    ]
    found += [
        f"{module}:{use.line} imports {use.name}: nobody can tell what a star brings in"
        for use in uses
        if use.name.endswith(".*")
    ]
    return found


def may_enter(use: "Use", room: Room) -> bool:
    """Return whether a module of the room may import what this dotted name stands for."""
    root = use.name.partition(".")[0]
    if root == "manifest":
        neighbours = tuple(dotted(place) for place in room.neighbours)
        return under_any(use.name, neighbours) or (room.names_others and use.for_types)
    if root in sys.stdlib_module_names:
        return not under_any(use.name, WORLD)
    return root in room.packages


def under_any(name: str, tops: tuple[str, ...]) -> bool:
    """Return whether a dotted name is one of these or lies under one of them."""
    return any(f"{name}.".startswith(f"{top}.") for top in tops)


def in_any(module: str, places: tuple[str, ...]) -> bool:
    """Return whether a module is one of these places, or lies in one that is a subpackage."""
    return any(
        module.startswith(place) if place.endswith("/") else module == place for place in places
    )


def dotted(place: str) -> str:
    """Return how a module is imported, from its path in the package."""
    return "manifest." + place.removesuffix(".py").rstrip("/").replace("/", ".")


@attrs.frozen
class Use:
    """A dotted name that a module imports, or mentions by way of an import."""

    name: str
    line: int
    is_import: bool
    for_types: bool = False


def names_used(module: str, source: str) -> Iterator[Use]:
    """Yield every import of a module, and every dotted name that begins with something imported."""
    tree = ast.parse(source)
    for_types = set(imports_for_types(tree))
    bound: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                bound[alias.asname or top] = alias.name if alias.asname else top
                yield Use(alias.name, node.lineno, is_import=True, for_types=node in for_types)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = f"{imported_from(module, node)}.{alias.name}"
                bound[alias.asname or alias.name] = name
                yield Use(name, node.lineno, is_import=True, for_types=node in for_types)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        chain = attribute_chain(node)
        if chain and chain[0] in bound:
            yield Use(".".join([bound[chain[0]], *chain[1:]]), node.lineno, is_import=False)


def imports_for_types(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield all that stands under `if TYPE_CHECKING:`, without what stands under its `else:`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and attribute_chain(node.test)[-1:] == ["TYPE_CHECKING"]:
            for statement in node.body:
                yield from ast.walk(statement)


def imported_from(module: str, node: ast.ImportFrom) -> str:
    """Return the absolute name of what `from` names, dots in front of it included."""
    if not node.level:
        return node.module or ""
    above = ["manifest", *module.split("/")][: -node.level]
    return ".".join([*above, *([node.module] if node.module else [])])


def attribute_chain(node: ast.expr) -> list[str]:
    """Return `a.b.c` as its three names, and nothing for what is not a chain of names."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
NAMED = sorted({
    *(module for room in ROOMS for module in (*room.modules, *room.neighbours)),
    *(module for kept in KEPT for module in kept.by),
})  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_every_module_keeps_within_its_walls(module: str) -> None:
    """No module imports or mentions what the tables at the top of this file keep from it."""
    found = breaches(module, (PACKAGE / module).read_text(encoding="utf-8"))
    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize("place", NAMED)
def test_every_module_that_a_rule_names_exists(place: str) -> None:
    """A module that is renamed or moved takes its rules along, or this fails."""
    path = PACKAGE / place / "__init__.py" if place.endswith("/") else PACKAGE / place
    assert path.is_file(), f"a rule in tests/test_walls.py names {place}, which does not exist"


REFUSED = (
    # the CRDT stands alone
    ("crdt/clock.py", "import trio"),
    ("crdt/clock.py", "import time"),
    ("crdt/clock.py", "from time import monotonic"),
    ("crdt/clock.py", "def now():\n    import random"),
    ("crdt/lwwmap.py", "import manifest"),
    ("crdt/lwwmap.py", "from manifest.errors import ManifestError"),
    ("crdt/lwwmap.py", "from .. import errors"),
    ("crdt/lwwmap.py", "from ..errors import ManifestError"),
    ("crdt/lwwmap.py", "import manifest.errors"),
    ("crdt/lwwmap.py", "import semver"),
    ("crdt/lwwmap.py", "import attr"),
    ("crdt/lwwmap.py", "if TYPE_CHECKING:\n    from manifest.records import Service"),
    # the pure core
    ("protocol.py", "import trio"),
    ("protocol.py", "import trio.abc"),
    ("protocol.py", "from trio import Event"),
    ("protocol.py", "if TYPE_CHECKING:\n    import trio"),
    ("protocol.py", "from manifest.link import Link"),
    ("protocol.py", "from manifest import Options"),
    ("protocol.py", "from . import registry"),
    ("protocol.py", "from .tcp import open_stream"),
    ("events.py", "if TYPE_CHECKING:\n    pass\nelse:\n    from .link import Link"),
    ("events.py", "if True:\n    from .link import Link"),
    ("leases.py", "import time as clock"),
    ("backoff.py", "from random import Random"),
    ("options.py", "import os.path"),
    ("records.py", "import uuid"),
    ("view.py", "import asyncio"),
    ("view.py", "import anyio"),
    ("errors.py", "import socket"),
    ("frames.py", "import importlib"),
    # what one module keeps
    ("wire.py", "import msgspec"),
    ("registry.py", "from msgspec import Struct"),
    ("registry.py", "import cattrs.preconf.json"),
    ("codec.py", "from cattrs import Converter"),
    ("link.py", "import socket"),
    ("link.py", "from trio import socket"),
    ("link.py", "import trio.socket as s"),
    ("link.py", "import trio\nasync def f(): await trio.open_tcp_stream('h', 1)"),
    ("link.py", "import trio as t\nasync def f(): await t.open_tcp_listeners(0)"),
    ("link.py", "import trio\ndef f(stream: trio.SocketStream): pass"),
    ("network.py", "from trio import serve_tcp"),
    ("registry.py", "import rich"),
    ("__main__.py", "def main():\n    from click import echo"),
    ("registry.py", "from hypothesis import strategies"),
    ("cli/demo.py", "import hypothesis"),
    ("cli/certs.py", "from cryptography import x509"),
    ("link.py", "import ssl"),
    # time and chance
    ("registry.py", "import time\nwall = time.time"),
    ("registry.py", "from time import time as now"),
    ("link.py", "import time\nt = time.monotonic()"),
    ("cli/demo.py", "import time\ntime.sleep(1)"),
    ("registry.py", "import datetime\nd = datetime.datetime.now()"),
    ("registry.py", "from datetime import datetime\nd = datetime.now()"),
    ("registry.py", "import random\nr = random.random()"),
    ("registry.py", "import random\nr = random.SystemRandom().random()"),
    ("registry.py", "from random import choice"),
    ("registry.py", "import os\nid = os.urandom(12)"),
    ("registry.py", "from uuid import uuid4"),
    ("registry.py", "import secrets"),
    ("registry.py", "from trio import *"),
)  # fmt: skip

ALLOWED = (
    ("crdt/stamp.py", "from __future__ import annotations\nfrom typing import NamedTuple"),
    ("crdt/lwwmap.py", "import attrs\nfrom manifest.crdt.entry import Entry"),
    ("crdt/lwwmap.py", "from .entry import Entry\nfrom . import stamp"),
    ("crdt/stamp.py", "def later(stamp): return stamp.time.time"),
    ("codec.py", "import msgspec\nfrom manifest.errors import ManifestError"),
    ("versions.py", "import semver"),
    ("events.py", "if TYPE_CHECKING:\n    from .link import Link"),
    ("events.py", "if typing.TYPE_CHECKING:\n    from .link import Link"),
    ("replica.py", "from manifest import crdt, records\nimport manifest.crdt"),
    ("structure.py", "from cattrs.preconf.json import make_converter"),
    ("tcp.py", "import socket\nimport trio\nopen_stream = trio.open_tcp_stream"),
    ("cli/register.py", "import rich\nfrom click import echo\nimport os, socket"),
    ("network.py", "import random\nrng = random.Random(7)"),
    ("link.py", "import trio\nasync def f(): await trio.sleep(trio.current_time())"),
    ("environment.py", "import os, random, time\nnow = time.time\nr = random.SystemRandom()"),
)  # fmt: skip


@pytest.mark.parametrize("module, source", REFUSED)
def test_a_breach_is_found(module: str, source: str) -> None:
    """Every kind of breach is seen when it is planted, so that a passing wall means something."""
    assert breaches(module, source)


@pytest.mark.parametrize("module, source", ALLOWED)
def test_what_is_right_is_let_through(module: str, source: str) -> None:
    """The walls refuse nothing that the design wants."""
    assert breaches(module, source) == []


def test_every_kept_name_is_refused_elsewhere() -> None:
    """Each single name in the table of kept ones is seen, imported whole or mentioned."""
    for kept in KEPT:
        for name in kept.names:
            root, _, rest = name.partition(".")
            mention = f"\nx = {name}" if rest else ""
            assert breaches("registry.py", f"import {root}{mention}")


def test_every_part_of_the_world_is_kept_out_of_pure_modules() -> None:
    """Each single module in the list of the world is refused in each pure module."""
    for place in PURE:
        module = f"{place}any.py" if place.endswith("/") else place
        assert all(breaches(module, f"import {name}") for name in WORLD)
