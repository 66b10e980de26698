"""A command that is run beside a registration."""

from __future__ import annotations

import os
import signal

import pytest

from manifest.cli.child import ENDING, PASSED_ON, start_child


async def test_what_has_ended_gets_no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the command has ended its id may be another's, and nothing is sent there."""
    sent: list[tuple[int, int]] = []
    child = await start_child(["sh", "-c", 'exit "$PORT"'], 9)
    assert await child.wait() == 9
    monkeypatch.setattr(os, "killpg", lambda *arguments: sent.append(arguments))
    child.pass_on(signal.SIGTERM)
    assert sent == []


def test_what_ends_is_told_from_what_may_not() -> None:
    """No signal is both one that frees the registration and one that is just passed on."""
    assert not set(ENDING) & set(PASSED_ON)
    assert ENDING[1] == signal.SIGTERM
