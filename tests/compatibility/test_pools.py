"""The private names of pools of connections."""

import asyncio

import asyncpg
import pytest
from sqlalchemy import create_engine

from telemetry.compatibility.pools import asyncpgs_waiting, sqlalchemys_max_overflow


def test_the_overflow_of_a_pool_of_sqlalchemy(caplog: pytest.LogCaptureFixture) -> None:
    engine = create_engine("sqlite:///x.db", max_overflow=3)
    assert sqlalchemys_max_overflow(engine.pool) == 3
    assert sqlalchemys_max_overflow(object()) is None
    assert "SQLAlchemy has changed" in caplog.text


def test_who_waits_for_a_pool_of_asyncpg(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> list[int | None]:
        pool = asyncpg.create_pool(min_size=0, max_size=1)
        waiting = [asyncpgs_waiting(pool)]
        # What asyncpg itself makes when it is initialized; without a minimum it needs no server.
        await pool
        waiting.append(asyncpgs_waiting(pool))
        pool._queue.get_nowait()
        tasks = [asyncio.create_task(pool.fetch("select 1")) for _ in range(3)]
        await asyncio.sleep(0.01)
        waiting.append(asyncpgs_waiting(pool))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        waiting.append(asyncpgs_waiting(pool))
        pool.terminate()
        return waiting

    assert asyncio.run(run()) == [None, 0, 3, 0]
    assert asyncpgs_waiting(object()) is None
    assert "asyncpg has changed" in caplog.text
