"""The digests of simulations by their seeds, to be compared between processes and Pythons.

python -m tests.property.digests --seeds 1000
"""

import argparse
import json
import logging

from manifest.testing import Faults, simulate
from tests.property.cluster import RegistryCluster, some_operation

__all__ = ["digest_of"]


def digest_of(seed: int) -> str:
    """Return the digest of twenty seconds of everything."""
    faults = Faults(clock_offset=2.0, clock_drift=0.001)
    return simulate(
        RegistryCluster, some_operation, seed=seed, seconds=20.0, nodes=3, faults=faults
    ).digest


def main() -> None:
    """Print the digest of each seed as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    logging.disable()
    print(  # noqa: T201 - its output
        json.dumps({seed: digest_of(seed) for seed in range(given.first, given.seeds)}, indent=0)
    )


if __name__ == "__main__":
    main()
