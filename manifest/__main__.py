"""The way in to the command line: `manifest` and `python -m manifest`.

Its invariant: without the extra `cli` it says in one line what to install. So nothing is imported
from `manifest.cli` before click and rich are known to be there.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command that the process's arguments name, and exit with its status."""
    missing = [package for package in ("click", "rich") if find_spec(package) is None]
    if missing:
        sys.stderr.write(
            f"manifest: the command line needs {' and '.join(missing)}: "
            'install them with pip install ".[cli]" in a checkout of it\n'
        )
        sys.exit(2)
    try:
        from .cli.app import run  # noqa: PLC0415 - not to be had without them

        status = run()
    except KeyboardInterrupt:
        # Ctrl-C before or after the command's own handling of it.
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
