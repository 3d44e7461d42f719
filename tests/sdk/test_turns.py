"""A thread beside a busy loop."""

import asyncio
import gc
import sys
import threading
import time

import pytest

from telemetry.sdk import turns
from telemetry.sdk.turns import Turns, without_garbage_collection


def work() -> None:
    """About a tenth of a second of the interpreter alone."""
    for _ in range(40):
        sum(number * number for number in range(20_000))


async def beside_a_busy_loop(given: Turns) -> float:
    """How many times longer the work takes in a thread, beside a loop that is never idle."""
    began = time.perf_counter()
    work()
    alone = time.perf_counter() - began
    given.loop = asyncio.get_running_loop()
    took: list[float] = []

    def run() -> None:
        began = time.perf_counter()
        with given.taken():
            work()
        took.append(time.perf_counter() - began)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.perf_counter() + 20
    while not took and time.perf_counter() < deadline:
        sum(range(5000))
        await asyncio.sleep(0)
    thread.join()
    return took[0] / alone


def test_a_thread_has_its_turns() -> None:
    """Without them it takes tens of times as long; the bound leaves room for a busy machine."""
    assert asyncio.run(beside_a_busy_loop(Turns())) < 8


def test_a_loop_that_is_closed_keeps_nobody_waiting() -> None:
    given = Turns()
    given.loop = asyncio.new_event_loop()
    given.loop.close()
    with given.taken():
        pass
    assert given.loop is None


def test_turns_end_with_the_work() -> None:
    async def run() -> int:
        given = Turns()
        given.loop = asyncio.get_running_loop()
        with given.taken():
            await asyncio.sleep(0.02)
            assert len(asyncio.all_tasks()) == 2
        await asyncio.sleep(0.02)
        return len(asyncio.all_tasks())

    assert asyncio.run(run()) == 1


def test_threads_change_often_while_one_is_at_work_and_then_as_before() -> None:
    before = sys.getswitchinterval()
    one, other = Turns().taken(), Turns().taken()
    one.__enter__()
    other.__enter__()
    assert sys.getswitchinterval() == pytest.approx(0.0015)
    one.__exit__(None, None, None)
    assert sys.getswitchinterval() == pytest.approx(0.0015)
    other.__exit__(None, None, None)
    assert sys.getswitchinterval() == before


def test_garbage_is_not_collected_meanwhile_and_is_afterwards() -> None:
    assert gc.isenabled()
    with without_garbage_collection():
        assert not gc.isenabled()
        with without_garbage_collection():
            assert not gc.isenabled()
    assert gc.isenabled()


def test_work_that_hangs_does_not_keep_the_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_PATIENCE", 0.05)
    with without_garbage_collection():
        time.sleep(0.2)
        assert gc.isenabled()
    assert gc.isenabled()


def test_work_that_hangs_does_not_take_turns_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_PATIENCE", 0.05)
    before = sys.getswitchinterval()

    async def run() -> int:
        given = Turns()
        given.loop = asyncio.get_running_loop()
        with given.taken():
            await asyncio.sleep(0.2)
            assert sys.getswitchinterval() == before
            return len(asyncio.all_tasks())

    assert asyncio.run(run()) == 1
    assert sys.getswitchinterval() == before


def test_who_collects_no_garbage_goes_on_so() -> None:
    gc.disable()
    try:
        with without_garbage_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
