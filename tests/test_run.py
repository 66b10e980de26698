"""The script that a newcomer runs first, where it has nothing to set up."""

import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).parents[1] / "run.py"


def test_an_unknown_command_is_a_usage_error() -> None:
    """Whoever mistypes a command sees all of them, nothing is installed, and the status is 2."""
    done = subprocess.run(
        [sys.executable, str(RUN), "tset"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "There is no command 'tset'; there are: demo, tests.\n"
