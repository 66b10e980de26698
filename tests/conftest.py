"""How much the property tests try: the Hypothesis profile that HYPOTHESIS_PROFILE names, or `ci`.

Clocks are chosen test by test: one that asks for `autojump_clock` runs in virtual time.
"""

import os

from hypothesis import settings

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
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
