"""The command lines of the tools in here: what is written wrongly is never taken for a run."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE

import pytest

from manifest.testing import Report
from tests import fuzz, leaks, mutants, soak
from tests.chaos import __main__ as chaos
from tests.chaos.faults import FAULTS
from tests.commands import amount, count, seeds
from tests.memory import Growth

ROOT = Path(__file__).parents[1]
MAINS: dict[str, Callable[[Sequence[str]], int]] = {
    "mutants": mutants.main,
    "soak": soak.main,
    "fuzz": fuzz.main,
    "leaks": leaks.main,
    "chaos": chaos.main,
}


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a tool fail that goes to work, rather than run for minutes."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*_: object, **__: object) -> None:
        # No Exception, which a soak would take for a failing seed, and go on.
        pytest.fail("it went to work")

    for module, name in (
        (mutants, "judge"),
        (soak, "run_seed"),
        (soak, "heal_seed"),
        (fuzz, "ProcessPoolExecutor"),
        (leaks, "_report"),
        (chaos, "_run"),
    ):
        monkeypatch.setattr(module, name, run)


def said_by(tool: str, arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """Return the exit status of a tool that ends where it reads its command line, and its words."""
    with pytest.raises(SystemExit) as end:
        MAINS[tool](arguments.split())
    said = capsys.readouterr()
    return end.value.code, said.out + said.err


@pytest.mark.parametrize("tool, arguments, right", [
    ("mutants", "lease nosuchmutant", "no mutant with 'nosuchmutant' in its name; there are:"),
    ("soak", "--minutes 0", "'0' is not a number above 0"),
    ("soak", "--minutes -1", "'-1' is not a number above 0"),
    ("soak", "--minutes nan", "'nan' is not a number above 0"),
    ("soak", "--minutes inf", "'inf' is not a number above 0"),
    ("soak", "--seeds 7:3", "'7:3' is not a range of seeds A:B"),
    ("soak", "--seeds 5", "'5' is not a range of seeds A:B"),
    ("soak", "--seeds a:b", "'a:b' is not a range of seeds A:B"),
    ("soak", "--healing 0", "'0' is not a whole number from 1 on"),
    ("fuzz", "--minutes 0", "'0' is not a number above 0"),
    ("fuzz", "--slowest -1", "'-1' is not a number above 0"),
    ("fuzz", "--frames -1", "'-1' is not a whole number from 1 on"),
    ("fuzz", "--jobs 0", "'0' is not a whole number from 1 on"),
    ("fuzz", "--seeds x", "'x' is not a range of seeds A:B"),
    ("fuzz", "--seeds 3:", "'3:' is not a range of seeds A:B"),
    ("leaks", "--only simulated --seconds 0", "'0' is not a number above 0"),
    ("leaks", "--only simulated --seconds 119", "--seconds is 120 or more, got 119"),
    ("leaks", "--only real --minutes 0.5", "--minutes is 1 or more, got 0.5"),
    ("chaos", "--repetitions 0", "'0' is not a whole number from 1 on"),
    ("chaos", "--repetitions two", "'two' is not a whole number from 1 on"),
])  # fmt: skip
def test_what_would_do_nothing_is_a_usage_error(
    tool: str, arguments: str, right: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tool that is told to do nothing, or nonsense, says what is right and fails."""
    status, said = said_by(tool, arguments, capsys)
    assert status == 2
    assert said.startswith(f"usage: python -m tests.{tool} ")
    assert right in said


def test_mutants_are_listed_where_none_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever mistypes a mutant's name sees all of them."""
    _, said = said_by("mutants", "nosuchmutant", capsys)
    assert all(f"\n  {mutant.name}\n" in said for mutant in mutants.MUTANTS)


