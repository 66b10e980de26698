"""Why there can be no network namespaces, in words."""

import os
import shutil

import pytest

from .namespaces import reason_against


def test_the_reason_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without root, or without iproute2, nothing is tried, and the reason says what it takes."""
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    assert reason_against() == "network namespaces need root"
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert reason_against() == "network namespaces need the `ip` command of iproute2"
    monkeypatch.setattr("sys.platform", "darwin")
    assert reason_against() == "network namespaces are Linux's, and this is darwin"
