"""What goes for all tests: how much the property tests try, and that logging is on.

The Hypothesis profile is the one that HYPOTHESIS_PROFILE names, or `ci`.

Clocks are chosen test by test: one that asks for `autojump_clock` runs in virtual time.

HYPOTHESIS_SHRINKING bounds the seconds that a failing case is shrunk for, which is up to five
minutes otherwise; 0 leaves it as it was found.
"""

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import Phase, settings
from hypothesis.internal.conjecture import engine

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
