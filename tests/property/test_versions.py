"""What must hold of any version and any range, whatever npm's list of cases left out.

Numbers are mostly drawn from a handful, so that versions meet the bounds of ranges often.
"""

import operator
import re

import semver
from hypothesis import given
from hypothesis import strategies as st

from manifest.versions import (
    InvalidRange,
    InvalidVersion,
    Range,
    parse_range,
    parse_version,
    precedence,
)

NUMBERS = st.one_of(st.integers(0, 3), st.integers(0, 3), st.integers(0, 2**53 - 2))
IDENTIFIERS = st.one_of(
    st.sampled_from(["0", "1", "2", "10", "a", "a1", "rc", "x", "-", "--1", "00a"]),
    st.text("09aZ-", min_size=1, max_size=4).filter(lambda word: not re.match("0[0-9]+$", word)),
    st.integers(0, 10**20).map(str),
)
PRE_RELEASES = st.lists(IDENTIFIERS, min_size=1, max_size=3).map(".".join)
RELEASES = st.builds(semver.Version, NUMBERS, NUMBERS, NUMBERS)
VERSIONS = st.one_of(RELEASES, st.builds(semver.Version, NUMBERS, NUMBERS, NUMBERS, PRE_RELEASES))
BUILT = st.builds(lambda version, build: version.replace(build=build), VERSIONS, PRE_RELEASES)

OPERATORS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}
# npm takes `>=0.0.0` for any version at all; the rules below are the plain ones, without that.
BOUNDS = VERSIONS.filter(lambda version: version.major > 0)
COMPARATORS = st.tuples(st.sampled_from(sorted(OPERATORS)), BOUNDS)
PARTIALS = st.lists(NUMBERS, min_size=1, max_size=2).map(lambda parts: ".".join(map(str, parts)))
SHORTHANDS = st.one_of(
    st.builds("{}{}".format, st.sampled_from(["^", "~", "~>", "", "="]), BOUNDS),
    st.builds("{}{}".format, st.sampled_from(["^", "~", "<", "<=", ">", ""]), PARTIALS),
    st.builds("{0[0]}{0[1]}".format, COMPARATORS),
)


def near(version: semver.Version) -> st.SearchStrategy[semver.Version]:
    """Versions that differ from one in little, or not at all; and any others."""
    changes = st.fixed_dictionaries(
        {},
        optional={
            "major": st.sampled_from([version.major, version.major + 1]),
            "minor": st.integers(max(0, version.minor - 1), version.minor + 1),
            "patch": st.integers(max(0, version.patch - 1), version.patch + 1),
            "prerelease": st.one_of(st.none(), PRE_RELEASES),
        },
    )
    return st.one_of(changes.map(lambda change: version.replace(**change)), VERSIONS)


PAIRS = VERSIONS.flatmap(lambda version: st.tuples(st.just(version), near(version)))
RELEASE_PAIRS = PAIRS.map(lambda pair: (pair[0].replace(prerelease=None), pair[1]))


def numbers(version: semver.Version) -> tuple[int, int, int]:
    """Return major, minor and patch."""
    return version.major, version.minor, version.patch


@given(PAIRS)
def test_keys_rank_as_semver_does(pair: tuple[semver.Version, semver.Version]) -> None:
    """Keys of two versions are less, equal or greater just as `semver.Version.compare` says."""
    one, other = pair
    left, right = precedence(one), precedence(other)
    assert (left > right) - (left < right) == one.compare(other)


@given(st.one_of(VERSIONS, BUILT))
def test_what_is_written_is_read(version: semver.Version) -> None:
    """A version that is written out and read again is the same, build included."""
    assert parse_version(str(version)).to_tuple() == version.to_tuple()


