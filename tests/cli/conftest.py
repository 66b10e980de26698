"""What the tests of the command line share: a registry to ask, in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.processes import Registry


@pytest.fixture(scope="session")
def stocked() -> Iterator[Registry]:
    """A registry with some services, which no test changes."""
    registry = Registry("--name", "stock")
    registry.register("web@1.2.3", port=8001, data={"zone": "eu", "weight": 10})
    registry.register("web@1.10.0", port=8002, data={"zone": "us", "weight": 20})
    registry.register("web@2.0.0", port=8003, address="2001:db8::5")
    registry.register("db", id="primary", data={"note": "two words", "red": "\x1b[31m"})
    yield registry
    registry.close()


@pytest.fixture(scope="session")
def shared() -> Iterator[Registry]:
    """A registry for tests that leave it as they found it."""
    registry = Registry(measured=True)
    yield registry
    registry.close()


@pytest.fixture
def registry(shared: Registry) -> Registry:
    """A registry that a test may link to, and that has nothing left to say of the test before."""
    shared.catch_up()
    return shared


@pytest.fixture
def own() -> Iterator[Registry]:
    """A registry for a test that changes it, or that looks at all that is in it."""
    registry = Registry()
    yield registry
    registry.close()
