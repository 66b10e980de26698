"""The laws of a state-based CRDT, checked on any CRDT: yours, with Hypothesis.

Replicas that exchange states agree in the end for one reason: the join is commutative, associative
and idempotent, so that neither order nor grouping nor repetition matters. A join that breaks one of
these works until two replicas meet in the wrong order, and then they differ for ever.

What is different here from three properties written by hand
    *Nothing is discarded.* Two writes under one timestamp are where last-writer-wins types diverge,
    and an `assume()` that leaves them out leaves out the bug. Where a conflict is refused on
    purpose, the refusal has laws of its own. *Ties are counted*, on request: laws that held on
    examples without a single tie say nothing about ties. *Every call gets copies*, so that a join
    which changes what it is given breaks one law, the one that says so, and not all of them.

`subject` has the laws themselves. Neither module knows a CRDT, or the rest of the package.
"""

from __future__ import annotations

import copy as copying
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import attrs
import hypothesis
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure

from .subject import LAWS, Check, LawBroken, Subject

__all__ = ["LAWS", "LawBroken", "LawsHeld", "check_laws"]

S = TypeVar("S")
D = TypeVar("D")
E = TypeVar("E")


@attrs.frozen
class LawsHeld:
    """What `check_laws` found to hold, and on how many examples.

    >>> print(LawsHeld(("commutativity", "ties"), examples=200, ties=31, refused=0))
    held on 200 examples, 31 of them with a tie: commutativity, ties
    """

    laws: tuple[str, ...]
    """The names of the laws, as in `LAWS`."""
    examples: int
    """How many groups of three states were tried, over all laws."""
    ties: int
    """How many of them had two states for which `tie` says yes."""
    refused: int
    """How many joins were refused where the order was tried both ways."""

    def __str__(self) -> str:
        ties = f", {self.ties} of them with a tie" if "ties" in self.laws else ""
        refused = f", {self.refused} joins refused" if "refusal" in self.laws else ""
        return f"held on {self.examples} examples{ties}{refused}: {', '.join(self.laws)}"


def check_laws(
    *,
    join: Callable[[S, S], object],
    states: st.SearchStrategy[S] | None = None,
    replicas: st.SearchStrategy[Sequence[S]] | None = None,
    in_place: bool = False,
    equal: Callable[[S, S], object] = operator.eq,
    refusals: type[Exception] | tuple[type[Exception], ...] = (),
    tie: Callable[[S, S], object] | None = None,
    delta: Callable[[S, S], D] | None = None,
    join_delta: Callable[[S, D], object] | None = None,
    encode: Callable[[S], E] | None = None,
    decode: Callable[[E], S] | None = None,
    copy: Callable[[S], S] = copying.deepcopy,
    show: Callable[[S], str] = repr,
    settings: hypothesis.settings | None = None,
) -> LawsHeld:
    """Return what held of a CRDT; raise `LawBroken` with shrunk counterexamples otherwise.

    >>> sets = st.frozensets(st.integers(0, 3))
    >>> "commutativity" in check_laws(join=frozenset.union, states=sets).laws
    True
    >>> check_laws(join=frozenset.difference, states=sets)
    Traceback (most recent call last):
        ...
    manifest.testing.subject.LawBroken: commutativity: join(a, b) = join(b, a)
    ...

    A plain call, in a test or outside of one. Of these, one has to be given:

    - `states` draws one state, where any three states may meet;
    - `replicas` draws three or more states of *one* system, where what one of them says limits what
      the others can be: dots are unique, a stamp names one write. Three are picked of each group.

    About the join:

    - `join(a, b)` returns the join; with `in_place` it changes `a`, and what it returns is ignored;
    - `equal` compares two states, and `copy` makes an independent one;
    - `refusals` are the exceptions by which a join refuses two states that cannot both be right.
      Any other exception comes out as it is. Groupings where a join is refused are not compared
      for associativity: a third state may settle the conflict.

    More laws are checked for more functions:

    - `tie(a, b)` tells a tie, and the run fails if no example had one;
    - `delta(b, a)` is what `a` lacks of `b`, and `join_delta(a, delta)` joins it as `join` would;
    - `encode` and `decode`: two encodings of one state may differ.

    `show` renders a state for a message. `settings` are Hypothesis's; without them the loaded
    profile says how many examples to try, for each law. Arguments that do not go together are a
    ValueError.
    """
    given = {"join": join, "equal": equal, "copy": copy, "show": show}
    optional = {
        "tie": tie,
        "delta": delta,
        "join_delta": join_delta,
        "encode": encode,
        "decode": decode,
    }
    _check_functions(given, optional)
    triples = _triples(states, replicas)
    subject = Subject(
        join=join,
        in_place=in_place,
        equal=equal,
        refusals=_checked_refusals(refusals),
        tie=tie,
        deltas=(delta, join_delta) if delta and join_delta else None,
        codec=(encode, decode) if encode and decode else None,
        copy=copy,
        show=show,
    )
    if settings is not None and not isinstance(settings, hypothesis.settings):
        raise ValueError(f"settings are hypothesis.settings(...) or None, got {settings!r}")
    # One failure for each law: several at once would come as a group, and are one to the reader.
    settings = hypothesis.settings(settings, report_multiple_bugs=False)

    broken: dict[str, str] = {}
    crash: Exception | None = None
    for law, check in subject.checks().items():
        try:
            _run(law, check, join, triples, settings)
        except LawBroken as breach:
            broken[breach.laws[0]] = str(breach)
            # Without these two the others mean nothing.
            if not {"equality", "closure"}.isdisjoint(broken):
                break
        except Exception as error:
            if not broken:
                raise
            # What is broken explains it better than what it led to.
            crash = error
            break
    if not broken:
        broken = subject.vacuous()
    if broken:
        raise LawBroken("\n\n".join(broken.values()), tuple(broken)) from crash
    laws = (*subject.checks(), "ties") if tie else tuple(subject.checks())
    return LawsHeld(laws, subject.examples, subject.ties, subject.refused)


