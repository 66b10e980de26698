"""The mechanics of the benchmarks: statistics, tables, pages, and that each side can be told what.

What they measure is nobody's promise and is not tested; that they measure at all is.
"""

import argparse
import ast
import doctest
import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from benchmarks import __main__ as command
from benchmarks import (
    commands,
    compare,
    growth,
    layers,
    measuring,
    micro,
    pages,
    processes,
    retention,
    scenes,
    tables,
)
from benchmarks.hands import Hand, Pair
from benchmarks.processes import NodeProcess, Server, Stage, Unable
from benchmarks.sides import talking
from manifest import open_manifest

ROOT = Path(__file__).parents[1]
MODULES = (commands, measuring, tables, compare, growth, micro, layers)
MACHINE = {"date": "2026-11-23", "processor": "2 x some", "python": "3.11.7"}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_examples_in_docstrings_are_right(module: Any) -> None:
    """What a docstring of the benchmarks shows is what comes out."""
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0


@pytest.mark.parametrize("values, share, found", [
    ([3, 1, 2], 0.5, 2),
    ([4, 3, 2, 1], 0.5, 2),
    (range(1, 201), 0.99, 198),
    ([7], 0.99, 7),
    ([1, 2], 1, 2),
])  # fmt: skip
def test_percentiles_are_measured_values(values: Any, share: float, found: float) -> None:
    """A percentile is the nearest rank: the least value that so large a share does not exceed."""
    assert measuring.percentile(values, share) == found


def test_statistics_of_nothing_are_refused() -> None:
    """No measurement is no figure, rather than a zero in a table."""
    with pytest.raises(ValueError, match="one measurement or more, got none"):
        measuring.Spread.of([])
    with pytest.raises(ValueError, match=r"got 0 and 0\.5"):
        measuring.percentile([], 0.5)
    with pytest.raises(ValueError, match="got 1 and 0"):
        measuring.percentile([1], 0)


def test_the_machine_is_described() -> None:
    """Where something was measured says when, with what, and only of packages that are there."""
    said = measuring.machine("trio", "no-such-package")
    assert {"date", "processor", "load", "system", "python", "trio"} == said.keys()


@pytest.mark.parametrize("value, text", [
    (0.0, "0"), (123_456.0, "123,000"), (9.996, "10"), (0.5, "0.5"), (-12.34, "-12.3"),
    (float("inf"), "inf"),
])  # fmt: skip
def test_figures_have_three_digits(value: float, text: str) -> None:
    """A figure shows three digits that count, whatever its size."""
    assert tables.figure(value) == text


PAGE = """# Page
<!-- figures: micro -->
old
<!-- end of figures -->
between
<!-- figures: growth -->
<!-- end of figures -->
"""


def test_only_the_marked_place_is_replaced() -> None:
    """Filling one place leaves prose, the other places and the markers as they were."""
    filled = tables.fill(PAGE, "micro", "new\n")
    assert filled == PAGE.replace("old", "\nnew\n")
    assert tables.fill(filled, "micro", "old").replace("\nold\n\n", "old\n") == PAGE
    assert tables.marked(filled) == ["micro", "growth"]


@pytest.mark.parametrize("page, count", [("", 0), (PAGE + PAGE, 2)])
def test_a_place_that_is_not_there_once_is_refused(page: str, count: int) -> None:
    """Figures are written to one place or to none, never to the wrong one."""
    with pytest.raises(ValueError, match=f"got {count} of them"):
        tables.fill(page, "micro", "new")


def test_what_is_quick_says_so() -> None:
    """Figures of a quick run never look like results."""
    said = tables.measured_on(MACHINE, repetitions=1, quick=True)
    assert "2026-11-23" in said
    assert "no result" in said
    assert "no result" not in tables.measured_on(MACHINE, repetitions=5, quick=False)


