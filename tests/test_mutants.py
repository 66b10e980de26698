"""The list of planted bugs fits the code, the tests and the docs: a run of it takes minutes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[1]

each_mutant = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)


@each_mutant
def test_it_can_be_planted(mutant: Mutant) -> None:
    """What it replaces occurs once, in a file of the package, and is replaced by something else."""
    for edit in mutant.edits:
        assert edit.path.startswith("manifest/")
        assert edit.planted(ROOT) != (ROOT / edit.path).read_text(encoding="utf-8")


@each_mutant
def test_who_notices_it_is_a_test(mutant: Mutant) -> None:
    """Each of its killers is a function in a file of tests."""
    assert mutant.killers
    for killer in mutant.killers:
        path, _, name = killer.partition("::")
        text = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE), killer


def test_the_docs_have_them_all() -> None:
    """The table of a run in docs/testing.md has a row for each."""
    page = (ROOT / "docs/testing.md").read_text(encoding="utf-8")
    table = page.partition("| mutant | caught by | seconds | shrunk to |\n")[2].partition("\n\n")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines()[1:]]
    assert rows == [mutant.name for mutant in MUTANTS]
