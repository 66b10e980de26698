"""A CRDT that is held to the laws: each law as a check of three states, and what it says broken.

Every call to the CRDT gets copies, so that a join which changes what it is given breaks the law
that says so, and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import combinations
from typing import Any, Final, Generic, NoReturn, TypeAlias, TypeVar, cast

import attrs

__all__ = ["LAWS", "Check", "LawBroken", "Subject"]

S = TypeVar("S")

LAWS: Final[Mapping[str, str]] = {
    "equality": "a state equals itself and its copies, whichever of the two is asked",
    "closure": "the join of two states is a state, of the type of one of them",
    "commutativity": "join(a, b) = join(b, a)",
    "associativity": "join(join(a, b), c) = join(a, join(b, c))",
    "idempotence": "join(a, a) = a",
    "monotonicity": "a <= join(a, b), which is to say join(a, join(a, b)) = join(a, b)",
    "isolation": "what is joined, encoded or asked for a delta stays as it was",
    "refusal": "if one order is refused then so is the other, and a refusal changes nothing",
    "delta": "join_delta(a, delta(b, a)) = join(a, b), also for who has joined more by then, and "
    "joining the delta again changes nothing",
    "codec": "decode(encode(a)) = a, and joins as a does",
    "ties": "ties occur among the examples",
}
"""What each law says, by name, in the order in which they are checked."""


class LawBroken(AssertionError):
    """A law does not hold; the message shows the smallest states that break it, and the results.

    `laws` has the names of all that were broken. States and results are shrunk law by law.
    """

    def __init__(self, message: str, laws: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.laws = laws


@attrs.frozen
class _Refused(Generic[S]):
    """What a refused join left of the state that was to join, and why it was refused."""

    left: S
    error: Exception


_Outcome: TypeAlias = S | _Refused[S]
Check: TypeAlias = Callable[[S, S, S], None]
_JoinDelta: TypeAlias = Callable[[S, Any], object]


@attrs.define(eq=False)
class Subject(Generic[S]):
    """A CRDT, its laws, and what was counted while they were checked."""

    join: Callable[[S, S], object]
    in_place: bool
    equal: Callable[[S, S], object]
    refusals: tuple[type[Exception], ...]
    tie: Callable[[S, S], object] | None
    deltas: tuple[Callable[[S, S], Any], Callable[[S, Any], object]] | None
    codec: tuple[Callable[[S], Any], Callable[[Any], S]] | None
    copy: Callable[[S], S]
    show: Callable[[S], str]
    examples: int = 0
    ties: int = 0
    joins: int = 0
    refused: int = 0
    ignored: bool = False
    """Whether a join in place returned another state than the one that it left."""

    def checks(self) -> dict[str, Check[S]]:
        """Return the check of each law that applies, by name, in the order of `LAWS`."""
        checks: dict[str, Check[S]] = {
            "equality": self.check_equality,
            "closure": self.check_closure,
            "commutativity": self.check_commutativity,
            "associativity": self.check_associativity,
            "idempotence": self.check_idempotence,
            "monotonicity": self.check_monotonicity,
            "isolation": self.check_isolation,
        }
        if self.refusals:
            checks["refusal"] = self.check_refusal
        if self.deltas:
            checks["delta"] = partial(self.check_delta, *self.deltas)
        if self.codec:
            checks["codec"] = partial(self.check_codec, *self.codec)
        return {law: partial(self.counted, check) for law, check in checks.items()}

    def counted(self, check: Check[S], *states: S) -> None:
        """Check one example, and count it."""
        self.examples += 1
        if self.tie is not None:
            tie = self.tie
            self.ties += any(tie(one, other) for one, other in combinations(states, 2))
        check(*states)

    def vacuous(self) -> dict[str, str]:
        """Return what was not tried in a run that broke no law, by name."""
        if self.joins == self.refused:
            return {
                "refusal": f"refusal: all of {self.joins} joins were refused, so that nothing was "
                "compared. Draw states that can meet; replicas= draws those of one system"
            }
        if self.tie is not None and not self.ties:
            return {
                "ties": f"ties: not one tie in {self.examples} examples, so that nothing is known "
                "of ties. Draw timestamps from a few, such as st.integers(1, 3), and see that "
                "tie(a, b) says yes to two states that you know to tie"
            }
        return {}

    # The laws

    def check_equality(self, a: S, b: S, c: S) -> None:
        """A state equals itself and its copies, and it does not matter which of two is asked."""
        twin = self.copy(a)
        for call, one, other in (("a, a", a, a), ("a, copy(a)", a, twin), ("copy(a), a", twin, a)):
            if not self.equal(one, other):
                hint = "States are compared by value. Has their class an __eq__? Is there a NaN?"
                self.fail("equality", {"a": a}, {f"equal({call})": "False"}, hint)
        there, back = bool(self.equal(a, b)), bool(self.equal(b, a))
        if there != back:
            results = {"equal(a, b)": str(there), "equal(b, a)": str(back)}
            self.fail("equality", {"a": a, "b": b}, results)

    def check_closure(self, a: S, b: S, c: S) -> None:
        """A join is a state: every join that is made for any law is checked for that."""
        self.joined(a, b)

    def check_commutativity(self, a: S, b: S, c: S) -> None:
        """The order of two does not matter; what is refused is for `check_refusal`."""
        one, other = self.joined(a, b), self.joined(b, a)
        self.joins += 1
        if isinstance(one, _Refused) or isinstance(other, _Refused):
            self.refused += 1
        else:
            results = {"join(a, b)": one, "join(b, a)": other}
            self.compare("commutativity", {"a": a, "b": b}, results)

    def check_associativity(self, a: S, b: S, c: S) -> None:
        """The grouping of three does not matter, where both ways are possible."""
        left = self.joined(self.joined(a, b), c)
        right = self.joined(a, self.joined(b, c))
        if not (isinstance(left, _Refused) or isinstance(right, _Refused)):
            results = {"join(join(a, b), c)": left, "join(a, join(b, c))": right}
            self.compare("associativity", {"a": a, "b": b, "c": c}, results)

    def check_idempotence(self, a: S, b: S, c: S) -> None:
        """A state has nothing to add to itself, and does not refuse itself."""
        self.compare("idempotence", {"a": a}, {"join(a, a)": self.joined(a, a), "a": a})

    def check_monotonicity(self, a: S, b: S, c: S) -> None:
        """A join has all that was joined: joining it once more changes nothing."""
        once = self.joined(a, b)
        results = {"join(a, join(a, b))": self.joined(a, once), "join(a, b)": once}
        self.compare("monotonicity", {"a": a, "b": b}, results)

    def check_isolation(self, a: S, b: S, c: S) -> None:
        """No call changes what it is given, at once or later, by way of parts that are shared."""
        mine, theirs = self.copy(a), self.copy(b)
        self.join_on(mine, theirs, c)
        if not self.in_place:
            self.unchanged(mine, {"a": a}, {"b": b, "c": c}, "join(join(a, b), c)")
        self.unchanged(theirs, {"b": b}, {"a": a, "c": c}, "join(join(a, b), c)")
        if self.deltas:
            self.check_delta_isolation(*self.deltas, a, b, c)
        if self.codec:
            encode, decode = self.codec
            mine = self.copy(a)
            decoded = decode(encode(mine))
            if type(decoded) is type(mine):
                self.join_on(decoded, self.copy(b), c)
            self.unchanged(mine, {"a": a}, {"b": b, "c": c}, "join(join(decode(encode(a)), b), c)")

    def check_delta_isolation(
        self, delta: Callable[[S, S], Any], join_delta: _JoinDelta[S], a: S, b: S, c: S
    ) -> None:
        """A delta leaves no trace where it is made, and may be joined by several readers."""
        mine, theirs = self.copy(a), self.copy(b)
        made = delta(theirs, mine)
        self.unchanged(mine, {"a": a}, {"b": b}, "delta(b, a)")
        self.unchanged(theirs, {"b": b}, {"a": a}, "delta(b, a)")
        call = "join_delta(a, delta(b, a))"
        first = self.outcome(call, join_delta, a, made, b)
        before = first if isinstance(first, _Refused) else self.copy(first)
        self.join_on(theirs, self.copy(a), c)
        if not isinstance(first, _Refused):
            self.join_on(first, self.copy(b), c)
        again = self.outcome(call, join_delta, a, made, b)
        results = {call: before, "the same delta once more, after other joins": again}
        self.compare("isolation", {"a": a, "b": b, "c": c}, results)

    def check_refusal(self, a: S, b: S, c: S) -> None:
        """A conflict is seen from both sides, and leaves no trace on either."""
        one, other = self.joined(a, b), self.joined(b, a)
        states, results = {"a": a, "b": b}, {"join(a, b)": one, "join(b, a)": other}
        if isinstance(one, _Refused) != isinstance(other, _Refused):
            self.fail("refusal", states, self.rendered(results))
        if isinstance(one, _Refused) and not self.equal(one.left, a):
            results = {"join(a, b)": one, "a, after it": one.left}
            self.fail("refusal", states, self.rendered(results))

    def check_delta(
        self, delta: Callable[[S, S], Any], join_delta: _JoinDelta[S], a: S, b: S, c: S
    ) -> None:
        """A delta does what the whole state does, may come twice, and may come late."""
        whole, more = self.joined(a, b), self.joined(a, c)
        for reads, reader, sums, expected in (
            ("a", a, "join(a, b)", whole),
            ("join(a, b)", whole, "join(a, b)", whole),
            ("join(a, c)", more, "join(join(a, c), b)", self.joined(more, b)),
        ):
            if isinstance(reader, _Refused) or isinstance(expected, _Refused):
                continue  # the delta may well leave out what is in conflict
            call = f"join_delta({reads}, delta(b, a))"
            made = delta(self.copy(b), self.copy(a))
            outcome = self.outcome(call, join_delta, reader, made, b)
            states = {"a": a, "b": b, "c": c} if reader is more else {"a": a, "b": b}
            self.compare("delta", states, {call: outcome, sums: expected})

    def check_codec(
        self, encode: Callable[[S], Any], decode: Callable[[Any], S], a: S, b: S, c: S
    ) -> None:
        """What was decoded is the state that was encoded, also for whom it joins."""
        decoded = decode(encode(self.copy(a)))
        if type(decoded) is not type(a):
            hint = f"It is of type {type(decoded).__name__}, and a of type {type(a).__name__}."
            self.fail("codec", {"a": a}, {"decode(encode(a))": repr(decoded)}, hint)
        self.compare("codec", {"a": a}, {"decode(encode(a))": decoded, "a": a})
        results = {"join(b, decode(encode(a)))": self.joined(b, decoded)}
        self.compare("codec", {"a": a, "b": b}, results | {"join(b, a)": self.joined(b, a)})

    # Calls to the CRDT

    def joined(self, a: _Outcome[S], b: _Outcome[S]) -> _Outcome[S]:
        """Return the join of two, both left alone, or the refusal of it or of one of them."""
        if isinstance(a, _Refused):
            return a
        return b if isinstance(b, _Refused) else self.outcome("join(a, b)", self.join, a, b, b)

    def outcome(self, call: str, function: _JoinDelta[S], a: S, argument: Any, b: S) -> _Outcome[S]:
        """Return what a join makes of a copy of `a`; `b` is the state that is joined into it."""
        mine = self.copy(a)
        try:
            returned = function(mine, self.copy(argument) if argument is b else argument)
        except self.refusals as error:
            return _Refused(mine, error)
        except Exception as error:
            error.add_note(f"This was {call}. If it is a rightful refusal, name it in refusals=.")
            raise
        result = mine if self.in_place else returned
        if type(result) not in (type(a), type(b)):
            types = " and ".join(dict.fromkeys(type(state).__name__ for state in (a, b)))
            hint = f"It is of type {type(result).__name__}, joined of {types}: return one of those."
            if result is None:
                hint = "If it changes its first argument instead of returning it: in_place=True."
            self.fail("closure", {"a": a, "b": b}, {call: repr(result)}, hint)
        if self.in_place and returned is not mine and type(returned) is type(mine):
            self.ignored |= not self.equal(returned, mine)
        return cast("S", result)

    def join_on(self, mine: S, theirs: S, c: S) -> None:
        """Join two as they are, and then a third into what came of it, as far as is possible."""
        with suppress(*self.refusals):
            result = self.join(mine, theirs)
            self.join(mine if self.in_place else cast("S", result), self.copy(c))

    # Verdicts

    def unchanged(self, after: S, state: dict[str, S], others: dict[str, S], call: str) -> None:
        """Fail unless a state is what it was before a call."""
        ((name, before),) = state.items()
        if not self.equal(before, after):
            results = {f"{name}, after {call}": after}
            self.fail("isolation", dict(sorted((state | others).items())), self.rendered(results))

    def compare(self, law: str, states: dict[str, S], results: Mapping[str, _Outcome[S]]) -> None:
        """Fail unless two results are equal, or both refusals."""
        one, other = results.values()
        if isinstance(one, _Refused) or isinstance(other, _Refused):
            same = isinstance(one, _Refused) and isinstance(other, _Refused)
        else:
            same = bool(self.equal(one, other))
        if not same:
            self.fail(law, states, self.rendered(results))

    def rendered(self, results: Mapping[str, _Outcome[S]]) -> dict[str, str]:
        """Return results as they are shown."""
        return {
            name: f"refused: {result.error!r}"
            if isinstance(result, _Refused)
            else self.show(result)
            for name, result in results.items()
        }

    def fail(
        self, law: str, states: dict[str, S], results: dict[str, str], hint: str = ""
    ) -> NoReturn:
        """Raise LawBroken with the law, the states, the results and a hint."""
        if self.ignored and not hint:
            hint = (
                "What it returned is another state than its first argument was left as, and was "
                "ignored for in_place=True. If it returns the join, leave in_place out."
            )
        shown = {name: self.show(state) for name, state in states.items()}
        lines = [f"{law}: {LAWS[law]}", ""]
        lines += [f"    {name} = {text}" for name, text in shown.items()]
        lines += ["", *(f"    {name} = {text}" for name, text in results.items())]
        lines += ["", hint] if hint else []
        raise LawBroken("\n".join(lines), (law,))
