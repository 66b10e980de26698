"""Simulated networks, laws of CRDTs, and plans of operations and faults, for property-based tests.

What the project's own tests use, for your own code: none of it needs the registry. docs/testing.md
tells how, by worked examples.
"""

from importlib.util import find_spec as _find_spec

if _find_spec("hypothesis") is None:
    raise ModuleNotFoundError(
        "manifest.testing needs hypothesis: install it, or manifest with its extra testing, as in "
        'pip install ".[testing]" in a checkout of it',
        name="hypothesis",
    )

from .application import PORT, Application, Cluster, Node
from .chaos import ROUGH, Faults, plans
from .clocks import EPOCH, NodeClock
from .execution import NotDeterministic, Report, run_plan
from .laws import LAWS, LawBroken, LawsHeld, check_laws
from .network import Conditions, Host, SimulatedListener, SimulatedNetwork
from .plans import (
    TOPOLOGIES,
    Action,
    Block,
    Calm,
    Crash,
    Cut,
    Deafen,
    Do,
    Flow,
    Heal,
    Hear,
    Isolate,
    Leave,
    Pause,
    Plan,
    Restart,
    Resume,
    SetClock,
    SetDrift,
    Split,
    Stall,
    Step,
    Unblock,
)
from .scheduling import Livelock
from .soaking import simulate
from .streams import StreamEnd
from .trace import Happening, Trace

__all__ = [
    "EPOCH",
    "LAWS",
    "PORT",
    "ROUGH",
    "TOPOLOGIES",
    "Action",
    "Application",
    "Block",
    "Calm",
    "Cluster",
    "Conditions",
    "Crash",
    "Cut",
    "Deafen",
    "Do",
    "Faults",
    "Flow",
    "Happening",
    "Heal",
    "Hear",
    "Host",
    "Isolate",
    "LawBroken",
    "LawsHeld",
    "Leave",
    "Livelock",
    "Node",
    "NodeClock",
    "NotDeterministic",
    "Pause",
    "Plan",
    "Report",
    "Restart",
    "Resume",
    "SetClock",
    "SetDrift",
    "SimulatedListener",
    "SimulatedNetwork",
    "Split",
    "Stall",
    "Step",
    "StreamEnd",
    "Trace",
    "Unblock",
    "check_laws",
    "plans",
    "run_plan",
    "simulate",
]
