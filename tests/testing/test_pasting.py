"""What is to be pasted imports what it names, and says what it cannot import."""

import sys
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

import attrs
import pytest

from manifest.testing.pasting import Pasted

HERE = f"from {__name__} import "


class Kind(Enum):
    """Prints as no Python."""

    ADD = 1


@attrs.frozen
class Inner:
    """Part of an operation."""

    number: int


class Outer(NamedTuple):
    """An operation that has another inside."""

    what: Any


class Makers:
    """Where something is made."""

    @classmethod
    def make(cls) -> None:
        """Make nothing."""


def imports(*values: object, near: object = None) -> tuple[list[str], list[str]]:
    """Return what is imported for values, and what is missing."""
    pasted = Pasted(frozenset({"Plan"}))
    for value in values:
        pasted.value(value, near)
    assert not pasted.opaque
    return [*pasted.imports], [*pasted.missing]


@pytest.mark.parametrize(
    "value",
    [Inner(1), [Inner(1)], (Inner(1),), {Inner(1)}, {"a": Inner(1)}, {Inner(1): 0}],
    ids=repr,
)
def test_what_a_value_is_made_of_is_imported(value: object) -> None:
    """However deep it is in lists, dicts and fields; each name once."""
    assert imports(value, value) == ([f"{HERE}Inner"], [])
    assert imports(Outer([value])) == ([f"{HERE}Outer", f"{HERE}Inner"], [])


def test_names_that_are_there_are_not_imported() -> None:
    """Of Python, and of what is imported in any case."""

    class Prints:
        def __repr__(self) -> str:
            return "Plan(str(1), float('inf'))"

    assert imports(Prints(), "x", 1.5, None) == ([], [])


def test_what_a_value_names_may_be_where_the_application_is() -> None:
    """Or nowhere, which is said in the head."""
    outer = float("inf")
    assert imports(outer) == ([], ["inf"])
    sought = Pasted(frozenset())
    sought.value(outer, Makers)
    sought.value(Inner(1), Makers)
    assert sought.head == f"{HERE}Inner\n# inf is to be defined here: no module has it\n"


def test_what_prints_as_no_python_is_told() -> None:
    """Nothing of it is imported."""
    pasted = Pasted(frozenset())
    pasted.value([Inner(1), Kind.ADD], None)
    assert pasted.opaque
    assert pasted.head == ""


def test_what_makes_applications_has_a_name_or_not() -> None:
    """One of a module, of a class in it, of a function, or none at all."""

    class Local:
        pass

    pasted = Pasted(frozenset())
    made: list[Any] = [Inner, Makers.make, Local, partial(Inner, 1), lambda: None]
    assert [pasted.name(each) for each in made] == ["Inner", "Makers.make", "Local", None, None]
    assert [*pasted.imports] == [f"{HERE}Inner", f"{HERE}Makers"]
    assert [*pasted.missing] == ["Local"]


def test_a_program_has_the_name_by_which_it_was_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """By `python -m`; whoever runs it by its path cannot import it."""
    main = sys.modules["__main__"]

    class Soaked:
        __module__ = "__main__"
        __qualname__ = "Soaked"

    monkeypatch.setattr(main, "Soaked", Soaked, raising=False)
    monkeypatch.setattr(main, "__spec__", sys.modules[__name__].__spec__)
    pasted = Pasted(frozenset())
    assert pasted.name(Soaked) == "Soaked"
    assert pasted.head == f"{HERE}Soaked\n"
    monkeypatch.setattr(main, "__spec__", None)
    pasted = Pasted(frozenset())
    assert pasted.name(Soaked) == "Soaked"
    assert pasted.head == "# Soaked is to be defined here: no module has it\n"
