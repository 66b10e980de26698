"""Versions and ranges, held against what npm's own semver package answered."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import semver

from manifest import ranges, versions
from manifest.ranges import InvalidRange, parse_range
from manifest.versions import (
    MAX_LENGTH,
    MAX_NUMBER,
    InvalidVersion,
    parse_version,
    precedence,
)

NPM = json.loads((Path(__file__).parent / "data/npm_ranges.json").read_text(encoding="utf-8"))


def npm_answers(family: str) -> Iterator[tuple[str, str, bool]]:
    """Yield a range, a version and whether the one allows the other, as npm has it."""
    for text, allowed, refused in NPM["ranges"][family]:
        yield from ((text, version, True) for version in allowed.split())
        yield from ((text, version, False) for version in refused.split())


@pytest.mark.parametrize("family", NPM["ranges"])
def test_ranges_allow_what_npm_allows(family: str) -> None:
    """Each range of a family allows the versions that npm says it does, and no other."""
    answers = list(npm_answers(family))
    assert answers
    wrong = [
        (text, version, f"npm says {said}")
        for text, version, said in answers
        if parse_range(text).allows(parse_version(version)) is not said
    ]
    assert wrong == []


@pytest.mark.parametrize("text", NPM["invalid_ranges"])
def test_what_npm_refuses_as_a_range_is_refused(text: str) -> None:
    """A text that is no range to npm is an InvalidRange, which says how one is written."""
    with pytest.raises(InvalidRange, match=r"\^1\.2.*, got '"):
        parse_range(text)


@pytest.mark.parametrize("text", NPM["invalid_versions"])
def test_what_npm_refuses_as_a_version_is_refused(text: str) -> None:
    """A text that is no version to npm is an InvalidVersion, which says how one is written."""
    with pytest.raises(InvalidVersion, match=r'such as "1\.2\.3".*, got '):
        parse_version(text)


@pytest.mark.parametrize("text", ["v1.2.3", "=1.2.3", " 1.2.3", "1.2.3 ", "1.2.3\n", "1\u0663.2.3"])
def test_versions_are_strict(text: str) -> None:
    """What npm or some release of semver forgives around a version is refused."""
    with pytest.raises(InvalidVersion):
        parse_version(text)


def test_versions_rank_as_npm_ranks_them() -> None:
    """Keys ascend in npm's order, and are equal exactly where npm calls versions equal."""
    groups = [[precedence(parse_version(text)) for text in line.split()] for line in NPM["order"]]
    assert all(len(set(keys)) == 1 for keys in groups)
    firsts = [keys[0] for keys in groups]
    assert firsts == sorted(set(firsts))


def test_no_version_ranks_below_all() -> None:
    """The key of None sorts under the lowest version there is, and no range covers it."""
    assert precedence(None) < precedence(parse_version("0.0.0-0"))
    for text in ("*", "", "<1", "<*", ">=0", "<=2.0.0-0 || 1.x"):
        assert not parse_range(text).covers(precedence(None))


def test_large_numbers_in_pre_releases_are_not_rounded() -> None:
    """Identifiers that npm would round to one number stay apart, as semver has it."""
    lower = parse_version("1.0.0-20261122103000123")
    upper = parse_version("1.0.0-20261122103000124")
    assert lower.compare(upper) < 0
    assert precedence(lower) < precedence(upper)
    assert not parse_range(f">={upper}").allows(lower)


def test_an_empty_pre_release_is_none() -> None:
    """A version that was made by hand with an empty pre-release ranks as the release that it is."""
    assert precedence(semver.Version(1, 2, 3, "")) == precedence(parse_version("1.2.3"))


def test_lengths_are_limited() -> None:
    """A text of MAX_LENGTH characters is read; an error names the length of a longer one."""
    build = "1.2.3+" + "b" * (MAX_LENGTH - 6)
    assert str(parse_version(build)) == build
    assert parse_range(build).allows(parse_version("1.2.3"))
    with pytest.raises(InvalidVersion, match="at most 256 characters, got 257"):
        parse_version(build + "b")
    with pytest.raises(InvalidRange, match="at most 256 characters, got 257"):
        parse_range(build + "b")


def test_numbers_are_limited() -> None:
    """Numbers go up to JavaScript's greatest safe integer, in what a range implies too."""
    greatest = f"{MAX_NUMBER}.0.0"
    assert parse_range(f">=1 <={greatest}").allows(parse_version(greatest))
    with pytest.raises(InvalidVersion, match=r"at most 9007199254740991, got '1\.9007199254740992"):
        parse_version(f"1.{MAX_NUMBER + 1}.0")
    with pytest.raises(InvalidRange, match="at most 9007199254740991, got '>=1 "):
        parse_range(f">=1 <={MAX_NUMBER}")


