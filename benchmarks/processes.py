"""Node programs, servers and the counting proxy: processes that are started here and ended here.

Everything listens on the loopback interface, at ports that were free, and writes to a temporary
directory. Whatever is started is ended when the `Stage` that it belongs to is left, by its own
process id.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs

from .sides.talking import HOST, free_port

__all__ = ["NodeProcess", "Server", "Stage", "Unable", "etcd", "nats", "redis"]

ROOT = Path(__file__).parents[1]
PATIENCE = 60.0
"""Seconds for an answer."""
_ATTEMPTS = 3


class Unable(Exception):
    """A side did not do what it was told, or not in time."""


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class NodeProcess:
    """A node program that runs: one call at a time is asked of it, and answered."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        # What it says of trouble is read where it fails.
        self._log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )
        self._buffer = b""
        try:
            self.call("ready")
        except BaseException:
            # Nobody else knows of it yet.
            self.end()
            raise

    def ask(self, method: str, **arguments: object) -> None:
        """Ask for something without waiting for the answer."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps([method, arguments]).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Unable(self._last_words()) from None

    def answer(self, patience: float = PATIENCE) -> Any:
        """Wait for the answer to what was asked. `Unable` where there is none in time."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + patience
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise Unable(f"no answer within {patience:g} s")
                data = self.process.stdout.read1(2**20)  # type: ignore[attr-defined]
                if not data:
                    raise Unable(self._last_words())
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def call(self, method: str, **arguments: object) -> Any:
        """Ask for something, and wait for the answer."""
        self.ask(method, **arguments)
        return self.answer()

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"its node ended: {lines[-1] if lines else 'without a word'}"

    def end(self) -> None:
        """End the process, and wait until it is gone."""
        _end(self.process)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


@attrs.frozen
class Server:
    """A program from elsewhere that a side needs, and how one instance of it is started."""

    program: str
    package: str
    """Debian's, to be named where the program is missing."""
    arguments: Callable[[int, Path], Sequence[str]]
    """From a free port and an empty directory."""

    @property
    def path(self) -> str | None:
        """Where the program is, if it is installed."""
        # Debian puts some where only root looks.
        return shutil.which(self.program) or shutil.which(self.program, path="/usr/sbin:/sbin")

    def version(self) -> str:
        """Return what the program says of its version."""
        assert self.path is not None
        done = subprocess.run(
            [self.path, "--version"], capture_output=True, text=True, check=False, timeout=10
        )
        return (done.stdout or done.stderr).strip().splitlines()[0]


def _etcd(port: int, directory: Path) -> list[str]:
    client, peer = f"http://{HOST}:{port}", f"http://{HOST}:{free_port()}"
    return [
        *("--data-dir", str(directory), "--log-level", "error"),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
        *("--initial-cluster", f"default={peer}"),
    ]


redis = Server(
    "redis-server",
    "redis-server",
    lambda port, directory: [
        *("--port", str(port), "--bind", HOST, "--dir", str(directory)),
        *("--save", "", "--appendonly", "no"),
    ],
)
etcd = Server("etcd", "etcd-server", _etcd)
nats = Server(
    "nats-server",
    "nats-server",
    lambda port, directory: ["-a", HOST, "-p", str(port), "-js", "-sd", str(directory)],
)


class Stage:
    """What runs of one side for one scene: a context that ends all of it."""

    def __init__(self, command: Sequence[str], server: Server | None) -> None:
        self._command = command
        self._server = server
        self._stack = contextlib.ExitStack()
        self._directory = Path()
        self._started = 0
        self.server_port: int | None = None
        self.server_pid: int | None = None
        self.proxies: list[NodeProcess] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            if self._server is not None:
                self._start_server(self._server, stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _start_server(self, server: Server, stack: contextlib.ExitStack) -> None:
        assert server.path is not None
        for attempt in range(_ATTEMPTS):
            # Somebody else may bind the port before the server does: then there is another one.
            port, directory = free_port(), self._directory / f"server{attempt}"
            directory.mkdir()
            process = subprocess.Popen(
                [server.path, *server.arguments(port, directory)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            with contextlib.ExitStack() as started:
                started.callback(_end, process)
                if _listens(process, port):
                    stack.push(started.pop_all())
                    self.server_port, self.server_pid = port, process.pid
                    return
        raise Unable(f"{server.program} did not start")

    def _start(self, command: Sequence[str]) -> NodeProcess:
        self._started += 1
        process = NodeProcess(command, self._directory / f"node{self._started}.log")
        self._stack.callback(process.end)
        return process

    def node(self) -> NodeProcess:
        """Start one more node; it has not joined anything yet."""
        return self._start(self._command)

    def proxied(self, port: int) -> int:
        """Return a port that leads to another by way of a proxy that counts."""
        proxy = self._start([sys.executable, "-m", "benchmarks.proxy"])
        self.proxies.append(proxy)
        opened: int = proxy.call("open", peers=[port])
        return opened

    def counted(self) -> int:
        """Return how many bytes all proxies have forwarded, both ways."""
        return sum(proxy.call("counted") for proxy in self.proxies)


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + 15
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
            # etcd listens before it has elected itself.
            time.sleep(0.5)
            return process.poll() is None
        time.sleep(0.05)
    return False
