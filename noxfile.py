"""The checks of this project, each in an environment of its own.

`nox -l` lists them and `nox -s typing` runs one. What follows `--` goes to the tool:
`nox -s tests -- -k leases -n 2`. `run.py tests` runs lint and typing from here too, without
environments of their own (`--no-venv`). Nothing is fetched but packages from the index.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import nox

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)

nox.needs_version = ">=2025.5.1"
nox.options.sessions = ["lint", "typing", "coverage", "docs"]
nox.options.reuse_existing_virtualenvs = True
# A Python that is not here is skipped, and nox says so; it is never downloaded.
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"


@nox.session
def lint(session: nox.Session) -> None:
    """Style and likely bugs: ruff, its formatter, and flake8-async for what ruff does not see."""
    install(session, "lint", editable=False)
    session.run("python", "-m", "ruff", "check", *session.posargs)
    session.run("python", "-m", "ruff", "format", "--check")
    session.run("python", "-m", "flake8")


@nox.session
def typing(session: nox.Session) -> None:
    """Types: mypy, strict, on everything, and pyright, strict, on the package."""
    install(session, "typing")
    session.run("python", "-m", "mypy", *session.posargs)
    session.run("python", "-m", "mypy", "--python-version", "3.13", "manifest")
    # pyright is a node program; without a node here its wrapper would fetch one from elsewhere.
    if shutil.which("node") is None:
        session.warn("pyright is skipped: it needs node, and there is none on the PATH.")
        return
    session.run("python", "-m", "pyright", env={"PYRIGHT_PYTHON_GLOBAL_NODE": "1"})


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Every test, on each Python that is supported and installed here."""
    install(session, "test")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Every test on one Python; fails under 100 % of lines and branches of the package."""
    install(session, "test")
    # Last, for it would take a path after it for what to measure.
    session.run("python", "-m", "pytest", *session.posargs, "--cov")


@nox.session
def property(session: nox.Session) -> None:  # noqa: A001
    """The property tests, thoroughly: many more examples than in the other sessions."""
    install(session, "test")
    session.run(
        "python", "-m", "pytest", "tests/property", *session.posargs,
        env={"HYPOTHESIS_PROFILE": os.environ.get("HYPOTHESIS_PROFILE", "thorough")},
    )  # fmt: skip


@nox.session
def mutants(session: nox.Session) -> None:
    """Planted bugs: each must be noticed by the property tests within a minute. Prints a table."""
    install(session, "test")
    session.run("python", "-m", "tests.mutants", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Simulated clusters for ten minutes, or `-- --minutes 60`; writes down seeds that fail."""
    install(session, "test")
    session.run("python", "-m", "tests.soak", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Mutated frames for ten minutes, or `-- --frames 10_000_000`; writes down what was found."""
    install(session, "test")
    session.run("python", "-m", "tests.fuzz", *session.posargs)


@nox.session
def hostile(session: nox.Session) -> None:
    """Hostile peers on real sockets. Prints a table of figures; fails where one is missed."""
    install(session, "test")
    session.run("python", "-m", "tests.hostile", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """Real faults done to real processes, some of which need root; prints a table.

    `-- --repetitions 10`, `-- --only partition`.
    """
    install(session, "test")
    session.run("python", "-m", "tests.chaos", *session.posargs)


@nox.session
def leaks(session: nox.Session) -> None:
    """An hour of simulated load and ten minutes of real load; prints what grew, and fails there.

    `-- --only simulated --seconds 600`, `-- --only real --minutes 3`.
    """
    install(session, "test")
    session.run("python", "-m", "tests.leaks", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Speed beside peers on the same work: `-- --quick`, `-- --only join`, `-- --help`.

    The servers are those of the system's packages: redis-server, etcd-server and nats-server.
    """
    install(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)


DIGESTS: dict[str, str] = {}
"""What `replay` found first, to compare all other Pythons of the same run of nox with."""


@nox.session(python=PYTHONS)
def replay(session: nox.Session) -> None:
    """A thousand seeds, or `-- --seeds 50`, twice on each Python: one seed must be one run."""
    install(session, "test")
    for hash_seed in ("0", "4711"):
        command = ("python", "-m", "tests.property.digests", *session.posargs)
        said = session.run(*command, env={"PYTHONHASHSEED": hash_seed}, silent=True)
        digests = json.loads(str(said))
        differing = [seed for seed in digests if digests[seed] != DIGESTS.get(seed, digests[seed])]
        if differing:
            session.error(f"seeds {', '.join(differing)} make other runs here")
        DIGESTS.update(digests)
    session.log(f"{len(DIGESTS)} seeds, each the same run every time")


@nox.session
def docs(session: nox.Session) -> None:
    """What the documentation says: its code blocks and links, the examples, the doctests."""
    install(session, "test")
    session.run("python", "-m", "pytest", "manifest", "tests/test_docs.py", *session.posargs)


@nox.session(python=PYTHONS[0])
def oldest(session: nox.Session) -> None:
    """Every test on the oldest Python, with the oldest dependencies that pyproject.toml allows."""
    install(session, "test", editable=False)
    project = PROJECT["project"]
    bounds = sum(project["optional-dependencies"].values(), project["dependencies"])
    oldest_releases = [bound.replace(">=", "==") for bound in bounds]
    session.install("--editable", ".[certs,cli,testing]", *oldest_releases)
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """The sdist, the wheel made from it, and that wheel at work in a fresh environment."""
    install(session, "build", editable=False)
    dist = Path(session.create_tmp()) / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist))
    (wheel,) = dist.resolve().glob("*.whl")
    with tempfile.TemporaryDirectory() as elsewhere:
        session.run("python", "-m", "venv", elsewhere)
        scripts = Path(elsewhere, "Scripts" if sys.platform == "win32" else "bin")
        python = str(scripts / "python")
        # Away from the source tree, so that only what is installed can be imported.
        session.chdir(elsewhere)
        pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        session.run(*pip, str(wheel), external=True)
        session.run(python, "-c", SMOKE_TEST, external=True)
        session.run(*pip, f"{wheel}[certs,cli,testing]", external=True)
        session.run(python, "-c", "import manifest.crdt, manifest.testing", external=True)
        session.run(str(scripts / "manifest"), "--help", external=True)
        session.run(str(scripts / "manifest"), "certs", "a", external=True)
        session.run(python, "-m", "manifest", "--help", external=True)


SMOKE_TEST = """
import importlib.metadata, importlib.resources
import manifest, manifest.crdt, trio

assert importlib.metadata.version("trio-manifest") == manifest.__version__, manifest.__version__
assert importlib.resources.files("manifest").joinpath("py.typed").is_file(), "py.typed is missing"
found = {path.parts[0] for path in importlib.metadata.files("trio-manifest")}
assert found <= {"manifest", "..", f"trio_manifest-{manifest.__version__}.dist-info"}, found

async def main():
    async with manifest.open_manifest() as m:
        service = m.register("smoke@1.0.0", port=8080)
        assert list(m.get("smoke@^1")) == [service.id]

trio.run(main)
print("the installed package works:", manifest.__version__)
"""


def install(session: nox.Session, group: str, *, editable: bool = True) -> None:
    """Install a dependency group and, where it is wanted, this package; nothing under --no-venv."""
    if session.venv_backend == "none":
        return
    session.install(*nox.project.dependency_groups(PROJECT, group))
    if editable:
        session.install("--editable", ".[certs,cli,testing]")