COMPARED = {
    "machine": MACHINE,
    "repetitions": 3,
    "quick": False,
    "measures": {
        "round-trip": {"what": "bare", "unit": "ms", "goal": ""},
        "register-p50": {"what": "seen", "unit": "ms", "goal": "0.3"},
        "equal-bytes": {"what": "equal", "unit": "B", "goal": "1,000"},
    },
    "sides": {
        "manifest": {"how": "linked", "version": "1"},
        "redis": {"how": "keys", "version": "7"},
        "nats": {"how": "a bucket", "version": "2"},
    },
    "results": {
        "round-trip": {"bare": [0.1]},
        "register-p50": {"manifest": [0.2, 0.3, 0.1], "redis": [0.9], "nats": [0.5, 0.4, 0.6]},
        "equal-bytes": {"manifest": [500.0]},
    },
    "failed": {"redis: many": "no answer within 60 s"},
    "skipped": {"etcd": "no etcd here"},
}


def test_a_comparison_reads_as_a_table() -> None:
    """A row has the goal, all sides with their spread, and the best peer as a ratio."""
    text = compare.to_markdown(COMPARED)
    assert "| work | goal | manifest | redis | nats | best peer / manifest |" in text
    assert "| seen, ms | 0.3 | 0.2 (0.1 to 0.3) | 0.9 | 0.5 (0.4 to 0.6) | 2.5 (nats) |" in text
    assert "| equal, B | 1,000 | 500 | - | - |  |" in text
    assert "takes 0.1 ms; a registration is seen after 2.0 of them." in text
    assert "- Failed: redis: many: no answer within 60 s." in text
    assert "- Not measured: etcd: no etcd here." in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {7}


def test_what_is_not_compared_anew_is_kept() -> None:
    """Rows of other scenes stay, with the day and machine of their run, however often that is."""
    first = {
        **COMPARED, "machine": {**MACHINE, "date": "2026-11-21"},
        "failed": {"redis: many": "slow", "redis: pair": "gone"},
    }  # fmt: skip
    now = {
        **COMPARED,
        "sides": {"manifest": {"how": "linked", "version": "2"}},
        "measures": {"register-p50": {"what": "seen", "unit": "ms", "goal": "0.3"}},
        "results": {"register-p50": {"manifest": [0.7]}},
        "failed": {},
    }
    pair, bare = scenes.SCENES["pair"], scenes.SCENES["bare"]
    merged = compare.keep(first, now, [pair])
    assert [*merged["measures"]] == ["round-trip", "register-p50", "equal-bytes"]
    assert merged["failed"] == {"redis: many": "slow"}
    text = compare.to_markdown(merged)
    assert "| seen, ms | 0.3 | 0.7 | - | - |  |" in text
    assert "| equal, B | 1,000 | 500 | - | - |  |" in text
    assert "Measured on 2026-11-23, " in text
    assert "- Of an earlier run: bare; equal. Measured on 2026-11-21, " in text
    # A round trip of another day says nothing of this registration.
    assert "takes 0.1 ms." in text
    again = {
        **now,
        "machine": {**MACHINE, "date": "2026-11-25"},
        "measures": {"round-trip": {"what": "bare", "unit": "ms", "goal": ""}},
        "results": {"round-trip": {"bare": [0.2]}},
    }
    merged = compare.keep(merged, again, [bare])
    kept = [(run["machine"]["date"], run["measures"]) for run in merged["kept"]]
    assert kept == [("2026-11-23", ["register-p50"]), ("2026-11-21", ["equal-bytes"])]
    assert merged["results"]["round-trip"] == {"bare": [0.2]}


def test_a_slower_path_is_seen() -> None:
    """A report against an earlier one shows how many times as long each path takes."""
    now = {"machine": MACHINE, "repetitions": 5, "quick": False, "microseconds": {"get": [4.0]}}
    then = {**now, "microseconds": {"get": [2.0], "gone": [1.0]}}
    text = micro.to_markdown(now, then)
    assert "| get | get(role): 100 of 10,000 | 4 | 2 |" in text
    assert "| get | get(role): 10 of 1,000 | 4 |" in micro.to_markdown({**now, "quick": True})


