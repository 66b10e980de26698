"""Whole clusters, simulated: everything that can go wrong, in every order that is drawn.

The invariants are those of `RegistryCluster`.
"""

from hypothesis import given, settings

from manifest.testing import Faults, Plan, plans, run_plan

from .cluster import OPERATIONS, RegistryCluster

EVERYTHING = Faults(clock_offset=2.0, clock_drift=0.001)


@given(plans(OPERATIONS, faults=EVERYTHING, max_steps=25, nodes=(2, 4)))
@settings(max_examples=300)
def test_clusters_converge(plan: Plan) -> None:
    """Whatever goes wrong, invariants hold at every step, and all agree in the end."""
    run_plan(RegistryCluster, plan)
