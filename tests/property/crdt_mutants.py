"""Planted bugs: copies of the CRDT, each with one mistake that somebody has made somewhere.

A property test counts only once a planted bug has been seen to fail it. Each `Mutant` replaces one
piece of source text, in memory, and names the properties that must notice. The text has to occur
exactly once: a refactoring that would turn a mutant into no change at all fails loudly instead.

Two of the mistakes lie not in a map but in how it is used: what a part of a delta carries, and when
an owner renews. Those are planted in the model of the links, which a real link has to be like.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import attrs

import manifest.crdt
import tests.crdt.model

__all__ = ["MUTANTS", "REAL", "Mutant", "Subject"]

ROOT = Path(__file__).parents[2]
CRDT = "manifest/crdt"
MODEL = "tests/crdt/model.py"
LWWMAP = f"{CRDT}/lwwmap.py"

_numbers = itertools.count()


@attrs.frozen
class Subject:
    """What a property is held against: the CRDT, and the model that drives it."""

    crdt: ModuleType
    model: ModuleType


REAL = Subject(manifest.crdt, tests.crdt.model)


@attrs.frozen
class Mutant:
    """One mistake: what it is, where it is planted, and which properties must fail for it."""

    name: str
    path: str
    old: str
    new: str
    killers: tuple[str, ...]

    @contextmanager
    def planted(self) -> Iterator[Subject]:
        """Give a subject with the mistake in it, loaded beside the real one."""
        text = (ROOT / self.path).read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise LookupError(
                f"the mutant {self.name!r} replaces a text that occurs {text.count(self.old)} times "
                f"in {self.path}, and has to occur once: plant it anew"
            )
        code = compile(text.replace(self.old, self.new), f"<{self.name}>", "exec")
        package = f"_mutant_{next(_numbers)}"
        try:
            if self.path == MODEL:
                module = _module(package, tests.crdt.model.__package__)
                exec(code, module.__dict__)
                yield Subject(manifest.crdt, module)
            else:
                yield Subject(_copy(package, Path(self.path).stem, code), tests.crdt.model)
        finally:
            for name in [name for name in sys.modules if f"{name}.".startswith(f"{package}.")]:
                del sys.modules[name]


def _module(name: str, package: str | None) -> ModuleType:
    module = ModuleType(name)
    module.__package__ = package
    sys.modules[name] = module
    return module


def _copy(package: str, stem: str, code: object) -> ModuleType:
    """Return a second copy of the CRDT, of which one module runs this code."""
    spec = importlib.util.spec_from_file_location(
        package, ROOT / CRDT / "__init__.py", submodule_search_locations=[str(ROOT / CRDT)]
    )
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    sys.modules[package] = copy
    exec(code, _module(f"{package}.{stem}", package).__dict__)  # type: ignore[arg-type]
    spec.loader.exec_module(copy)
    return copy


MUTANTS: tuple[Mutant, ...] = ()
