"""Code to be pasted: a call that failed, with the imports that it takes."""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import attrs

__all__ = ["Pasted"]


@attrs.define
class Pasted:
    """What a call is to be pasted with: imports, and what could not be imported."""

    known: frozenset[str]
    """Names that are there without more."""
    imports: dict[str, None] = attrs.field(factory=dict)
    missing: dict[str, None] = attrs.field(factory=dict)
    """Names that are in no module by which they could be imported."""
    opaque: bool = False
    """Whether something prints as no Python."""

    @property
    def head(self) -> str:
        """The imports, and what is to be done by hand."""
        lines = [*sorted(self.imports)]
        lines += [f"# {name} is to be defined here: no module has it" for name in self.missing]
        return "".join(f"{line}\n" for line in lines)

    def name(self, made: Callable[..., object]) -> str | None:
        """Return by what name to call this, and import it; None where it has none."""
        name = str(getattr(made, "__qualname__", "")).rpartition("<locals>.")[2]
        if not all(part.isidentifier() for part in name.split(".")):
            return None
        first, *others = name.split(".")
        where = _module_of(made)
        there: Any = None
        if where is not None:
            there = getattr(where[0], first, None)
            for part in others:
                there = getattr(there, part, None)
        if where is not None and there == made:
            self.imports[f"from {where[1]} import {first}"] = None
        else:
            self.missing[first] = None
        return name

    def callee(self, made: Callable[..., object], instead: str) -> tuple[str, str]:
        """Return by what name to call this, and a line that makes it: empty where it is imported.

        What has no name, as a lambda or a partial, is called something else `instead`.
        """
        name = self.name(made)
        if name is not None:
            return name, ""
        # What it says is not known here.
        return instead, f"{instead} = ...  # {' '.join(repr(made).split())}\n"

    def value(self, value: object, near: object) -> None:
        """Import what the representation of a value names, from where its parts or `near` are."""
        try:
            tree = ast.parse(repr(value), mode="eval")
        except (SyntaxError, ValueError):
            self.opaque = True
            return
        named = {node.id: None for node in ast.walk(tree) if isinstance(node, ast.Name)}
        modules = [module for each in (*_parts(value), near) if (module := _module_of(each))]
        for name in named:
            if name in self.known or hasattr(builtins, name):
                continue
            found = [called for module, called in modules if hasattr(module, name)]
            if found:
                self.imports[f"from {found[0]} import {name}"] = None
            else:
                self.missing[name] = None


def _module_of(value: object) -> tuple[ModuleType, str] | None:
    """Return the module that a thing is from, and by which name to import it; None for none."""
    owner = value if hasattr(value, "__qualname__") else type(value)
    module = sys.modules.get(str(getattr(owner, "__module__", None)))
    if module is None or module.__spec__ is None:
        # A program that is run by its path.
        return None
    # What is run by `python -m` is called __main__, and its specification knows it better.
    return module, module.__spec__.name


def _parts(value: object, depth: int = 5) -> Iterator[object]:
    """Yield a value, and what it is made of."""
    yield value
    match value:
        case dict():
            inside = [*value, *value.values()]
        case list() | tuple() | set() | frozenset():
            inside = [*value]
        case _:
            fields = getattr(type(value), "__match_args__", ())
            inside = [getattr(value, field, None) for field in fields]
    for each in inside if depth else ():
        yield from _parts(each, depth - 1)
