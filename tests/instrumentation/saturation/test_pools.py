"""Pools of connections, with the real SQLAlchemy and asyncpg."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import telemetry
from tests.support.applications import Measured
from tests.support.processes import wait_for
from tests.support.series import Series, values

Numbers = tuple[float | None, ...]


def numbers(series: Series, name: str = "main") -> Numbers:
    """Idle, used, the limit, and who waits."""
    counts = values(series, "db_client_connection_count")
    return (
        counts.get((name, "idle")),
        counts.get((name, "used")),
        values(series, "db_client_connection_max").get((name,)),
        values(series, "db_client_connection_pending_requests").get((name,)),
    )


def sync_engine(folder: Path, **options: Any) -> Engine:
    return create_engine(f"sqlite:///{folder / 'x.db'}", **options)


def test_a_pool_of_two_and_ten_who_want_one(tmp_path: Path) -> None:
    measured = Measured()
    engine = sync_engine(tmp_path, pool_size=2, max_overflow=0)
    telemetry.observe_pool(engine, name="main", meter_provider=measured.provider)
    assert numbers(measured.series()) == (0, 0, 2, 0)
    go_on = threading.Event()

    def use() -> None:
        with engine.connect() as connection:
            connection.execute(text("select 1"))
            go_on.wait(30)

    callers = [threading.Thread(target=use) for _ in range(10)]
    for caller in callers:
        caller.start()
    try:
        wait_for(lambda: numbers(measured.series()) == (0, 2, 2, 8), "two have one, eight wait")
    finally:
        go_on.set()
        for caller in callers:
            caller.join()
    assert numbers(measured.series()) == (2, 0, 2, 0)
    engine.dispose()


def test_an_async_engine(tmp_path: Path) -> None:
    measured = Measured()

    async def run() -> None:
        engine = create_async_engine(
            f"sqlite+aiosqlite:///{tmp_path / 'x.db'}", pool_size=1, max_overflow=1
        )
        telemetry.observe_pool(engine, name="main", meter_provider=measured.provider)
        go_on = asyncio.Event()

        async def use() -> None:
            async with engine.connect() as connection:
                await connection.execute(text("select 1"))
                await go_on.wait()

        tasks = [asyncio.create_task(use()) for _ in range(5)]
        async with asyncio.timeout(30):
            while await asyncio.to_thread(lambda: numbers(measured.series())) != (0, 2, 2, 3):
                await asyncio.sleep(0.02)
        go_on.set()
        await asyncio.gather(*tasks)
        # One was beyond the pool's size, and is closed.
        assert await asyncio.to_thread(lambda: numbers(measured.series())) == (1, 0, 2, 0)
        await engine.dispose()

    asyncio.run(run())


def test_after_dispose_it_is_the_new_pool(tmp_path: Path) -> None:
    measured = Measured()
    engine = sync_engine(tmp_path, pool_size=1, max_overflow=0)
    telemetry.observe_pool(engine, name="main", meter_provider=measured.provider)
    with engine.connect():
        pass
    engine.dispose()
    assert numbers(measured.series()) == (0, 0, 1, 0)
    with engine.connect():
        waiting = threading.Thread(target=lambda: engine.connect().close())
        waiting.start()
        wait_for(lambda: numbers(measured.series()) == (0, 1, 1, 1), "one waits")
    waiting.join()
    engine.dispose()


def test_a_request_that_gives_up_does_not_wait_any_more(tmp_path: Path) -> None:
    measured = Measured()
    engine = sync_engine(tmp_path, pool_size=1, max_overflow=0, pool_timeout=0.05)
    telemetry.observe_pool(engine.pool, name="main", meter_provider=measured.provider)
    with engine.connect(), pytest.raises(Exception, match="QueuePool limit"):
        engine.connect()
    assert numbers(measured.series()) == (1, 0, 1, 0)
    engine.dispose()


@pytest.mark.parametrize("options", [{"max_overflow": -1}, {"pool_size": 0}])
def test_a_pool_without_a_limit_has_none(tmp_path: Path, options: dict[str, int]) -> None:
    measured = Measured()
    engine = sync_engine(tmp_path, **options)
    telemetry.observe_pool(engine, name="main", meter_provider=measured.provider)
    assert numbers(measured.series())[2] is None
    engine.dispose()


def test_several_pools_and_one_that_takes_anothers_name(tmp_path: Path) -> None:
    measured = Measured()
    engines = [sync_engine(tmp_path, pool_size=size, max_overflow=0) for size in (1, 2, 3)]
    for engine, name in zip(engines, ("main", "replica", "main"), strict=True):
        telemetry.observe_pool(engine, name=name, meter_provider=measured.provider)
    assert values(measured.series(), "db_client_connection_max") == {
        ("main",): 3,
        ("replica",): 2,
    }


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: object(),
        lambda folder: None,
        lambda folder: sync_engine(folder, poolclass=NullPool),
        lambda folder: create_engine("sqlite://"),
    ],
)
def test_what_is_no_pool_is_refused(tmp_path: Path, make: Callable[[Path], object]) -> None:
    with pytest.raises(TypeError, match="observe_pool takes an engine of SQLAlchemy"):
        telemetry.observe_pool(make(tmp_path), name="main", meter_provider=Measured().provider)


def test_nothing_is_done_where_telemetry_is_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    telemetry.observe_pool(object(), name="main")


def test_a_pool_of_asyncpg_that_is_not_connected_yet() -> None:
    measured = Measured()

    async def run() -> Numbers:
        pool = asyncpg.create_pool(min_size=1, max_size=7)
        telemetry.observe_pool(pool, name="main", meter_provider=measured.provider)
        return await asyncio.to_thread(lambda: numbers(measured.series()))

    assert asyncio.run(run()) == (0, 0, 7, None)
