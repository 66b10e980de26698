"""The environment: what the real one is made of, and that another one decides everything."""

from __future__ import annotations

import random
import re
import time

from manifest.environment import Environment
from manifest.tcp import TcpNetwork


def test_the_default_environment_is_the_real_world() -> None:
    """Wall clock in milliseconds, the system's randomness, sockets."""
    environment = Environment()
    before = time.time()
    wall = environment.wall()
    assert before * 1_000 - 1 <= wall <= time.time() * 1_000
    assert type(wall) is int
    assert isinstance(environment.random, random.SystemRandom)
    assert isinstance(environment.network, TcpNetwork)


def test_node_ids_are_new_each_time() -> None:
    """They have 96 bits in 24 upper-case hex digits, and none comes twice."""
    environment = Environment()
    ids = [environment.node_id() for _ in range(1_000)]
    assert len(set(ids)) == 1_000
    assert all(re.fullmatch("[0-9A-F]{24}", id) for id in ids)
    # Every digit takes every value: 16 values miss one of 24 places with a chance of 1e-24.
    assert all(len({id[place] for id in ids}) == 16 for place in range(24))


def test_small_numbers_make_node_ids_of_full_length() -> None:
    """Leading zeros are kept."""

    class Low(random.Random):
        def getrandbits(self, k: int, /) -> int:
            assert k == 96
            return 10

    assert Environment(random=Low()).node_id() == "0" * 23 + "A"


def test_a_seed_decides_the_ids() -> None:
    """Two environments with one seed make the same ids in the same order."""
    one, other = (Environment(random=random.Random(7)) for _ in range(2))
    assert [one.node_id() for _ in range(5)] == [other.node_id() for _ in range(5)]
