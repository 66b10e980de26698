"""Property tests are not measured: tracing doubles the time of each example, and more.

What the package's lines need to be reached, and how far, is the business of the other tests.
"""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def untraced() -> Iterator[None]:
    """Do without the tracer of coverage for a module, where there is one."""
    # Not by way of coverage, of which there are two in the processes of pytest-xdist.
    tracer = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracer)
