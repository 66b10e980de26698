"""What the documentation says is true: its code runs, its links lead somewhere, its examples work.

Every block fenced as ``python`` or ``pycon`` in README.md, CHANGELOG.md and docs/ is run:

- one that opens with ``>>>`` by doctest, which compares what it prints;
- any other as a program of its own, in a fresh directory and a process with a time limit. `await`
  and `async with` outside a function are fine there: such a program is run by Trio.

A comment on the line before a block changes that, and can be seen where the page is written:

- ``<!-- continues -->``: the block goes on where the one before it ended, with all its names;
- ``<!-- no-run: reason -->``: it is only compiled.

Programs listen on the port that they name, so these tests run in one worker, one after the other.
"""

import ast
import doctest
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

import manifest

ROOT = Path(__file__).parents[1]
SECONDS = 60

pytestmark = pytest.mark.xdist_group("docs")

RUNNER = """
import ast, inspect, json, sys, trio

async def run_async():
    await eval(code, globals())

for text in json.load(sys.stdin):
    code = compile(text, sys.argv[1], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        trio.run(run_async)
    else:
        exec(code, globals())
"""


@attrs.frozen
class Block:
    """A fenced block of Python: the line on which it starts, its text, and the note above it."""

    line: int
    text: str
    note: str

    @property
    def is_doctest(self) -> bool:
        """Whether it shows a session at the prompt, and not a program."""
        return self.text.lstrip().startswith(">>>")

    @property
    def placed(self) -> str:
        """Its text with the line numbers of the page, so that tracebacks lead there."""
        return "\n" * (self.line - 1) + self.text


FENCE = re.compile(r"(?P<indent>\s*)(?P<fence>`{3,}|~{3,})\s*(?P<language>\w*)")
NOTE = re.compile(r"\s*<!--\s*(?P<note>.*?)\s*-->\s*")


def blocks(page: str) -> Iterator[Block]:
    """Yield the Python blocks of a page, in order."""
    fence = indent = note = ""
    inside: list[str] | None = None
    start = 0
    for number, line in enumerate(page.splitlines(), start=1):
        if fence:
            if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                if inside is not None:
                    yield Block(start, "".join(inside), note)
                fence = note = ""
                inside = None
            elif inside is not None:
                inside.append(line.removeprefix(indent) + "\n")
        elif found := FENCE.match(line):
            fence, indent, start = found["fence"], found["indent"], number + 1
            inside = [] if found["language"] in ("python", "pycon", "py") else None
        elif line.strip():
            told = NOTE.fullmatch(line)
            note = told["note"] if told else ""


def programs(page: str) -> list[list[Block]]:
    """Return what is run of a page: each block, together with those that continue it."""
    found: list[list[Block]] = []
    for block in blocks(page):
        if block.note == "continues" and found:
            found[-1].append(block)
        elif not block.note.startswith("no-run"):
            found.append([block])
    return found


def pages() -> list[str]:
    """Return the paths of all pages, from the top of the project."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    return sorted(page.relative_to(ROOT).as_posix() for page in found)


def read(page: str) -> str:
    """Return the text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


PROGRAMS = [
    pytest.param(page, program, id=f"{page}:{program[0].line}")
    for page in pages()
    for program in programs(read(page))
]
EXAMPLES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("examples/*.py"))


@pytest.mark.parametrize("page, program", PROGRAMS)
def test_the_code_of_a_page_runs(page: str, program: list[Block], tmp_path: Path) -> None:
    """Each Python block of a page runs to its end, and prints what a doctest says it prints."""
    place = f"{page}:{program[0].line}"
    kinds = {block.is_doctest for block in program}
    assert len(kinds) == 1, f"{place}: a doctest and a program cannot continue each other"
    if kinds == {True}:
        complaint = doctest_complaint(page, program)
    else:
        command = [sys.executable, "-c", RUNNER, str(ROOT / page)]
        texts = json.dumps([block.placed for block in program])
        complaint = process_complaint(command, texts, tmp_path)
    assert not complaint, f"{place}\n{complaint}"


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs(example: str, tmp_path: Path) -> None:
    """Each program in examples/ ends by itself, and well."""
    complaint = process_complaint([sys.executable, str(ROOT / example)], "", tmp_path)
    assert not complaint, f"{example}\n{complaint}"


@pytest.mark.parametrize("page", pages())
def test_notes_about_blocks_are_well_formed(page: str) -> None:
    """A block is left out only for a reason that is given, and is Python all the same."""
    for block in blocks(read(page)):
        assert block.note in ("", "continues") or re.fullmatch(r"no-run: .+", block.note), (
            f"{page}:{block.line}: {block.note!r} is neither `continues` nor `no-run: reason`"
        )
        if not block.is_doctest:
            compile(block.text, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page: str) -> None:
    """Each relative link of a page names a file of the project and, after `#`, a heading in it."""
    broken = [
        f"{page}:{number}: {target}"
        for number, target in links(read(page))
        if not resolves(page, target)
    ]
    assert broken == []


def test_the_two_commands_are_where_people_look() -> None:
    """The README names the commands for the demo and the tests; .ci/run runs the second."""
    readme = read("README.md")
    assert "python3 run.py demo" in readme
    assert "python3 run.py tests" in readme
    assert "run.py tests" in (ROOT / ".ci/run").read_text(encoding="utf-8")


