"""The node program of Redis: a key with a time to live for each service, as its users do it.

A registration is one transaction: the key, its place in the set of its role, and a message to
whoever watches. The owner refreshes its keys. Who joins subscribes, then scans. The client is
redis-py with hiredis, its plain calls, and a thread that listens: the fastest way that was found.
"""

from __future__ import annotations

import importlib
import json
import threading
import time
from typing import Any

from .talking import HOST, REFRESH, TTL, Sightings, document, in_range, serve_threads, service

BATCH = 100
"""Commands in flight at most, where many are given at once."""


class Node:
    """A client that does what it is told: see `talking`."""

    def __init__(self) -> None:
        self.sightings = Sightings()
        self.mine: dict[str, int] = {}
        self.client: Any = None
        self.library: Any = importlib.import_module("redis")
        self.prefix = f"svc:{time.monotonic_ns()}"

    def open(self, peers: list[int]) -> None:
        self.client = self.library.Redis(HOST, peers[0])
        self.client.ping()
        threading.Thread(target=self._refresh, daemon=True).start()

    def _refresh(self) -> None:
        due = time.monotonic()
        while True:
            # At a fixed rate, so that as many fall into one window as into another.
            due += REFRESH
            time.sleep(max(0.0, due - time.monotonic()))
            keys = [*self.mine]
            for first in range(0, len(keys), BATCH):
                with self.client.pipeline(transaction=False) as pipeline:
                    for key in keys[first : first + BATCH]:
                        pipeline.expire(key, TTL)
                    pipeline.execute()

    def watch(self, events: bool) -> None:
        channel = self.client.pubsub()
        channel.subscribe("services")
        assert channel.get_message(timeout=5)["type"] == "subscribe"
        threading.Thread(target=self._watch, args=(channel,), daemon=True).start()

    def _watch(self, channel: Any) -> None:
        for message in channel.listen():
            said = json.loads(message["data"])
            (self.sightings.came if "role" in said else self.sightings.went)(said["port"])

    def seen(self) -> dict[str, dict[int, float]]:
        return self.sightings.seen()

    def _put(self, pipeline: Any, number: int, roles: int) -> str:
        name, _, port, _ = service(number, roles)
        key, value = f"{self.prefix}:{name}:{number}", document(number, roles)
        pipeline.set(key, value, ex=TTL)
        pipeline.sadd(f"role:{name}", key)
        pipeline.publish("services", value)
        self.mine[key] = port
        return key

    def register(self, first: int, count: int, roles: int, load: bool) -> list[float]:
        began = time.monotonic()
        for start in range(first, first + count, BATCH):
            with self.client.pipeline(transaction=False) as pipeline:
                for number in range(start, min(start + BATCH, first + count)):
                    self._put(pipeline, number, roles)
                pipeline.execute()
        return [began, time.monotonic()]

    def register_each(self, count: int, gap: float) -> dict[int, float]:
        began: dict[int, float] = {}
        for number in range(count):
            began[service(number, 100)[2]] = time.monotonic()
            with self.client.pipeline() as transaction:
                self._put(transaction, number, 100)
                transaction.execute()
            time.sleep(gap)
        return began

    def free_each(self, gap: float) -> dict[int, float]:
        began: dict[int, float] = {}
        for key, port in [*self.mine.items()]:
            began[port] = time.monotonic()
            with self.client.pipeline() as transaction:
                transaction.delete(key)
                transaction.srem(f"role:{key.split(':')[2]}", key)
                transaction.publish("services", json.dumps({"port": port}))
                transaction.execute()
            del self.mine[key]
            time.sleep(gap)
        return began

    def wait_for(self, count: int) -> float:
        while len(self.sightings.arrivals) < count:
            time.sleep(0.01)
        return self.sightings.arrivals[count - 1]

    def join(self, peers: list[int], count: int) -> list[float]:
        began = time.monotonic()
        self.open(peers)
        self.watch(events=True)
        held: dict[bytes, Any] = {}
        cursor = -1
        while cursor:
            cursor, keys = self.client.scan(max(cursor, 0), match="svc:*", count=1000)
            values = self.client.mget(keys) if keys else []
            held.update((key, json.loads(value)) for key, value in zip(keys, values, strict=True))
        ended = time.monotonic()
        assert len(held) >= count, f"found {len(held)} of {count}"
        return [began, ended]

    def get(self, role: str, least: str | None, times: int) -> list[float]:
        took: list[float] = []
        for _ in range(times):
            began = time.perf_counter()
            keys = self.client.smembers(f"role:{role}")
            values = self.client.mget(keys) if keys else []
            in_range([json.loads(value) for value in values if value is not None], least)
            took.append(time.perf_counter() - began)
        return took


if __name__ == "__main__":
    serve_threads(Node())
