"""Versions: reading them, and a key that sorts them by precedence.

Reading is left to the `semver` package. The sort key of `precedence` orders versions exactly as
`semver.Version.compare` does, and is compared several times as fast. Caches are bounded, and what
fails to parse is not cached.

Pure: imports nothing else of the package, reads no clock, does no I/O.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import semver

__all__ = [
    "LOWEST",
    "MAX_LENGTH",
    "MAX_NUMBER",
    "RELEASE",
    "Identifiers",
    "InvalidVersion",
    "Numbers",
    "Precedence",
    "identifiers",
    "parse_version",
    "precedence",
]

MAX_LENGTH = 256
"""The most characters that a version or a range may have."""

MAX_NUMBER = 2**53 - 1
"""The greatest major, minor or patch number: JavaScript's `Number.MAX_SAFE_INTEGER`."""

# Peers decide what is parsed too, so this bounds memory: at most MAX_LENGTH characters an entry.
_CACHED = 1024

Numbers: TypeAlias = tuple[int, int, int]
"""Major, minor and patch."""

Identifiers: TypeAlias = tuple[tuple[int, int | str], ...]

Precedence: TypeAlias = tuple[int, int, int, Identifiers]
"""A sort key: major, minor, patch, and the pre-release identifiers made comparable."""

# First items of identifiers: numbers sort below words, and a release above all its pre-releases.
_NUMBER, _WORD, _END = 0, 1, 2
RELEASE: Identifiers = ((_END, 0),)

LOWEST: Precedence = (-1, 0, 0, ())
"""The key of no version at all: below every other."""


class InvalidVersion(ValueError):
    """A text is not a full semantic version."""


@lru_cache(maxsize=_CACHED)
def parse_version(text: str) -> semver.Version:
    """Return the version that a text spells in full: three numbers, then pre-release and build.

    InvalidVersion for anything else: a partial version, a leading `v`, white space.

    >>> parse_version("1.2.3-rc.1+build.5")
    Version(major=1, minor=2, patch=3, prerelease='rc.1', build='build.5')
    >>> parse_version("1.2")
    Traceback (most recent call last):
    ...
    manifest.versions.InvalidVersion: a version is three numbers ... "1.2.3+build.5", got '1.2'
    """
    if len(text) > MAX_LENGTH:
        raise InvalidVersion(
            f'a version such as "1.2.3" has at most {MAX_LENGTH} characters, got {len(text)}'
        )
    try:
        # semver before 3.1 takes "1.2.3\n" and digits of other scripts: nodes must not disagree.
        if not (text.isascii() and text.isprintable()):
            raise ValueError  # noqa: TRY301  # one message for this and for what semver refuses
        version = semver.Version.parse(text)
    except ValueError:
        raise InvalidVersion(
            "a version is three numbers without leading zeros and without a v in front, then a "
            'pre-release and a build if any, such as "1.2.3", "1.2.3-rc.1" or "1.2.3+build.5", '
            f"got {text!r:.80}"
        ) from None
    if max(version.major, version.minor, version.patch) > MAX_NUMBER:
        raise InvalidVersion(
            f'the numbers in a version such as "1.2.3" are at most {MAX_NUMBER}, got {text!r:.80}'
        )
    return version


@lru_cache(maxsize=_CACHED)
def identifiers(prerelease: str | None) -> Identifiers:
    """Return the comparable form of a pre-release, that of None and "" being `RELEASE`."""
    if not prerelease:
        return RELEASE
    words = prerelease.split(".")
    return tuple((_NUMBER, int(word)) if word.isdecimal() else (_WORD, word) for word in words)


def precedence(version: semver.Version | None) -> Precedence:
    """Return a key that sorts versions by semver precedence, and None below them all.

    Build metadata has no precedence: versions that differ in it alone have equal keys.

    >>> texts = ["1.0.0", "1.0.0-rc.10", "1.0.0-rc.9", "1.0.0-alpha", "0.9.0", "1.0.0-rc.9.x"]
    >>> sorted(texts, key=lambda text: precedence(parse_version(text)))
    ['0.9.0', '1.0.0-alpha', '1.0.0-rc.9', '1.0.0-rc.9.x', '1.0.0-rc.10', '1.0.0']
    >>> precedence(None) < precedence(parse_version("0.0.0-0"))
    True
    """
    if version is None:
        return LOWEST
    return version.major, version.minor, version.patch, identifiers(version.prerelease)