def test_hot_paths_do_what_they_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is timed has happened: services have gone and come, tombstones are gone, marks on."""
    hands: list[Hand] = []
    pairs: list[Pair] = []

    def make_hand() -> Hand:
        hands.append(Hand())
        return hands[-1]

    def make_pair(one: Hand | None = None, other: Hand | None = None) -> Pair:
        pairs.append(Pair(one or Hand(), other or Hand()))
        return pairs[-1]

    monkeypatch.setattr(micro, "Hand", make_hand)
    monkeypatch.setattr(micro, "Pair", make_pair)

    async def run() -> None:
        async with open_manifest() as manifest:
            ready = {path.name: path.ready for path in micro.PATHS}
            turn, _ = ready["turn"](100, manifest)
            services, told = pairs[0].other.replica.view.services, pairs[0].other.events
            assert len(services) == 10
            turn()
            assert pairs[0].other.events - told == 20
            assert len(services) == 10
            prune, count = ready["prune"](100, manifest)
            assert hands[-1].replica.map.tombstones == count == 100
            prune()
            assert hands[-1].replica.map.tombstones == 0
            relay, frames = ready["relay"](10, manifest)
            passing = pairs[-1].ends[0]
            before = passing.traffic.bytes_sent
            relay()
            # Each of ten heartbeats takes eight bytes or more of a frame.
            assert passing.traffic.bytes_sent - before > frames * 10 * 8
            picked = next(path for path in micro.PATHS if path.name == "pick-many")
            picked.ready(10, manifest)
            assert len(manifest.get("crowd")) == 100
            picked.undo(manifest)
            assert not manifest.services()

    trio.run(run)


def test_micro_measures_and_compares(tmp_path: Path) -> None:
    """The micro-benchmarks write JSON, and fail where a limit is exceeded by what it was before."""
    report = tmp_path / "before.json"
    base = ["--quick", "--repetitions", "1", "--only", "miss"]
    micro.main([*base, "--json", str(report)])
    assert "| miss |" in report.with_suffix(".md").read_text("utf-8")
    before = json.loads(report.read_text("utf-8"))
    assert before["microseconds"]["miss"][0] > 0
    before["microseconds"]["miss"] = [1e-9]
    report.write_text(json.dumps(before), "utf-8")
    again = [*base, "--json", str(tmp_path / "after.json"), "--against", str(report)]
    micro.main(again)
    with pytest.raises(SystemExit, match="more than 2 times as long as before: miss"):
        micro.main([*again, "--limit", "2"])


@pytest.mark.parametrize("topology", growth.TOPOLOGIES)
@pytest.mark.parametrize("nodes", [2, 3, 7, 8, 50])
def test_topologies_are_what_they_are_called(topology: str, nodes: int) -> None:
    """All nodes are connected, no two are linked twice, and each has as many links as it should."""
    dialled = growth.neighbours(topology, nodes)
    pairs = [frozenset((one, other)) for one, those in enumerate(dialled) for other in those]
    assert len(pairs) == len({*pairs})
    reached = {0}
    for _ in range(nodes):
        reached |= {node for pair in pairs if pair & reached for node in pair}
    assert len(reached) == nodes
    links = [sum(node in pair for pair in pairs) for node in range(nodes)]
    degree = {"ring": 2, "mesh 3": 3, "mesh 6": 6}.get(topology)
    if degree is not None:
        assert min(links) == min(degree, nodes - 1)
        assert max(links) <= degree + 1


def test_a_cluster_is_measured_in_simulation() -> None:
    """A write is everywhere after as many rounds as there are hops, and all nodes are believed."""
    measured = growth.measure_nodes(5, "tree", 1)
    assert measured["nodes believed, least"] == 5
    assert 2 <= measured["rounds until a write is everywhere"] <= 4
    assert measured["B/s a node"] > 0
    assert measured["links a node"] == 1.6
    assert measured["entries a link for a write"] == 1
    # What is measured is whole rounds of heartbeats, and each of them costs the same.
    longer = growth.measure_nodes(5, "tree", 7)
    assert longer["B/s a link"] == pytest.approx(measured["B/s a link"], rel=1e-9)


def test_a_longer_retention_costs_fewer_bytes_and_more_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Renewals grow rarer, and cost a fraction without their values; tombstones add up."""
    retention.main(
        ["--services", "500", "--retentions", "600", "3600", "--directory", str(tmp_path)]
    )
    report = json.loads((tmp_path / "retention.json").read_text("utf-8"))
    short, long = (report["services"]["500"][each] for each in ("600", "3600"))
    assert 3 * long["with values"] < short["with values"]
    assert short["without values"] < short["with values"] / 2
    assert 50 < report["tombstone, bytes"] < 2000
    said = capsys.readouterr().out
    assert said == (tmp_path / "retention.md").read_text("utf-8")
    assert said == retention.to_markdown(report) + "\n"
    assert "Counted on " in said
    assert "median" not in said
    assert "| 10 min |" in said
    assert "| 1 h |" in said
    if importlib.util.find_spec("matplotlib") is not None:
        assert (tmp_path / "retention.png").stat().st_size > 1000


