#!/usr/bin/env python3
"""Sets up what a command needs in .venv beside this file, once, and runs it.

    python3 run.py demo              a mesh of real processes on this machine, told step by step
    python3 run.py tests             lint, types and every test, with coverage
    python3 run.py tests -k leases   pytest alone, with these arguments

It needs Python 3.11 or later and a package index, and nothing else. What it installs is installed
again when pyproject.toml, the Python version or the place of this directory has changed. The exit
status is that of the command.
"""

import sys

# Everything in this file must parse on an old Python too, or this message would never be seen.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        "This is Python {}.{} ({}), and manifest needs 3.11 or later.\n"
        "Install one, or name it: python3.11 run.py {}".format(
            sys.version_info[0], sys.version_info[1], sys.executable, " ".join(sys.argv[1:])
        )
    )

import hashlib
import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent
PROJECT = ROOT / "pyproject.toml"
VENV = ROOT / ".venv"
# Says that this script made the .venv, from what, and for which commands it is ready.
MARKER = VENV / "made-by-run.txt"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
# What each command needs: extras of the package, and a dependency group of pyproject.toml.
NEEDS: dict[str, tuple[str, str | None]] = {
    "demo": ("cli", None),
    "tests": ("certs,cli,testing", "dev"),
}
# How many processes share the tests; 0 runs them all in one.
WORKERS = 2


def main() -> NoReturn:
    """Run the command that the command line names, and leave with its exit status."""
    command, *arguments = sys.argv[1:] or ["--help"]
    if command in ("-h", "--help"):
        print(__doc__)
        sys.exit(0)
    if command not in NEEDS:
        print(f"There is no command {command!r}; there are: {', '.join(NEEDS)}.", file=sys.stderr)
        sys.exit(2)
    prepare(command)
    if command == "demo":
        replace_by("manifest", "demo", *arguments)
    if arguments:
        replace_by("pytest", *arguments)
    sys.exit(check_everything())


def check_everything() -> int:
    """Lint, check the types and run the tests, one failing or not; 0 where all passed."""
    checks = run("nox", "--no-venv", "--session", "lint", "typing")
    tests = run("pytest", "--cov", "--numprocesses", str(WORKERS), "--dist", "loadgroup")
    if checks:
        say("lint or typing failed: their findings stand above the tests.")
    return checks or tests


def prepare(command: str) -> None:
    """Have a .venv with what the command needs; costs nothing where it is there already."""
    if VENV.exists() and not MARKER.exists():
        sys.exit(f"{VENV} was not made by this script. Move it away, or use it by hand.")
    key = fingerprint()
    made_from, *ready = MARKER.read_text().split() if MARKER.exists() else ["nothing"]
    if made_from != key or not PYTHON.exists():
        make_venv()
        ready = []
    if command not in ready:
        say(f"installing what `{command}` needs into .venv, once ...")
        install(command)
        MARKER.write_text(" ".join([key, *ready, command]))


def fingerprint() -> str:
    """Return what a .venv depends on, as one word."""
    depends_on = PROJECT.read_bytes(), str(ROOT), sys.version_info[:2]
    return hashlib.sha256(repr(depends_on).encode()).hexdigest()


def make_venv() -> None:
    """Make an empty .venv in the place of what is there."""
    say(f"making .venv with Python {sys.version.split()[0]} ...")
    shutil.rmtree(VENV, ignore_errors=True)
    VENV.mkdir()
    # First of all, so that the next run knows what an interrupted one leaves for its own.
    MARKER.write_text("nothing")
    # The base interpreter: this one may be the very .venv that was just removed.
    base = getattr(sys, "_base_executable", None) or sys.executable
    if subprocess.call([base, "-m", "venv", str(VENV)]):
        sys.exit("The .venv could not be made. On Debian and Ubuntu: apt install python3-venv")


def install(command: str) -> None:
    """Install the package, editable, and what else the command needs; leave where pip fails."""
    extras, group = NEEDS[command]
    groups = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["dependency-groups"]
    requirements = group_requirements(groups, group) if group else []
    pip = ("pip", "install", "--quiet", "--quiet", "--disable-pip-version-check")
    if run(*pip, "--editable", f".[{extras}]", *requirements):
        sys.exit("Installing failed, for the reason that pip gives above; nothing was run.")


def group_requirements(groups: dict[str, list[Any]], name: str) -> list[str]:
    """Return what a dependency group asks for (PEP 735); pip reads these itself from 25.1 on."""
    found: list[str] = []
    for item in groups[name]:
        if isinstance(item, str):
            found.append(item)
        else:
            found += group_requirements(groups, item["include-group"])
    return found


def run(module: str, *arguments: str) -> int:
    """Run a module with the .venv's Python from the top of the project; return its exit status."""
    return subprocess.call([str(PYTHON), "-m", module, *arguments], cwd=ROOT, env=environment())


def replace_by(module: str, *arguments: str) -> NoReturn:
    """Become a module run with the .venv's Python, so that signals and exit status are its own."""
    if os.name == "nt":  # where exec would give the terminal back at once
        sys.exit(run(module, *arguments))
    os.chdir(ROOT)
    os.execve(PYTHON, [str(PYTHON), "-m", module, *arguments], environment())


def environment() -> dict[str, str]:
    """Return this process's environment with the .venv activated."""
    path = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "VIRTUAL_ENV": str(VENV)}


def say(message: str) -> None:
    """Print a line about what this script does, before what the command itself prints."""
    print(f"run.py: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