def _check_functions(given: dict[str, Any], optional: dict[str, Any]) -> None:
    for name, function in (given | optional).items():
        if not callable(function) and not (name in optional and function is None):
            raise ValueError(f"{name} is a function, got {function!r}")
    for one, other in (("delta", "join_delta"), ("encode", "decode")):
        if (optional[one] is None) != (optional[other] is None):
            there, lacking = (one, other) if optional[other] is None else (other, one)
            raise ValueError(f"{there} was given without {lacking}: give both or neither")


def _checked_refusals(refusals: object) -> tuple[type[Exception], ...]:
    kinds: tuple[Any, ...] = refusals if isinstance(refusals, tuple) else (refusals,)
    if not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
        raise ValueError(
            f"refusals are exception types, one or a tuple of them, got {refusals!r}: name those "
            "by which the join refuses a conflict"
        )
    return kinds


def _triples(
    states: st.SearchStrategy[S] | None, replicas: st.SearchStrategy[Sequence[S]] | None
) -> st.SearchStrategy[tuple[S, S, S]]:
    if (states is None) == (replicas is None):
        raise ValueError(
            "give either states=, a strategy for one state, or replicas=, a strategy for three or "
            "more states of one system"
        )
    for name, strategy in (("states", states), ("replicas", replicas)):
        if strategy is not None and not isinstance(strategy, st.SearchStrategy):
            raise ValueError(f"{name} is a strategy of Hypothesis, got {strategy!r}")
    if states is not None:
        return st.tuples(states, states, states)
    assert replicas is not None
    return replicas.flatmap(_three_of)


def _three_of(group: Any) -> st.SearchStrategy[Any]:
    if not isinstance(group, Sequence) or len(group) < 3:
        raise ValueError(
            f"replicas has to draw sequences of three or more states of one system, drew {group!r}"
        )

    def picked(places: list[int]) -> tuple[Any, Any, Any]:
        return group[places[0]], group[places[1]], group[places[2]]

    return st.permutations(range(len(group))).map(picked)


def _run(
    law: str,
    check: Check[S],
    join: object,
    triples: st.SearchStrategy[tuple[S, S, S]],
    settings: hypothesis.settings,
) -> None:
    def attempt(states: tuple[S, S, S]) -> None:
        check(*states)

    # Hypothesis keeps failed examples by a function's source and signature. Without this the laws
    # would share theirs, and each would throw away what another has found.
    name = getattr(join, "__qualname__", type(join).__qualname__)
    attempt.__annotations__ = {"states": f"{law} of {name}"}
    try:
        settings(hypothesis.given(triples)(attempt))()
    except FlakyFailure as error:
        if error.subgroup(LawBroken) is None:
            raise
        raise LawBroken(
            f"{law}: it was broken for some states, and held for the very same states when they "
            "were tried again. A join and what goes with it may depend on nothing but what they "
            "are given: look for a clock, randomness, or something that is kept between calls",
            (law,),
        ) from error
