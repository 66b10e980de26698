"""Command lines as processes of their own: started, read line by line, ended for certain.

Nothing here waits for a guessed time. A test expects a line, or the end, and is told what there was
instead if that takes longer than anything may.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from signal import Signals
from types import TracebackType
from typing import IO, Any, Self

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
"""Seconds that anything may take on the busiest machine."""

ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "PORT")},
    "PYTHONPATH": str(ROOT),
    "PYTHONUNBUFFERED": "1",
    "TERM": "xterm-256color",
    "COLUMNS": "100",
}


UNMEASURED = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("COV")}


class Process:
    """A process, to be used as a context; what it says on stdout and stderr is kept."""

    def __init__(self, *command: str, **options: Any) -> None:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        options = {"env": UNMEASURED, **pipes, **options}
        self.popen = subprocess.Popen(command, cwd=ROOT, **options)
        self.out = Lines(self.popen.stdout)
        self.err = Lines(self.popen.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        if self.popen.stdin is not None:
            self.popen.stdin.close()
        self.out.close()
        self.err.close()

    def tell(self, **command: Any) -> None:
        """Write a line of JSON to its stdin."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(f"{json.dumps(command)}\n".encode())
        self.popen.stdin.flush()

    def signal(self, signum: Signals) -> None:
        """Send it a signal."""
        self.popen.send_signal(signum)

    def end(self, signum: Signals | None = None) -> int:
        """Send a signal if one is given, wait for the end, and return the exit status."""
        if signum is not None:
            self.signal(signum)
        try:
            return self.popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs; {self.out.kept} {self.err.kept}") from None


class Lines:
    """What comes out of a pipe, line by line."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        self._pipe = pipe
        self._queue: queue.Queue[str | None] = queue.Queue()
        self.kept: list[str] = []
        """The lines that have been looked at."""
        if pipe is not None:
            self._thread = threading.Thread(target=self._read, args=(pipe,), daemon=True)
            self._thread.start()

    def _read(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            self._queue.put(line.decode().rstrip("\r\n"))
        self._queue.put(None)

    def expect(self, text: str) -> str:
        """Return the next line that contains a text."""
        while True:
            try:
                line = self._queue.get(timeout=PATIENCE)
            except queue.Empty:
                raise AssertionError(f"no {text!r}, only {self.kept}") from None
            if line is None:
                raise AssertionError(f"ended without {text!r}: {self.kept}")
            self.kept.append(line)
            if text in line:
                return line

    def event(self, event: str) -> dict[str, Any]:
        """Return the next line that is an event of this kind."""
        fact: dict[str, Any] = json.loads(self.expect(f'{{"event": "{event}"'))
        return fact

    def rest(self) -> list[str]:
        """Return all lines to the end that have not been looked at."""
        begin = len(self.kept)
        while (line := self._queue.get(timeout=PATIENCE)) is not None:
            self.kept.append(line)
        return self.kept[begin:]

    def close(self) -> None:
        """Wait for the end of what there is to read, and close the pipe."""
        if self._pipe is not None:
            self._thread.join(PATIENCE)
            self._pipe.close()


def cli(*arguments: str, measured: bool = False, **options: Any) -> Process:
    """Start `python -m manifest` with these arguments.

    It is measured where a test is the one to reach some lines: coverage makes starting take twice
    as long.
    """
    environment = ENVIRONMENT if measured else UNMEASURED
    return Process(sys.executable, "-m", "manifest", *arguments, env=environment, **options)


class Registry:
    """A process of the demo: a manifest that listens, and registers what a test tells it to."""

    def __init__(self, *arguments: str, measured: bool = False) -> None:
        self.process = cli("demo-node", *arguments, measured=measured)
        listening = self.process.out.event("listening")
        self.id: str = listening["id"]
        self.port: int = listening["port"]
        self.process.out.event("registered")

    @property
    def peer(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def catch_up(self) -> None:
        """Look at all that it has said until now."""
        self.process.tell(do="list")
        self.process.out.event("list")

    def register(self, role: str, **arguments: Any) -> str:
        """Have it register a service, and return the id once it has."""
        self.process.tell(do="register", role=role, **arguments)
        while (service := self.process.out.event("registered")["service"])["role"] != role:
            pass
        id: str = service["id"]
        return id

    def free(self, id: str) -> None:
        """Have it free a service."""
        self.process.tell(do="free", id=id)
        while self.process.out.event("freed")["service"]["id"] != id:
            pass

    def close(self) -> None:
        """End it."""
        assert self.process.popen.stdin is not None
        self.process.popen.stdin.close()
        with self.process:
            assert self.process.end() == 0