def process_complaint(command: list[str], stdin: str, directory: Path) -> str:
    """Run a program as a user would; return what it printed where it failed, else nothing."""
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("COV")}
    environment["PYTHONPATH"] = str(ROOT)
    try:
        done = subprocess.run(
            command,
            input=stdin,
            cwd=directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as slow:
        return f"did not end within {SECONDS} s; it printed: {slow.output!r}"
    return f"exit status {done.returncode}\n{done.stdout}" if done.returncode else ""


def doctest_complaint(page: str, session: list[Block]) -> str:
    """Run the examples at the prompt; return doctest's report where one differs, else nothing."""
    report: list[str] = []
    names: dict[str, object] = {}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for block in session:
        test = doctest.DocTestParser().get_doctest(block.placed, names, page, str(ROOT / page), 0)
        runner.run(test, out=report.append, clear_globs=False)
        names = test.globs
    return "".join(report)


def prose(page: str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a page that are not code, without the code within them."""
    fence = ""
    for number, line in enumerate(page.splitlines(), start=1):
        found = FENCE.match(line)
        if fence:
            fence = "" if line.strip().startswith(fence) else fence
        elif found:
            fence = found["fence"]
        else:
            yield number, line


def links(page: str) -> Iterator[tuple[int, str]]:
    """Yield the targets of a page's links that lead to places within the project."""
    for number, line in prose(page):
        text = re.sub(r"`[^`]*`", "", line)
        for target in re.findall(r"(?:\]\(\s*<?|^\s*\[[^\]]+\]:\s*)([^)\s>]+)", text):
            if not re.match(r"[a-z][a-z0-9+.-]*:", target):
                yield number, target


def resolves(page: str, target: str) -> bool:
    """Return whether a relative link leads to a file of the project, and to a heading in it."""
    path, _, heading = target.partition("#")
    file = (ROOT / page).parent / path if path else ROOT / page
    if not file.exists() or ROOT not in file.resolve().parents:
        return False
    if not heading or file.suffix != ".md":
        return True
    return heading in anchors(file.read_text(encoding="utf-8"))


def anchors(page: str) -> set[str]:
    """Return the names under which a page's headings can be linked to, as code hosts make them."""
    found: dict[str, int] = {}
    for _, line in prose(page):
        if heading := re.fullmatch(r"#{1,6}\s+(.*?)\s*#*", line):
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
            found[name] = found.get(name, -1) + 1
    return {f"{name}-{n}" if n else name for name, last in found.items() for n in range(last + 1)}


def table(page: str, heading: str) -> dict[str, tuple[str, ...]]:
    """Return the rows of the table under a heading, by their first cell."""
    _, _, rest = read(page).partition(f"{heading}\n")
    rows = [line for line in rest.partition("\n#")[0].splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    return {first.strip("` "): tuple(others) for first, *others in cells}


@pytest.mark.parametrize("group", [manifest.Limits, manifest.Timeouts])
def test_every_limit_has_a_row_with_its_default(group: Any) -> None:
    """docs/limits.md names each field of `Limits` and `Timeouts`, in order, and what it is."""
    rows = table("docs/limits.md", f"### `{group.__name__}`")
    defaults = {field.name: str(getattr(group(), field.name)) for field in attrs.fields(group)}
    assert {name: cells[0] for name, cells in rows.items()} == defaults
    assert list(rows) == list(defaults)


def test_every_refusal_has_a_row() -> None:
    """docs/limits.md has each word that refusals are counted under, in order, and no other."""
    words = list(table("docs/limits.md", "## What is counted"))
    assert words == [refusal.value for refusal in manifest.Refusal]
    named = set(re.findall(r"\(`(\w+)`(?:, `(\w+)`)?\)", read("docs/limits.md")))
    assert {word for pair in named for word in pair if word} <= set(words)


PAGE = """\
# A page
## A `heading`, with (parts)

[one](other.md), [two](#a-page), [three](https://example.org/x), `[four](not-a-link.md)`

```python
x = 1
```
<!-- continues -->
```python
x += 1
```

<!-- no-run: it needs a cluster -->

```python
connect()
```
1. in a list
   ```pycon
   >>> 1 + 1
   2
   ```
```console
$ python [five](no-link.md)
```
"""


def test_a_page_is_read_as_it_is_meant() -> None:
    """Blocks, notes, line numbers, links and headings are found; code is not taken for prose."""
    assert [(block.line, block.text, block.note) for block in blocks(PAGE)] == [
        (7, "x = 1\n", ""),
        (11, "x += 1\n", "continues"),
        (17, "connect()\n", "no-run: it needs a cluster"),
        (21, ">>> 1 + 1\n2\n", ""),
    ]
    assert [[block.line for block in program] for program in programs(PAGE)] == [[7, 11], [21]]
    assert [block.is_doctest for block in blocks(PAGE)] == [False, False, False, True]
    assert list(links(PAGE)) == [(4, "other.md"), (4, "#a-page")]
    assert anchors(PAGE) == {"a-page", "a-heading-with-parts"}


@pytest.mark.parametrize(
    "text, line",
    [
        ("assert 1 == 2", 40),
        ("import trio\nawait trio.sleep(0); raise ValueError", 41),
        (">>> 1 + 1\n2\n>>> 1 + 1\n3\n", 42),
    ],
)
def test_a_page_that_is_wrong_is_found(text: str, line: int, tmp_path: Path) -> None:
    """A program that fails and a doctest that differs are told with the line of the page."""
    with pytest.raises(AssertionError, match=rf"CHANGELOG\.md\", line {line},"):
        test_the_code_of_a_page_runs("CHANGELOG.md", [Block(40, text, "")], tmp_path)


def test_a_page_may_await_outside_functions(tmp_path: Path) -> None:
    """Blocks with `async with` at their outermost level are run by Trio, and share their names."""
    first = Block(1, "import trio\nasync with trio.open_nursery() as nursery:\n    pass\n", "")
    second = Block(9, "assert not nursery.child_tasks\nawait trio.sleep(0)\n", "continues")
    test_the_code_of_a_page_runs("CHANGELOG.md", [first, second], tmp_path)
