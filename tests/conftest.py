"""What goes for all tests: how much the property tests try, how much that was, and logging.

The Hypothesis profile is the one that HYPOTHESIS_PROFILE names, or `ci`.

Clocks are chosen test by test: one that asks for `autojump_clock` runs in virtual time.

HYPOTHESIS_SHRINKING bounds the seconds that a failing case is shrunk for, which is up to five
minutes otherwise; 0 leaves it as it was found.

How many plans of clusters were run, and in how many orders of tasks, is counted and said at the
end, for all processes of pytest-xdist together. Where all of test_clusters.py has passed in the
profile `ci`, the orders have a floor, for nothing else would notice that little is drawn.
"""

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis.internal.conjecture import engine

from tests.property.orders import FLOOR, ORDERS

CLUSTERS = Path(__file__).parent / "property" / "test_clusters.py"
COUNTED = "orders of tasks"

# Where Hypothesis sees a CI system it changes its own defaults, and would try the same examples in
# every run; so whatever matters is set here.
settings.register_profile(
    "ci",
    max_examples=100,
    stateful_step_count=50,
    deadline=None,
    derandomize=False,
    print_blob=True,
)
settings.register_profile(
    "thorough", settings.get_profile("ci"), max_examples=5_000, stateful_step_count=100
)
if seconds := os.environ.get("HYPOTHESIS_SHRINKING"):
    # No public setting bounds this.
    engine.MAX_SHRINKING_SECONDS = int(seconds)
    phases = [Phase.explicit, Phase.generate, *([Phase.shrink] if int(seconds) else [])]
    for name in ("ci", "thorough"):
        settings.register_profile(name, settings.get_profile(name), phases=phases, database=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def logging_stays_on() -> Iterator[None]:
    """Undo what tools do that switch logging off for their process: other tests are in it."""
    yield
    logging.disable(logging.NOTSET)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Add what a process of pytest-xdist has counted."""
    # One that crashed has said nothing.
    ORDERS.extend(getattr(node, "workeroutput", {}).get(COUNTED, ()))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand over what was counted in a process of pytest-xdist, or fail where it is too little."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[COUNTED] = ORDERS
    elif is_whole(session) and len(set(ORDERS)) < FLOOR:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def is_whole(session: pytest.Session) -> bool:
    """Tell whether all of test_clusters.py has passed, with as many plans as there are in `ci`."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or settings().max_examples != 100:
        return False
    passed = {
        report.nodeid.rpartition("::")[2].partition("[")[0]
        for report in reporter.stats.get("passed", ())
        if f"{CLUSTERS.name}::" in report.nodeid
    }
    return passed >= {*re.findall(r"^def (test_\w+)", CLUSTERS.read_text("utf-8"), re.MULTILINE)}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was counted."""
    if ORDERS:
        found = f"{len(ORDERS):,} plans of clusters on {len(set(ORDERS)):,} orders of tasks"
        terminalreporter.write_line(f"{found} ({FLOOR:,} at least in all of `ci`)")
