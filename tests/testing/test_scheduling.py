"""One seed is one order of tasks, in virtual time; and Trio is left as it was found."""

import gc
from typing import Any

import pytest
import trio

from manifest.testing import Livelock
from manifest.testing.scheduling import Schedule, run_scheduled


def scheduler() -> tuple[bool, object]:
    """Return what Trio's scheduler draws from."""
    run: Any = trio._core._run
    return run._ALLOW_DETERMINISTIC_SCHEDULING, run._r


async def order(schedule: Schedule) -> tuple[list[int], int, int]:
    """Return in which order ten tasks ran, three times each."""
    ran: list[int] = []

    async def run(number: int) -> None:
        for _ in range(3):
            await trio.sleep(1)
            ran.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(run, number)
    return ran, schedule.order, schedule.steps


def test_a_seed_is_an_order() -> None:
    """The same seed is the same one, and others are others, by their numbers too."""
    runs = [run_scheduled(order, seed=seed) for seed in range(20)]
    assert runs == [run_scheduled(order, seed=seed) for seed in range(20)]
    assert len({tuple(ran) for ran, _, _ in runs}) == 20
    assert len({number for _, number, _ in runs}) == 20
    assert len({steps for _, _, steps in runs}) == 1


def test_time_is_virtual() -> None:
    """A year passes at once, from zero."""

    async def sleep(schedule: Schedule) -> float:
        began = trio.current_time()
        await trio.sleep(365 * 86_400)
        return trio.current_time() - began

    assert run_scheduled(sleep, seed=0) == 365 * 86_400


def test_exceptions_come_out_bare() -> None:
    """Without the groups that nurseries make; several at once remain a group."""

    async def fail(schedule: Schedule) -> None:
        async with trio.open_nursery() as outer, trio.open_nursery():
            outer.cancel_scope.shield = False
            raise KeyError("bare")

    async def both(schedule: Schedule) -> None:
        async def one() -> None:  # noqa: ASYNC124 - it runs in Trio's time
            raise KeyError

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)
            nursery.start_soon(one)

    with pytest.raises(KeyError, match="bare"):
        run_scheduled(fail, seed=0)
    with pytest.raises(ExceptionGroup) as raised:  # noqa: ASYNC401 - its exceptions are counted
        run_scheduled(both, seed=0)
    assert len(raised.value.exceptions) == 2


def test_trio_is_left_as_it_was_found() -> None:
    """After a run, after one that fails, and after a livelock."""

    async def fail(schedule: Schedule) -> None:  # noqa: ASYNC124 - it runs in Trio's time
        raise ZeroDivisionError

    async def spin(schedule: Schedule) -> None:
        while True:  # noqa: ASYNC110 - a loop that spins is what is tested
            await trio.lowlevel.checkpoint()

    before = scheduler()
    run_scheduled(order, seed=1)
    assert scheduler() == before
    with pytest.raises(ZeroDivisionError):
        run_scheduled(fail, seed=1)
    assert scheduler() == before
    with pytest.raises(Livelock):
        run_scheduled(spin, seed=1, max_steps=50)
    assert scheduler() == before


def test_a_livelock_is_named() -> None:
    """By the task that spins and the time that stands still; what it broke on the way is told."""

    async def spinning() -> None:
        try:
            while True:  # noqa: ASYNC110 - a loop that spins is what is tested
                await trio.lowlevel.checkpoint()
        finally:
            raise LookupError("on the way out")

    async def run(schedule: Schedule) -> None:
        async with trio.open_nursery() as nursery:
            await trio.sleep(3)
            nursery.start_soon(spinning)

    with pytest.raises(Livelock, match=r"more than 200 steps .*spinning at 3 s") as raised:
        run_scheduled(run, seed=0, max_steps=200)
    assert isinstance(raised.value.__cause__, LookupError)


def test_sleeping_for_next_to_nothing_is_a_livelock() -> None:
    """Virtual time moves on, and would take a million steps to come to the next millisecond."""

    async def dozing(_: Schedule) -> None:
        for _step in range(1_000):
            await trio.sleep(1e-9)

    with pytest.raises(Livelock, match="more than 200 steps within a virtual millisecond"):
        run_scheduled(dozing, seed=0, max_steps=200)


def test_work_that_lets_time_pass_is_no_livelock() -> None:
    """The budget is for the steps of a moment, not for those of a run."""

    async def run(schedule: Schedule) -> int:
        for _ in range(500):
            await trio.sleep(0.001)
        return schedule.steps

    assert run_scheduled(run, seed=0, max_steps=50) > 500


def test_a_trio_without_the_switch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to do about it."""
    monkeypatch.delattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING")
    with pytest.raises(RuntimeError, match="use an earlier Trio"):
        run_scheduled(order, seed=0)


def test_the_garbage_collector_is_left_as_it_was_found() -> None:
    """A run looks for garbage less often, and only a run does."""
    before = gc.get_threshold()

    async def thresholds(_: Schedule) -> tuple[int, int, int]:
        await trio.sleep(1)
        return gc.get_threshold()

    assert run_scheduled(thresholds, seed=1)[0] >= 100_000
    assert gc.get_threshold() == before

    async def fail(_: Schedule) -> None:
        await trio.sleep(1)
        raise ValueError("as planned")

    with pytest.raises(ValueError, match="as planned"):
        run_scheduled(fail, seed=1)
    assert gc.get_threshold() == before


def test_who_waits_for_all_to_be_blocked_comes_before_time_goes_on() -> None:
    """As on Trio's own virtual clock: nobody has slept by then."""

    async def run(schedule: Schedule) -> list[float]:
        times: list[float] = []

        async def sleep() -> None:
            await trio.sleep(1)
            times.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleep)
            await trio.testing.wait_all_tasks_blocked()
            times.append(trio.current_time())
        return times

    assert run_scheduled(run, seed=1) == [0.0, 1.0]


def test_time_stands_still_while_nothing_is_due() -> None:
    """A thread is waited for in real time, and virtual time does not go on meanwhile."""

    async def run(schedule: Schedule) -> float:
        await trio.to_thread.run_sync(lambda: None)
        return trio.current_time()

    assert run_scheduled(run, seed=1) == 0.0


def test_a_deadline_that_has_passed_moves_nothing_back() -> None:
    """Virtual time only ever goes on."""

    async def run(schedule: Schedule) -> list[float]:
        times: list[float] = []
        await trio.sleep(2)
        with trio.CancelScope(deadline=trio.current_time() - 1):
            times.append(trio.current_time())
            await trio.sleep_forever()
        times.append(trio.current_time())
        return times

    assert run_scheduled(run, seed=1) == [2.0, 2.0]