def test_growth_is_drawn_and_told(tmp_path: Path) -> None:
    """The report of growth reads as two tables, and as a picture where matplotlib is there."""
    services = {name: [value, 2 * value] for name, value in growth.measure_services(10).items()}
    report = {
        "services": {
            "machine": MACHINE,
            "repetitions": 2,
            "quick": True,
            "measured": {"10": services},
        },
        "nodes": {
            "machine": {**MACHINE, "date": "2026-11-24"},
            "quick": False,
            "measured": {"ring": {"2": growth.measure_nodes(2, "ring", 1)}},
        },
    }
    first, second = growth.to_markdown(report).split("| topology |")
    assert "Measured on 2026-11-23, median (least to greatest) of 2: " in first
    assert "no result" in first
    assert set(growth.measure_services(10)) == {*growth._SERVICE_ROWS}
    widest = tables.spread(measuring.Spread.of(services["join, ms"]))
    assert f"| join, ms | {widest} |" in first
    assert "| ring | 2 | 1 |" in second
    assert "Each cluster is simulated once, " in second
    assert "Measured on 2026-11-24, once: " in second
    assert "no result" not in second
    if importlib.util.find_spec("matplotlib") is not None:
        growth.plot(report, tmp_path / "growth.png")
        assert (tmp_path / "growth.png").stat().st_size > 1000


def test_what_growth_does_not_measure_it_keeps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Services and nodes can be measured on different days, and each table says its own."""
    there = ["--directory", str(tmp_path), "--topologies", "tree", "--heartbeats", "1"]
    report = tmp_path / "growth.json"
    growth.main([*there, "--services", "10", "--repetitions", "1", "--nodes"])
    first = json.loads(report.read_text("utf-8"))
    assert first.keys() == {"services"}
    assert first["services"]["quick"] is True
    first["services"]["machine"]["date"] = "2026-01-02"
    report.write_text(json.dumps(first), "utf-8")
    growth.main([*there, "--services", "--nodes", "3"])
    both = json.loads(report.read_text("utf-8"))
    assert both.keys() == {"services", "nodes"}
    assert both["services"] == first["services"]
    assert both["nodes"]["quick"] is False
    assert growth.to_markdown(both) + "\n" == (tmp_path / "growth.md").read_text("utf-8")
    assert "Measured on 2026-01-02, once: " in (tmp_path / "growth.md").read_text("utf-8")
    growth.main([*there, "--services", "10", "--repetitions", "1", "--nodes", "2"])
    anew = json.loads(report.read_text("utf-8"))
    assert anew["services"]["machine"]["date"] != "2026-01-02"
    assert anew["nodes"]["measured"].keys() == {"tree"}
    assert anew["nodes"]["measured"]["tree"].keys() == {"2"}
    with pytest.raises(SystemExit):
        growth.main([*there, "--services", "--nodes"])
    assert "there is nothing to measure" in capsys.readouterr().err


def test_a_pair_moved_by_hand_agrees() -> None:
    """What one hand registers the other has once it is carried, and then nothing more is said."""
    pair = Pair()
    pair.one.fill(3)
    assert pair.carry() > 0
    assert pair.one.replica.map == pair.other.replica.map
    assert pair.carry() == 0


def test_every_module_belongs_to_a_layer() -> None:
    """No part of the library is counted as something else in a profile, but for the commands."""
    names = {
        path.stem for path in (ROOT / "manifest").iterdir() if path.stem.strip("_") == path.stem
    }
    listed = " ".join(layers.LAYERS.values()).split()
    assert len(listed) == len({*listed})
    assert {*listed} == names - {"cli", "py"}


def test_a_profile_adds_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each layer has its calls, the same in each run, and all of them together have all time."""
    layers.main(["--quick", "--directory", str(tmp_path)])
    report = json.loads((tmp_path / "profile.json").read_text("utf-8"))
    said = capsys.readouterr().out
    assert said == (tmp_path / "profile.md").read_text("utf-8")
    assert "no result" in said
    assert "| layer | a heartbeat: calls | share of time, % | a registration: calls |" in said
    for name, measured in report["works"].items():
        assert sum(each for (each,) in measured["shares"].values()) == pytest.approx(1)
        assert all(measured["calls"][layer] > 0 for layer in ("crdt", "protocol", "trio")), name
        assert measured["microseconds"][0] > 0
    # Whoever joins has 500 services to show; who beats has none.
    shown = {name: each["calls"]["view, records"] for name, each in report["works"].items()}
    assert shown["heartbeat"] < shown["registration"] < shown["join"]
    _, calls, _ = layers.measure(layers.WORKS["heartbeat"], 40)
    assert calls == report["works"]["heartbeat"]["calls"]