@given(RELEASE_PAIRS)
def test_a_caret_keeps_the_first_number_that_counts(
    pair: tuple[semver.Version, semver.Version],
) -> None:
    """`^` allows the release and later ones that agree up to the first number that is not zero."""
    lower, asked = pair
    counts = next((place for place, number in enumerate(numbers(lower)) if number), 2)
    expected = (
        not asked.prerelease
        and asked >= lower
        and numbers(asked)[: counts + 1] == numbers(lower)[: counts + 1]
    )
    assert parse_range(f"^{lower}").allows(asked) is expected


@given(RELEASE_PAIRS)
def test_a_tilde_keeps_major_and_minor(pair: tuple[semver.Version, semver.Version]) -> None:
    """`~` and `~>` allow the release and later ones that agree in major and minor."""
    lower, asked = pair
    expected = not asked.prerelease and asked >= lower and numbers(asked)[:2] == numbers(lower)[:2]
    assert parse_range(f"~{lower}").allows(asked) is expected
    assert parse_range(f"~> {lower}").allows(asked) is expected


@given(
    st.sampled_from("^~"),
    PAIRS.filter(lambda pair: pair[0].prerelease is not None and pair[0].major > 0),
)
def test_a_pre_release_brings_in_those_of_its_own_version_alone(
    sign: str, pair: tuple[semver.Version, semver.Version]
) -> None:
    """`^1.2.3-rc.1` is `^1.2.3` and, of the pre-releases, those of 1.2.3 from rc.1 on."""
    lower, asked = pair
    if asked.prerelease:
        expected = numbers(asked) == numbers(lower) and asked >= lower
    else:
        expected = parse_range(f"{sign}{lower.replace(prerelease=None)}").allows(asked)
    assert parse_range(f"{sign}{lower}").allows(asked) is expected


@given(st.lists(COMPARATORS, min_size=1, max_size=3), st.data())
def test_comparators_mean_what_they_say(
    comparators: list[tuple[str, semver.Version]], data: st.DataObject
) -> None:
    """All must hold by semver's own comparison; a pre-release must be of a version they name so."""
    asked = data.draw(near(comparators[0][1]))
    expected = all(OPERATORS[sign](asked, bound) for sign, bound in comparators) and (
        not asked.prerelease
        or any(bound.prerelease and numbers(bound) == numbers(asked) for _, bound in comparators)
    )
    text = " ".join(f"{sign}{bound}" for sign, bound in comparators)
    assert parse_range(text).allows(asked) is expected


@given(st.sampled_from(["<", "<=", ">", ">=", "", "="]), PARTIALS, RELEASES)
def test_partial_versions_stand_for_all_that_begin_so(
    sign: str, partial: str, asked: semver.Version
) -> None:
    """A release is compared with a partial version by the numbers that this has."""
    given_numbers = tuple(map(int, partial.split(".")))
    compare = OPERATORS[sign or "="]
    expected = compare(numbers(asked)[: len(given_numbers)], given_numbers)
    for wildcard in ("", ".x", ".*"):
        assert parse_range(f"{sign}{partial}{wildcard}").allows(asked) is expected


@given(PARTIALS, VERSIONS)
def test_a_partial_version_is_its_tilde_range(partial: str, asked: semver.Version) -> None:
    """`1.2`, `1.2.x`, `~1.2` and `1.2 - 1.2` are one range, and `1`, `^1` and `~1` too."""
    expected = parse_range(partial).allows(asked)
    for text in (f"~{partial}", f"{partial} - {partial}", f"={partial}", f"v{partial}.x"):
        assert parse_range(text).allows(asked) is expected
    if "." not in partial:
        assert parse_range(f"^{partial}").allows(asked) is expected


@given(st.one_of(VERSIONS, PARTIALS), st.one_of(VERSIONS, PARTIALS), st.data())
def test_a_hyphen_range_is_two_comparators(
    lower: object, upper: object, data: st.DataObject
) -> None:
    """`a - b` is `>=a <=b`, partial versions included."""
    ends = [end for end in (lower, upper) if isinstance(end, semver.Version)]
    asked = data.draw(near(ends[0]) if ends else VERSIONS)
    expected = parse_range(f">={lower} <={upper}").allows(asked)
    assert parse_range(f"{lower} - {upper}").allows(asked) is expected


