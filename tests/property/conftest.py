"""Property tests are not measured: tracing doubles the time of each example, and more.

What the package's lines need to be reached, and how far, is the business of the other tests.

How many plans of clusters were run, and in how many orders of tasks, is counted and said at the
end; where pytest is given this directory also for all processes of pytest-xdist together. Where all
of test_clusters.py has passed in the profile `ci`, in one process, the orders have a floor, for
nothing else would notice that little is drawn.
"""

import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.property.cluster import ORDERS

FLOOR = 2_000
"""How many different orders of tasks there are to be, and so as many plans."""
COUNTED = "orders of tasks"


@pytest.fixture(autouse=True, scope="module")
def untraced() -> Iterator[None]:
    """Do without the tracer of coverage for a module, where there is one."""
    # Not by way of coverage, of which there are two in the processes of pytest-xdist.
    tracer = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracer)


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
    clusters = sys.modules.get("tests.property.test_clusters")
    if reporter is None or clusters is None or settings().max_examples != 100:
        return False
    passed = {
        report.nodeid.rpartition("::")[2].partition("[")[0]
        for report in reporter.stats.get("passed", ())
        if "test_clusters.py::" in report.nodeid
    }
    return passed >= {name for name in vars(clusters) if name.startswith("test_")}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was counted."""
    if ORDERS:
        found = f"{len(ORDERS):,} plans of clusters on {len(set(ORDERS)):,} orders of tasks"
        terminalreporter.write_line(f"{found} ({FLOOR:,} at least in all of `ci`)")