def test_an_error_names_the_part_at_fault() -> None:
    """Of a long range, the message picks out the comparator that cannot be read."""
    with pytest.raises(InvalidRange, match=r"got '\^\^1'$"):
        parse_range("^^1")
    with pytest.raises(InvalidRange, match=r"got '<2,' in '>=1 <2, >3 \|\| 4'$"):
        parse_range(">=1 <2, >3 || 4")


def test_errors_are_value_errors() -> None:
    """Who catches ValueError catches these."""
    assert issubclass(InvalidRange, ValueError)
    assert issubclass(InvalidVersion, ValueError)


def test_errors_stay_short() -> None:
    """A message quotes no more than the beginning of what was given."""
    with pytest.raises(InvalidVersion) as version:
        parse_version("x" * MAX_LENGTH)
    with pytest.raises(InvalidRange) as wanted:
        parse_range("?" * MAX_LENGTH)
    assert max(len(str(version.value)), len(str(wanted.value))) < 300


@pytest.mark.parametrize(
    "text, exact",
    [
        ("1.2.3", "1.2.3"),
        ("=1.2.3", "1.2.3"),
        (" = v1.2.3 ", "1.2.3"),
        ("1.2.3-rc.1", "1.2.3-rc.1"),
        ("1.2.3-rc.1+build", "1.2.3-rc.1"),
    ],
)
def test_a_range_of_one_version_says_which(text: str, exact: str) -> None:
    """Where the text names just one version, `exact` is that version, without its build."""
    found = parse_range(text).exact
    assert found is not None
    assert str(found) == exact


@pytest.mark.parametrize(
    "text", ["", "*", "1", "1.2", "1.2.x", "^1.2.3", ">=1.2.3", "1.2.3 || 1.2.4", "1.2.3 <2", "<0"]
)
def test_other_ranges_have_no_exact_version(text: str) -> None:
    """A range that is written in any other way has None for `exact`, however few it may allow."""
    assert parse_range(text).exact is None


def test_builds_do_not_count() -> None:
    """Build metadata, in the range or in the version, decides nothing."""
    assert parse_range("1.2.3+a").allows(parse_version("1.2.3+b"))
    assert not parse_range(">1.2.3+a").allows(parse_version("1.2.3+b"))
    assert precedence(parse_version("1.2.3+a")) == precedence(parse_version("1.2.3"))


def test_a_range_is_its_text() -> None:
    """Ranges are values: equal, hashed and shown by what was written."""
    assert parse_range("^1.2") == parse_range.__wrapped__("^1.2")
    assert len({parse_range("^1.2"), parse_range.__wrapped__("^1.2"), parse_range("^1.3")}) == 2
    assert repr(parse_range("^1.2")) == "Range(text='^1.2', exact=None)"


def test_asking_parses_and_compares_no_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A range answers from sort keys: semver's slow parsing and comparing is not called."""
    wanted = parse_range("^1.2 || >=3.0.0-rc.1 <4 || 5.0.0")
    asked = [parse_version(text) for text in ("1.9.0", "3.0.0-rc.2", "4.0.0", "5.0.0")]

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("called")

    for name in ("parse", "compare", "match", "to_tuple", "__eq__", "__lt__", "__hash__"):
        monkeypatch.setattr(semver.Version, name, refuse)
    assert [wanted.allows(version) for version in asked] == [True, True, False, True]


def test_memory_is_bounded() -> None:
    """Every cache has a bound, and what fails to parse is not remembered."""
    caches = {
        name: value
        for name, value in {**vars(versions), **vars(ranges)}.items()
        if hasattr(value, "cache_info")
    }
    assert {"parse_range", "parse_version"} <= set(caches)
    for cache in caches.values():
        assert 0 < (cache.cache_info().maxsize or 0) <= 1024
    before = parse_range.cache_info().currsize, parse_version.cache_info().currsize
    with pytest.raises(InvalidRange):
        parse_range("1.2.3.4.5")
    with pytest.raises(InvalidVersion):
        parse_version("1.2.3.4.5")
    assert before == (parse_range.cache_info().currsize, parse_version.cache_info().currsize)


@pytest.mark.parametrize(
    "piece", ["v ", "v=", "1 - ", "1.2.3-", "-", "1a.", "> ", "~ ", "*", "+_", "x.", "^\u3000"]
)
def test_ranges_that_go_on_and_on_are_answered(piece: str) -> None:
    """Texts made to send regular expressions astray do not: the limit on length sees to it."""
    text = (piece * MAX_LENGTH)[:MAX_LENGTH]
    with pytest.raises(InvalidRange):
        parse_range(text)