@given(st.lists(SHORTHANDS, min_size=1, max_size=4), st.sampled_from(["||", " || "]), VERSIONS)
def test_a_union_allows_what_any_part_allows(
    parts: list[str], bar: str, asked: semver.Version
) -> None:
    """`a || b` allows what `a` or `b` allows."""
    expected = any(parse_range(part).allows(asked) for part in parts)
    assert parse_range(bar.join(parts)).allows(asked) is expected


@given(st.lists(SHORTHANDS, min_size=1, max_size=3), VERSIONS)
def test_any_version_as_a_part_makes_the_union_any(parts: list[str], asked: semver.Version) -> None:
    """`a || *` is `*`: every release, and none of the pre-releases that `a` named, as in npm."""
    assert parse_range(" || ".join([*parts, "*"])).allows(asked) is not bool(asked.prerelease)


@given(st.lists(SHORTHANDS, min_size=2, max_size=3), RELEASES)
def test_parts_between_blanks_must_all_allow_a_release(
    parts: list[str], asked: semver.Version
) -> None:
    """`a b` allows the releases that both `a` and `b` allow."""
    expected = all(parse_range(part).allows(asked) for part in parts)
    assert parse_range(" ".join(parts)).allows(asked) is expected


@given(
    st.sampled_from(["<", "<=", ">", ">=", "=", "^", "~", "~>"]),
    VERSIONS,
    st.text("\t\n\r \xa0\u2003\ufeff", min_size=1, max_size=3),
    st.data(),
)
def test_blanks_around_operators_do_not_matter(
    sign: str, bound: semver.Version, blanks: str, data: st.DataObject
) -> None:
    """Any of JavaScript's blanks may stand before, after and behind an operator."""
    asked = data.draw(near(bound))
    expected = parse_range(f"{sign}{bound}").allows(asked)
    assert parse_range(f"{blanks}{sign}{blanks}{bound}{blanks}").allows(asked) is expected


@given(BUILT, st.data())
def test_builds_decide_nothing(bound: semver.Version, data: st.DataObject) -> None:
    """Neither the build of a range's version nor that of the version asked for has an effect."""
    asked = data.draw(near(bound))
    plain = bound.replace(build=None)
    for sign in ("", "^", "~", "<", ">="):
        expected = parse_range(f"{sign}{plain}").allows(asked.replace(build=None))
        assert parse_range(f"{sign}{bound}").allows(asked) is expected


@given(st.sampled_from(["", "=", "v", "= ", " "]), PAIRS)
def test_an_exact_range_allows_what_ranks_equal(
    sign: str, pair: tuple[semver.Version, semver.Version]
) -> None:
    """A full version as a range has itself for `exact`, and allows what has the same key."""
    bound, asked = pair
    wanted = parse_range(f"{sign}{bound}")
    assert wanted.exact is not None
    assert wanted.exact.to_tuple() == bound.replace(build=None).to_tuple()
    assert wanted.allows(asked) is (precedence(asked) == precedence(wanted.exact))


@given(SHORTHANDS, VERSIONS)
def test_keys_and_versions_get_one_answer(text: str, asked: semver.Version) -> None:
    """`covers` says of a key what `allows` says of its version."""
    wanted = parse_range(text)
    assert wanted.covers(precedence(asked)) is wanted.allows(asked)


@given(st.one_of(st.text(max_size=300), st.text("^~><=|v xX*.-+01a\n\u0663", max_size=24)))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever is given, the answer is a range or InvalidRange, a version or InvalidVersion."""
    try:
        assert isinstance(parse_range(text), Range)
    except InvalidRange as error:
        assert ", got " in str(error)  # noqa: PT017  # most texts are refused, some are not
    try:
        assert str(parse_version(text)) == text
    except InvalidVersion as error:
        assert ", got " in str(error)  # noqa: PT017  # most texts are refused, some are not