@pytest.mark.parametrize("arguments, status", [("--help", 0), ("--only half-open,", 2)])
def test_faults_are_listed_as_they_are_written(
    arguments: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each has a line, on which a shell reads the one word that --only takes."""
    ended, said = said_by("chaos", arguments, capsys)
    assert ended == status
    listed = said.partition("there are:\n" if status else "faults:\n")[2].splitlines()
    assert [shlex.split(line) for line in listed] == [[name] for name in FAULTS]


@pytest.mark.parametrize("tool, expected", [
    ("mutants", ["[word ...]", "default: all mutants"]),
    ("soak", ["--seeds A:B", "default: 0:1000000", "default: 10"]),
    ("fuzz", ["--seeds A:B", "default: 0:1000000000", "default: 10", "default: 5", "one for each"]),
    ("leaks", ["default: 3600", "default: 10", "default: one after the other"]),
    ("chaos", ["default: 3", "--only FAULT", "default: all of them"]),
])  # fmt: skip
def test_help_names_forms_and_defaults(
    tool: str, expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """--help says how the tool is called, how each option is written, and what holds without."""
    status, said = said_by(tool, "--help", capsys)
    said = " ".join(said.split())
    assert status == 0
    assert said.startswith(f"usage: python -m tests.{tool} ")
    assert not [each for each in expected if each not in said]


def press() -> None:
    """Do what Ctrl-C does to this process."""
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupted_soak_says_how_far_it_came(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The seed that runs is ended and counted, no other is begun, and Ctrl-C is as it was."""

    def run_seed(seed: int) -> Report:
        if seed == 2:
            press()
        return Report("", 0, 2_000.0, 0, 0, 0, 0.0)

    monkeypatch.setattr(soak, "run_seed", run_seed)
    before = signal.getsignal(signal.SIGINT)
    assert soak.main(["--seeds", "0:9"]) == 130
    assert signal.getsignal(signal.SIGINT) is before
    said = capfd.readouterr()
    *_, progress, last = said.out.splitlines()
    assert progress.startswith("3 seeds, 6,000 virtual s in")
    assert progress.endswith("failed: none")
    assert last == "interrupted"
    assert "once more to end at once" in said.err


@pytest.mark.parametrize("slowest, status", [(1.1, 0), (1.2, 1)])
def test_healing_is_held_to_its_bound(
    slowest: float,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One seed of one topology that takes longer fails the run, and is named."""

    def heal(seed: int, topology: str) -> float:
        return slowest if (seed, topology) == (1, "mesh") else 0.25

    monkeypatch.setattr(soak, "heal_seed", heal)
    assert soak.main(["--healing", "2"]) == status
    said = capsys.readouterr()
    said_last = (said.out + said.err).splitlines()[-4:]
    assert said_last[:2] == [
        "ring: 0.25 s at the most in 2 seeds",
        f"mesh: {slowest:.2f} s at the most in 2 seeds",
    ]
    assert said_last[3].endswith("exceeded: {('mesh', 1): 1.2}" if status else "exceeded: never")


def test_interrupted_mutants_say_which_were_judged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was found before Ctrl-C stands in the table, and is what is summed up."""
    verdicts = iter([mutants.Verdict("test_x", 1.0, ""), mutants.Verdict(None, 9.0, "")])

    def judge(_: mutants.Mutant) -> mutants.Verdict:
        try:
            return next(verdicts)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(mutants, "judge", judge)
    assert mutants.main([]) == 130
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 6
    assert said[-1] == f"1 of 2 killed; interrupted at: {mutants.MUTANTS[2].name}"


def test_an_interrupted_simulation_of_leaks_is_left_soon() -> None:
    """It ends within ten virtual seconds, long before anything is sampled."""
    assert leaks.PARTS["simulated"](3_600.0, lambda: True) == {"all": []}


@pytest.mark.parametrize("part, judged", [(0, "nothing"), (1, "simulated")])
def test_interrupted_leaks_say_what_was_judged(
    part: int,
    judged: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The verdict on what has ended is given, and what was interrupted is not taken for flat."""
    begun: list[str] = []

    def report(kind: str, seconds: float, stop: leaks.Stop) -> list[Growth]:
        begun.append(kind)
        if len(begun) > part:
            press()
            assert stop()
            return []
        return [Growth("tasks", 1.0, 9.0, 1.0, 9.0, 8.0, 0.5)]

    monkeypatch.setattr(leaks, "_report", report)
    assert leaks.main([]) == 130
    assert begun == [*leaks.PARTS][: part + 1]
    said = capfd.readouterr().out
    assert said.endswith(f"interrupted; judged at its end was: {judged}\n")
    assert ("too steep: tasks\n" in said) == (judged != "nothing")
    assert "too steep: nothing" not in said


def test_an_interrupted_fuzzer_leaves_no_process(tmp_path: Path) -> None:
    """Ctrl-C in a terminal reaches all its processes: they end without a word, and it sums up."""
    fuzzer = subprocess.Popen(
        [sys.executable, "-m", "tests.fuzz", "--jobs", "2"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )
    try:
        assert fuzzer.stdout is not None
        began = b""
        while b" frames in " not in began:
            chunk = os.read(fuzzer.stdout.fileno(), 4096)
            assert chunk, "it ended by itself"
            began += chunk
        os.killpg(fuzzer.pid, signal.SIGINT)
        said, errors = fuzzer.communicate(timeout=60)
        assert (fuzzer.returncode, errors) == (130, b"")
        assert b"| mutated frames | " in said
        assert said.endswith(b"\n\ninterrupted\n")
        with pytest.raises(ProcessLookupError):
            os.killpg(fuzzer.pid, signal.SIGKILL)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(fuzzer.pid, signal.SIGKILL)
        fuzzer.communicate()


def test_what_is_right_is_read() -> None:
    """The bounds themselves are taken, and so are blanks and underscores in figures."""
    assert (count("1"), count("10_000"), amount("1e-3"), seeds("-1:0")) == (
        1, 10_000, 0.001, range(-1, 0)
    )  # fmt: skip
    for parse in (count, amount, seeds):
        with pytest.raises(argparse.ArgumentTypeError):
            parse("")
