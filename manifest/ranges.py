"""npm version ranges.

What `^1.2` means in a query such as `web@^1.2` is npm's to say, for that is where people know it
from. So this module answers as npm's `semver` package does, odd corners included: the tests hold
npm's own answers. Ranges are written here on top of the `semver` package, and docs/lookup.md says
why.

Invariant
    A range is compiled once, into half-open spans of sort keys: asking whether it allows a version
    compares tuples and parses nothing. Caches are bounded, and what fails to parse is not cached.

Two differences from npm are deliberate. Numeric pre-release identifiers are compared as the
integers that they are, where npm rounds those beyond `MAX_NUMBER` and calls different ones equal.
And a range longer than `MAX_LENGTH` is refused, where npm limits versions alone.

Pure: reads no clock, does no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import takewhile
from typing import NamedTuple, TypeAlias

import attrs
import semver

from .versions import (
    LOWEST,
    MAX_LENGTH,
    MAX_NUMBER,
    RELEASE,
    Identifiers,
    Numbers,
    Precedence,
    identifiers,
    precedence,
)

__all__ = ["InvalidRange", "Range", "parse_range"]

# As many as of versions: at most MAX_LENGTH characters each.
_CACHED = 1024

# No identifier is lower, so a key that has it appended comes next after that key.
_NEXT: Identifiers = ((-1, 0),)

_HIGHEST: Precedence = (10**MAX_LENGTH, 0, 0, ())


class InvalidRange(ValueError):
    """A text is not a version range."""


class _Span(NamedTuple):
    lower: Precedence
    upper: Precedence  # the first key beyond the span
    prereleases: frozenset[Numbers]  # the versions whose pre-releases may be in it


@attrs.frozen
class Range:
    """The versions that an npm range allows, as `parse_range` reads it.

    As in npm, a pre-release is allowed only by an alternative that itself names a pre-release of
    the same major, minor and patch: `^1.2.3-rc.1` allows `1.2.3-rc.2` but not `1.3.0-rc.1`.

    >>> from manifest.versions import parse_version
    >>> wanted = parse_range("^1.2 || >=3.1.0-rc.1 <5")
    >>> texts = ["1.1.9", "1.9.0", "2.0.0", "3.1.0-rc.2", "3.2.0-rc.2", "4.0.0", "5.0.0-0"]
    >>> [text for text in texts if wanted.allows(parse_version(text))]
    ['1.9.0', '3.1.0-rc.2', '4.0.0']
    """

    text: str
    exact: semver.Version | None = attrs.field(eq=False)
    """The version, without its build, where the range is just one, such as `1.2.3` or `=1.2.3`."""
    _spans: tuple[_Span, ...] = attrs.field(eq=False, repr=False)

    def allows(self, version: semver.Version) -> bool:
        """Tell whether a version is in the range; its build metadata does not count.

        >>> from manifest.versions import parse_version
        >>> parse_range("1.x").allows(parse_version("1.9.0"))
        True
        """
        return self.covers(precedence(version))

    def covers(self, key: Precedence) -> bool:
        """Tell the same of a version by its sort key: several times as fast, for who keeps keys.

        The key of None is in no range, not even in `*`.
        """
        for lower, upper, prereleases in self._spans:
            if lower <= key < upper and (key[3] == RELEASE or key[:3] in prereleases):
                return True
        return False


@lru_cache(maxsize=_CACHED)
def parse_range(text: str) -> Range:
    """Return the range that a text spells in npm's grammar. InvalidRange where it spells none.

    >>> parse_range("=1.2.3").exact
    Version(major=1, minor=2, patch=3, prerelease=None, build=None)
    >>> parse_range("1.2").exact is None
    True
    >>> parse_range(">=1, <2")
    Traceback (most recent call last):
    ...
    manifest.ranges.InvalidRange: a version range is written like ..., got '>=1,' in '>=1, <2'
    """
    if len(text) > MAX_LENGTH:
        raise InvalidRange(
            f'a version range such as "^1.2" has at most {MAX_LENGTH} characters, got {len(text)}'
        )
    parts = [part.strip(" ") for part in _BLANKS.sub(" ", text).split("||")]
    alternatives = tuple(_comparators(part, text) for part in parts)
    if () in alternatives:
        # npm takes the whole for any version then, and so lets none of the pre-releases in.
        alternatives = ((),)
    exact = None
    match alternatives:
        case ((_Comparator("=", numbers, prerelease),),):
            exact = semver.Version(*numbers, prerelease)
        case _:
            pass
    return Range(text, exact, tuple(_span(comparators) for comparators in alternatives))


class _Comparator(NamedTuple):
    operator: str  # one of = < <= > >=
    numbers: Numbers
    prerelease: str | None = None


# All of them must hold; where there are none, any version will do.
_Comparators: TypeAlias = tuple[_Comparator, ...]

_FROM_ZERO = _Comparator(">=", (0, 0, 0))
_NOTHING = _Comparator("<", (0, 0, 0), "0")

# The grammar of npm's semver 7. Its blanks are JavaScript's, which are not quite Python's.
_BLANKS = re.compile("[\t-\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]+")
_BUILD = re.compile(r"\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*")
_INT = "(?:0|[1-9][0-9]*)"
_ID = rf"(?:[0-9]*[A-Za-z-][0-9A-Za-z-]*|{_INT})"
_PRERELEASE = rf"(?:-({_ID}(?:\.{_ID})*))?"
_PART = rf"({_INT}|[xX*])"
_PARTIAL = rf"{_PART}(?:\.{_PART}(?:\.{_PART}{_PRERELEASE})?)?"
_HYPHEN = re.compile(rf" ?([v= ]*)({_PARTIAL}) - ([v= ]*)({_PARTIAL}) ?")
_GAP = re.compile(rf"( ?[<>]?=?) ?([v= ]*{_PARTIAL})")
_SHORTHAND = re.compile(rf"(\^|~>?|[<>]?=?)[v=]*{_PARTIAL}")
_STAR = re.compile(r"[<>]?=?\*")
_FULL = re.compile(rf"([<>]?=?)v?({_INT})\.({_INT})\.({_INT}){_PRERELEASE}(?:{_BUILD.pattern})?")


def _comparators(part: str, whole: str) -> _Comparators:
    part = _BUILD.sub("", part)
    if hyphen := _HYPHEN.fullmatch(part):
        part = _without_hyphen(hyphen)
    part = _GAP.sub(r"\1\2", part).replace("~> ", "~").replace("~ ", "~").replace("^ ", "^")
    comparators: list[_Comparator] = []
    for word in part.split(" "):
        found = _desugared(word)
        if found is None:
            where = "" if word == whole else f" in {whole!r:.80}"
            raise InvalidRange(
                "a version range is written like ^1.2, ~1.2.3, 1.x, >=1 <3, 1.0 - 2.0 or 1 || 3.1, "
                f"got {word!r:.80}{where}"
            )
        comparators += found
    if any(max(comparator.numbers) > MAX_NUMBER for comparator in comparators):
        raise InvalidRange(
            f'the numbers in a version range such as "^1.2", and in the bounds that follow from '
            f"it, are at most {MAX_NUMBER}, got {whole!r:.80}"
        )
    return tuple(comparators)


def _without_hyphen(hyphen: re.Match[str]) -> str:
    words: list[str] = []
    half = len(hyphen.groups()) // 2
    for operator, side in ((">=", hyphen.groups()[:half]), ("<=", hyphen.groups()[half:])):
        prefix, text, *parts, prerelease = side
        numbers = _numbers(parts)
        if len(numbers) < len(parts):
            prefix, text = "", ".".join(map(str, numbers)) or "*"
        elif operator == "<=" and prerelease:
            prefix = ""
        words.append(f"{operator}{prefix}{text}")
    return " ".join(words)


def _desugared(word: str) -> _Comparators | None:
    if shorthand := _SHORTHAND.fullmatch(word):
        operator, *parts, prerelease = shorthand.groups()
        numbers = _numbers(parts)
        complete = len(numbers) == len(parts)
        ordered = len(numbers) == sum(part.isdecimal() for part in parts if part)
        if operator in ("^", "~", "~>") or (ordered and not complete):
            found = _bounds(operator, numbers, prerelease if complete else None)
            return tuple(comparator for comparator in found if comparator != _FROM_ZERO)
    # Where nothing else fits, npm drops one star, with the operator before it, from anywhere.
    word = _STAR.sub("", word, count=1)
    # npm takes >=0.0.0 for any version, so it keeps out no pre-release of 0.0.0 that others name.
    if word in ("", ">=0.0.0"):
        return ()
    if full := _FULL.fullmatch(word):
        operator, major, minor, patch, prerelease = full.groups()
        return (_Comparator(operator or "=", (int(major), int(minor), int(patch)), prerelease),)
    return None


def _bounds(operator: str, numbers: tuple[int, ...], prerelease: str | None) -> _Comparators:
    if not numbers:
        return (_NOTHING,) if operator in ("<", ">") else ()
    raised = len(numbers) - 1
    if operator == "^":
        raised = next((place for place, number in enumerate(numbers) if number), raised)
    elif operator in ("~", "~>"):
        raised = min(1, raised)
    floor, ceiling = _padded(numbers), _padded((*numbers[:raised], numbers[raised] + 1))
    match operator:
        case ">":
            return (_Comparator(">=", ceiling),)
        case ">=":
            return (_Comparator(">=", floor),)
        case "<":
            return (_Comparator("<", floor, "0"),)
        case "<=":
            return (_Comparator("<", ceiling, "0"),)
        case _:
            return _Comparator(">=", floor, prerelease), _Comparator("<", ceiling, "0")


def _numbers(parts: Sequence[str | None]) -> tuple[int, ...]:
    """Return the numbers before the first part that is left out or a wildcard."""
    return tuple(map(int, takewhile(str.isdecimal, (part or "" for part in parts))))


def _padded(numbers: tuple[int, ...]) -> Numbers:
    major, minor, patch, *_ = (*numbers, 0, 0)
    return major, minor, patch


def _span(comparators: _Comparators) -> _Span:
    lower, upper = LOWEST, _HIGHEST
    for operator, numbers, prerelease in comparators:
        suffix = identifiers(prerelease)
        here: Precedence = (*numbers, suffix)
        after: Precedence = (*numbers, suffix + _NEXT)
        if operator in ("=", ">=", ">"):
            lower = max(lower, after if operator == ">" else here)
        if operator in ("=", "<=", "<"):
            upper = min(upper, here if operator == "<" else after)
    prereleases = frozenset(numbers for _, numbers, prerelease in comparators if prerelease)
    return _Span(lower, upper, prereleases)
