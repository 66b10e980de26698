"""How right and how fast libraries for npm version ranges are, this one included.

They are held against what npm's own `semver` package answered, in tests/data/npm_ranges.json, and
timed on ordinary ranges, each parsed afresh and then asked about 100 versions that are parsed
already. Libraries that are not installed are left out:

    pip install node-semver semantic-version
    python -m benchmarks ranges
"""

import importlib
import json
import timeit
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .commands import command_line
from .tables import table

ROOT = Path(__file__).parents[1]

RANGES = ["^1.2", "~1.2.3", "1.x", ">=1 <2 || 3.x", "1.0 - 2.0", "1.2.3", "^1.2.3-rc.1"]
VERSIONS = [f"{n % 5}.{n % 7}.{n % 11}" + (f"-rc.{n}" if n % 10 == 0 else "") for n in range(100)]


class Library(NamedTuple):
    """How one library reads ranges and versions, and how it is asked whether they match."""

    name: str
    read_range: Callable[[str], Any]
    read_version: Callable[[str], Any]
    allows: Callable[[Any, Any], bool]


def manifest() -> Library:
    ours = importlib.import_module("manifest.ranges")
    versions = importlib.import_module("manifest.versions")
    return Library(
        "manifest.ranges",
        ours.parse_range.__wrapped__,
        versions.parse_version.__wrapped__,
        lambda wanted, version: bool(wanted.allows(version)),
    )


def manifest_keys() -> Library:
    ours = importlib.import_module("manifest.ranges")
    versions = importlib.import_module("manifest.versions")
    return Library(
        "manifest.ranges, kept keys",
        ours.parse_range.__wrapped__,
        lambda text: versions.precedence(versions.parse_version.__wrapped__(text)),
        lambda wanted, key: bool(wanted.covers(key)),
    )


def node_semver() -> Library:
    theirs = importlib.import_module("nodesemver")
    return Library(
        "node-semver",
        lambda text: theirs.make_range(text, loose=False),
        lambda text: theirs.make_semver(text, loose=False),
        lambda wanted, version: bool(wanted.test(version)),
    )


def semantic_version() -> Library:
    theirs = importlib.import_module("semantic_version")
    return Library(
        "semantic-version",
        theirs.NpmSpec,
        theirs.Version,
        lambda wanted, version: version in wanted,
    )


def correctness(library: Library, npm: dict[str, Any]) -> Counter[str]:
    """Count the kinds of answers to the ranges that npm takes, and to those that it refuses."""
    found: Counter[str] = Counter()
    for family in npm["ranges"].values():
        for text, *answers in family:
            for versions, said in zip(answers, (True, False), strict=True):
                for version in versions.split():
                    found[kind_of_answer(library, text, version, said=said)] += 1
    for text in npm["invalid_ranges"]:
        try:
            library.read_range(text)
        except ValueError:
            continue
        except Exception:  # noqa: BLE001  # whatever else a library raises is what is counted
            found["crashed on invalid"] += 1
        else:
            found["took invalid"] += 1
    return found


def kind_of_answer(library: Library, text: str, version: str, *, said: bool) -> str:
    """Return what became of one question: right, wrong, or no answer at all."""
    try:
        answer = library.allows(library.read_range(text), library.read_version(version))
    except ValueError:
        return "refused"
    except Exception:  # noqa: BLE001  # whatever else a library raises is what is counted
        return "crashed"
    return "right" if answer is said else "wrong"


def microseconds(work: Callable[[], object], *, number: int) -> float:
    """Return the time of one run, the best of several rounds."""
    return min(timeit.repeat(work, number=number, repeat=7)) / number * 1e6


def speed(library: Library) -> tuple[float, float]:
    """Return microseconds to read a range, and to ask it about 100 versions."""
    wanted = [library.read_range(text) for text in RANGES]
    versions = [library.read_version(text) for text in VERSIONS]
    read = microseconds(lambda: [library.read_range(text) for text in RANGES], number=20)
    ask = microseconds(
        lambda: [library.allows(one, version) for one in wanted for version in versions], number=3
    )
    return read / len(RANGES), ask / len(RANGES)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = command_line("ranges", __doc__)
    parser.parse_args(arguments)
    npm = json.loads((ROOT / "tests/data/npm_ranges.json").read_text(encoding="utf-8"))
    kinds = ("right", "wrong", "refused", "crashed", "took invalid", "crashed on invalid")
    print(f"npm's semver {npm['npm_semver']}; {len(npm['invalid_ranges'])} invalid ranges")
    rows = []
    for make in (manifest, manifest_keys, node_semver, semantic_version):
        try:
            library = make()
        except ModuleNotFoundError as missing:
            print(f"Not measured: {make.__name__}, since it is not installed: {missing}.")
            continue
        found = correctness(library, npm)
        times = (f"{microseconds:.0f}" for microseconds in speed(library))
        rows.append([library.name, *(str(found[kind]) for kind in kinds), *times])
    headers = ["library", *kinds, "µs to read a range", "µs to ask 100 versions"]
    print(table(headers, rows))


if __name__ == "__main__":
    main()