def test_pages_are_filled_from_reports(tmp_path: Path) -> None:
    """A page gets the figures that are there, keeps the others, and may ask for no unknown ones."""
    docs, reports = tmp_path / "docs", tmp_path / "reports"
    docs.mkdir()
    reports.mkdir()
    (docs / "page.md").write_text(PAGE, "utf-8")
    report = {"machine": MACHINE, "repetitions": 5, "quick": False, "microseconds": {"get": [4.0]}}
    (reports / "micro.json").write_text(json.dumps(report), "utf-8")
    (reports / "retention.png").write_bytes(b"a picture")
    assert pages.write(docs, reports) == ["page.md: micro", "retention.png"]
    assert (docs / "retention.png").read_bytes() == b"a picture"
    assert not (docs / "growth.png").exists()
    assert "| get |" in (docs / "page.md").read_text("utf-8")
    (docs / "page.md").write_text(PAGE.replace("growth", "nonsense"), "utf-8")
    with pytest.raises(ValueError, match=r"'nonsense'; there are those of compare, .*, retention"):
        pages.write(docs, reports)


def test_the_pages_mark_what_the_benchmarks_fill() -> None:
    """Each report has one place in docs/, so that one command brings all figures up to date."""
    found = [
        name
        for page in (ROOT / "docs").glob("*.md")
        for name in tables.marked(page.read_text("utf-8"))
    ]
    assert sorted(found) == sorted(pages.FIGURES)


