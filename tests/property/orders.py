"""Which order of tasks each plan of a cluster had: what is counted, and how much there is to be.

Nothing is imported here: what is measured must not be imported before the measuring begins.
"""

__all__ = ["FLOOR", "ORDERS"]

FLOOR = 2_000
"""How many different orders of tasks there are to be in the profile `ci`, and so as many plans."""
ORDERS: list[int] = []
"""The orders of the plans that were run in this process, and in those that reported to it."""
