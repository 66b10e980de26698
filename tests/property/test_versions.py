"""What must hold of any version and any range, whatever npm's list of cases left out.

Numbers are mostly drawn from a handful, so that versions meet the bounds of ranges often.
"""

import operator
import re

import semver
from hypothesis import given
from hypothesis import strategies as st

from manifest.ranges import InvalidRange, Range, parse_range
from manifest.versions import InvalidVersion, parse_version, precedence

NUMBERS = st.one_of(st.just(0), st.integers(0, 3), st.integers(0, 2**53 - 2))
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


@st.composite
def near(draw: st.DrawFn, version: semver.Version) -> semver.Version:
    """A version that differs from another in one number by one, or not, and in what follows."""
    changed = list(numbers(version))
    place = draw(st.integers(0, 2))
    changed[place] = max(0, changed[place] + draw(st.integers(-1, 1)))
    if draw(st.booleans()):
        changed[place + 1 :] = [draw(NUMBERS) for _ in changed[place + 1 :]]
    prereleases = st.one_of(st.none(), st.just(version.prerelease), PRE_RELEASES)
    major, minor, patch = changed
    return semver.Version(major, minor, patch, draw(prereleases))


def pairs(
    versions: st.SearchStrategy[semver.Version],
) -> st.SearchStrategy[tuple[semver.Version, semver.Version]]:
    """Such versions, each with one that is near to it."""
    return versions.flatmap(lambda version: st.tuples(st.just(version), near(version)))


def as_releases(
    pair: tuple[semver.Version, semver.Version],
) -> tuple[semver.Version, semver.Version]:
    """Return two versions without their pre-releases."""
    one, other = pair
    return one.replace(prerelease=None), other.replace(prerelease=None)


PAIRS = pairs(VERSIONS)
RELEASE_PAIRS = PAIRS.map(as_releases)
PRE_RELEASE_BOUNDS = st.builds(semver.Version, NUMBERS.filter(bool), NUMBERS, NUMBERS, PRE_RELEASES)


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
    agree = numbers(asked)[: counts + 1] == numbers(lower)[: counts + 1]
    assert parse_range(f"^{lower}").allows(asked) is (agree and asked >= lower)


@given(RELEASE_PAIRS)
def test_a_tilde_keeps_major_and_minor(pair: tuple[semver.Version, semver.Version]) -> None:
    """`~` and `~>` allow the release and later ones that agree in major and minor."""
    lower, asked = pair
    expected = numbers(asked)[:2] == numbers(lower)[:2] and asked >= lower
    assert parse_range(f"~{lower}").allows(asked) is expected
    assert parse_range(f"~> {lower}").allows(asked) is expected


@given(st.sampled_from("^~"), pairs(PRE_RELEASE_BOUNDS))
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


@given(st.sampled_from(["^", "~", "", "<=", ">=1 <=", "<"]), st.integers(1, 9), PRE_RELEASES)
def test_an_upper_end_keeps_out_the_pre_releases_beyond_it(
    sign: str, major: int, prerelease: str
) -> None:
    """`^1 >=2.0.0-rc.1` allows nothing: 2.0.0-rc.1 is named, but lies beyond all that is `^1`."""
    beyond = semver.Version(major if sign == "<" else major + 1, 0, 0, prerelease)
    assert not parse_range(f"{sign}{major} >={beyond}").allows(beyond)
    assert not parse_range(f">={beyond} {sign}{major}.x").allows(beyond)


@given(st.lists(COMPARATORS, min_size=1, max_size=3), st.data())
def test_comparators_mean_what_they_say(
    comparators: list[tuple[str, semver.Version]], data: st.DataObject
) -> None:
    """All must hold by semver's own comparison; a pre-release must be of a version they name so."""
    wanted = parse_range(" ".join(f"{sign}{bound}" for sign, bound in comparators))
    bounds = [bound for _, bound in comparators]
    named = {numbers(bound) for bound in bounds if bound.prerelease}
    for asked in (data.draw(near(bounds[0])), *bounds):
        holds = all(OPERATORS[sign](asked, bound) for sign, bound in comparators)
        expected = holds and (not asked.prerelease or numbers(asked) in named)
        assert wanted.allows(asked) is expected


@given(st.sampled_from(["<", "<=", ">", ">=", "", "="]), PARTIALS, st.data())
def test_partial_versions_stand_for_all_that_begin_so(
    sign: str, partial: str, data: st.DataObject
) -> None:
    """A release is compared with a partial version by the numbers that this has."""
    start = tuple(map(int, partial.split(".")))
    asked = data.draw(near(semver.Version(*start))).replace(prerelease=None)
    expected = OPERATORS[sign or "="](numbers(asked)[: len(start)], start)
    for wildcard in ("", ".x", ".*"):
        assert parse_range(f"{sign}{partial}{wildcard}").allows(asked) is expected


@given(st.lists(NUMBERS, min_size=1, max_size=2), st.data())
def test_a_partial_caret_keeps_the_first_number_that_counts(
    start: list[int], data: st.DataObject
) -> None:
    """`^1.2` is `>=1.2.0 <2`, `^0.2` is `0.2.x`, `^0.0` is `0.0.x` and `^0` is `0.x`."""
    major, minor, patch = (*start, 0, 0)[:3]
    asked = data.draw(near(semver.Version(major, minor, patch))).replace(prerelease=None)
    counts = next((place for place, number in enumerate(start) if number), len(start) - 1)
    agree = numbers(asked)[: counts + 1] == (major, minor)[: counts + 1]
    expected = agree and numbers(asked) >= (major, minor, patch)
    text = "^" + ".".join(map(str, start))
    assert parse_range(text).allows(asked) is expected
    assert parse_range(f"{text}.x").allows(asked) is expected


@given(PARTIALS, st.data())
def test_a_partial_version_is_its_tilde_range(partial: str, data: st.DataObject) -> None:
    """`1.2`, `1.2.x`, `~1.2` and `1.2 - 1.2` are one range, and `1`, `^1` and `~1` too."""
    asked = data.draw(near(semver.Version(*map(int, partial.split(".")))))
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


@given(pairs(PRE_RELEASE_BOUNDS))
def test_any_version_as_a_part_makes_the_union_any(
    pair: tuple[semver.Version, semver.Version],
) -> None:
    """`a || *` is `*`: every release, and none of the pre-releases that `a` named, as in npm."""
    bound, near_bound = pair
    for union in (f"{bound} || *", f"x||^{bound}", f" || {bound}", f">=0 || ~{bound}"):
        for asked in pair:
            assert parse_range(union).allows(asked) is not bool(asked.prerelease)
        assert parse_range(union).allows(near_bound.replace(prerelease=None))


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