@pytest.mark.parametrize("side", compare.SIDES, ids=lambda side: side.name)
def test_every_side_is_a_program_that_can_be_told_all(side: compare.Side) -> None:
    """Each side's program knows all calls that its scenes make of it."""
    source = (ROOT / "benchmarks" / "sides" / side.module).with_suffix(
        ".cjs" if side.module.endswith(".cjs") else ".py"
    )
    text = source.read_text("utf-8")
    calls = {"open", "watch", "seen", "register", "register_each", "free_each", "wait_for"}
    calls |= {"join", "get"}
    if source.suffix == ".py":
        known = {
            node.name
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert calls <= known
    else:
        assert not [call for call in calls if f"{call}(" not in text]
    assert {*side.scenes} <= scenes.SCENES.keys()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    """A side that is not installed is left out with a reason that says what to install."""
    seaport = next(side for side in compare.SIDES if side.name == "seaport")
    assert "npm install seaport" in str(seaport.missing(None))
    assert "no seaport in" in str(seaport.missing(tmp_path))
    late = compare.Side("x", "", "ours", (), least_python=(99, 1))
    assert str(late.missing(None)).startswith("it needs Python 99.1, and this is 3.")
    lacking = compare.Side("x", "", "ours", (), "no_such_package")
    assert "dependency group bench" in str(lacking.missing(None))


def test_scenes_are_found_by_their_measures(capsys: pytest.CaptureFixture[str]) -> None:
    """--only takes scenes and measures, and says what there is where it is given neither."""
    parser = argparse.ArgumentParser()
    assert [scene.name for scene in compare._scenes(["join", "pair"], parser)] == ["many", "pair"]
    assert len(compare._scenes(None, parser)) == len(scenes.SCENES)
    with pytest.raises(SystemExit):
        compare._scenes(["nonsense"], parser)
    assert "got nonsense" in capsys.readouterr().err
    known = {measure.name for measure in scenes.MEASURES}
    assert {name for scene in scenes.SCENES.values() for name in scene.measures} == known


def test_two_real_nodes_are_measured(tmp_path: Path) -> None:
    """A scene of real processes yields its figures, by way of the counting proxy too."""
    sizes = scenes.Sizes(10, 0.001, 200, 3, 20, 200, 0.2)
    ours = compare.SIDES[0]
    found: dict[str, float] = {}
    for name in ("pair", "equal", "link"):
        with Stage(ours.command(None), None) as stage:
            found |= dict(scenes.SCENES[name].play(stage, sizes))
    assert {"register-p50", "register-p99", "free-p50", "equal-time", "equal-bytes"} < found.keys()
    assert 0 < found["register-p50"] < 10_000
    assert 0 < found["equal-bytes"] < 5_000


def test_a_node_that_fails_says_why(tmp_path: Path) -> None:
    """A node's end is told with its last words, and silence with how long it lasted."""
    program = "import sys; sys.stdin.readline(); print('null', flush=True); sys.stdin.readline(); "
    node = NodeProcess([sys.executable, "-c", f"{program} sys.exit('broken')"], tmp_path / "log")
    with pytest.raises(Unable, match="its node ended: broken"):
        node.call("open", peers=[])
    node.end()
    silent = f"{program} sys.stdin.readline()"
    node = NodeProcess([sys.executable, "-c", silent], tmp_path / "log")
    node.ask("open", peers=[])
    with pytest.raises(Unable, match=r"no answer within 0\.05 s"):
        node.answer(0.05)
    node.end()
    assert node.process.returncode is not None


def test_services_are_the_same_for_all_sides() -> None:
    """What bytes are stored for a peer says the same as what manifest registers."""
    name, version, port, data = talking.service(17, 5)
    stored = json.loads(talking.document(17, 5))
    assert stored == {
        "role": name, "version": version, "address": "127.0.0.1", "port": port, "data": data,
    }  # fmt: skip
    assert talking.in_range([stored], version) == [stored]
    assert talking.in_range([stored], "9.0.0") == []


def record_calls(monkeypatch: pytest.MonkeyPatch, calls: list[tuple[str, list[str]]]) -> None:
    """Have every benchmark do nothing but note how it was called."""

    def recorder(name: str) -> Callable[[list[str]], None]:
        return lambda rest: calls.append((name, [*rest]))

    for name in command.COMMANDS:
        monkeypatch.setitem(command.COMMANDS, name, recorder(name))


@pytest.mark.parametrize("arguments, called, given", [
    (["--quick"], "compare", ["--quick"]),
    ([], "compare", []),
    (["micro", "--quick"], "micro", ["--quick"]),
])  # fmt: skip
def test_one_command_leads_to_all(
    arguments: list[str], called: str, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A benchmark is named first; without a name the options are those of the comparison."""
    calls: list[tuple[str, list[str]]] = []
    record_calls(monkeypatch, calls)
    command.main(arguments)
    assert calls == [(called, given)]


@pytest.mark.parametrize("arguments, right", [
    (["simulation", "--repetitions", "0"], "--repetitions is 1 or more, got 0"),
    (["growth", "--repetitions", "0"], "--repetitions is 1 or more, got 0"),
    (["growth", "--heartbeats", "0"], "--heartbeats is 1 or more, got 0"),
    (["profile", "--repetitions", "0"], "--repetitions is 1 or more, got 0"),
    (["micro", "--quick", "--repetitions", "0"], "--repetitions is 5 or more, or 1"),
])  # fmt: skip
def test_no_repetition_is_a_usage_error(
    arguments: list[str], right: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever asks for no measurement is told so, and gets neither a traceback nor a report."""
    with pytest.raises(SystemExit) as end:
        command.main(arguments)
    assert end.value.code == 2
    assert right in capsys.readouterr().err


def test_everything_runs_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """`everything` measures all that the pages quote, and writes the pages at the end."""
    calls: list[tuple[str, list[str]]] = []
    record_calls(monkeypatch, calls)
    command.main(["everything", "--quick", "--node-peers", "x"])
    assert calls == [
        ("compare", ["--quick", "--node-peers", "x"]),
        ("micro", ["--quick"]),
        ("growth", ["--quick"]),
        ("retention", ["--quick"]),
        ("docs", []),
    ]
    calls.clear()
    command.main(["everything", "--directory", "there"])
    assert calls == [(name, ["--directory", "there"]) for name in command.EVERYTHING]


def test_everything_renews_every_figure_between_markers() -> None:
    """No page keeps old figures where `everything` was run: all are measured, then written."""
    *measured, last = command.EVERYTHING
    assert {*measured} == pages.FIGURES.keys()
    assert last == "docs"


def test_an_unknown_benchmark_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever mistypes a name sees all of them, and the exit status is 2 as for any option."""
    with pytest.raises(SystemExit) as end:
        command.main(["nonsense"])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said == f"there is no 'nonsense'; there are {', '.join(command.COMMANDS)}, everything\n"


@pytest.mark.parametrize("error", [
    KeyboardInterrupt(), BaseExceptionGroup("a nursery", [OSError(), KeyboardInterrupt()]),
])  # fmt: skip
def test_an_interrupt_ends_without_a_traceback(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C ends any benchmark, those of Trio too, with one word and the status of a shell."""

    def interrupted(_: list[str]) -> None:
        raise error

    monkeypatch.setitem(command.COMMANDS, "growth", interrupted)
    with pytest.raises(SystemExit) as end:
        command.main(["growth"])
    assert end.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_an_interrupted_comparison_shows_what_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table of the repetitions that were ended is printed, and is where it was written."""

    def play(outcome: compare.Outcome, side: compare.Side, *_: object) -> None:
        values = outcome.results.setdefault("register-p50", {}).setdefault(side.name, [])
        if values:
            raise KeyboardInterrupt
        values.append(1.0)

    monkeypatch.setattr(compare.Outcome, "play", play)
    arguments = ["--side", "manifest", "--quick", "--only", "pair", "--repetitions", "3"]
    with pytest.raises(SystemExit) as end:
        command.main([*arguments, "--directory", str(tmp_path)])
    assert end.value.code == 130
    said = capsys.readouterr()
    assert said.out == (tmp_path / "compare.md").read_text("utf-8")
    assert "- Not measured: redis: left out by --side." in said.out
    assert said.err.endswith(f"have measured is in {tmp_path}\ninterrupted\n")


def test_what_is_interrupted_while_it_starts_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node or server that has not said that it is ready is not left behind by Ctrl-C."""
    started: list[subprocess.Popen[bytes]] = []

    def answer(node: NodeProcess) -> None:
        started.append(node.process)
        raise KeyboardInterrupt

    def listens(process: subprocess.Popen[bytes], _: int) -> bool:
        started.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(NodeProcess, "answer", answer)
    monkeypatch.setattr(processes, "_listens", listens)
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    server = Server(sleep[0], "python3", lambda port, directory: sleep[1:])
    with pytest.raises(KeyboardInterrupt):
        NodeProcess(sleep, tmp_path / "log")
    with pytest.raises(KeyboardInterrupt), Stage(sleep, server):
        pass
    assert [process.returncode for process in started] == [-signal.SIGTERM] * 2


def test_everything_says_what_it_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its help names what it runs, one after the other, and runs nothing."""
    calls: list[tuple[str, list[str]]] = []
    record_calls(monkeypatch, calls)
    command.main(["everything", "--quick", "--help"])
    said = capsys.readouterr().out
    assert said.startswith("usage: python -m benchmarks everything ")
    assert f"Runs {', '.join(command.EVERYTHING)}, one after the other" in said
    assert calls == []


@pytest.mark.parametrize("name, main", command.COMMANDS.items(), ids=[*command.COMMANDS])
def test_help_shows_the_lines_as_they_are_written(
    name: str, main: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """A command in a module's documentation has a line of its own in its help, to be copied."""
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: python -m benchmarks {name} ")
    documentation = sys.modules[main.__module__].__doc__
    assert documentation is not None
    assert documentation.strip() in said
