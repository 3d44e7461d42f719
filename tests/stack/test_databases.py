"""Pools of connections to a real PostgreSQL, in an application behind real servers."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.postgres import postgresql
from tests.support.processes import ROOT, Service, service, wait_for
from tests.support.series import total

APP = """
import os
from contextlib import asynccontextmanager
import asyncpg
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
import telemetry

URL = os.environ["DATABASE"]
engine = create_async_engine(
    URL.replace("postgresql:", "postgresql+asyncpg:"), pool_size=2, max_overflow=0
)

@asynccontextmanager
async def lifespan(app):
    async with asyncpg.create_pool(URL, min_size=1, max_size=2) as app.state.pool:
        telemetry.observe_pool(app.state.pool, name="asyncpg")
        telemetry.observe_pool(engine, name="sqlalchemy")
        yield
    await engine.dispose()

app = FastAPI(lifespan=lifespan)
telemetry.instrument(app)

@app.get("/asyncpg")
async def by_asyncpg() -> None:
    await app.state.pool.execute("select pg_sleep(1)")

@app.get("/sqlalchemy")
async def by_sqlalchemy() -> None:
    async with engine.connect() as connection:
        await connection.execute(text("select pg_sleep(1)"))
"""


@pytest.mark.parametrize("pool", ["asyncpg", "sqlalchemy"])
def test_a_pool_of_two_connections_and_ten_who_want_one(tmp_path: Path, pool: str) -> None:
    (tmp_path / "served.py").write_text(APP)
    command = (sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "served:app")

    def numbers(app: Service) -> tuple[float, ...]:
        series = app.series()
        name = {"db_client_connection_pool_name": pool}
        return (
            total(series, "db_client_connection_count", **name, db_client_connection_state="idle"),
            total(series, "db_client_connection_count", **name, db_client_connection_state="used"),
            total(series, "db_client_connection_max", **name),
            total(series, "db_client_connection_pending_requests", **name),
        )

    with (
        postgresql() as url,
        service(
            tmp_path,
            command=command,
            environment={"DATABASE": url, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
            cwd=tmp_path,
        ) as app,
        ThreadPoolExecutor(10) as clients,
    ):
        asked = [clients.submit(app.status, f"/{pool}") for _ in range(10)]
        wait_for(lambda: numbers(app) == (0, 2, 2, 8), "two have one, and eight wait")
        wait_for(lambda: numbers(app) == (0, 2, 2, 2), "eight have had one")
        assert [each.result() for each in asked] == [200] * 10
        assert numbers(app) == (2, 0, 2, 0)
