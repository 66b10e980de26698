"""Property tests are not measured: tracing doubles the time of each example.

What the package's lines need to be reached, and how far, is the business of the other tests.
"""

from collections.abc import Iterator

import coverage
import pytest


@pytest.fixture(autouse=True, scope="module")
def untraced() -> Iterator[None]:
    """Do without coverage for a module, where it is measured at all."""
    measuring = coverage.Coverage.current()
    if measuring is not None:
        measuring.stop()
    yield
    if measuring is not None:
        measuring.start()
