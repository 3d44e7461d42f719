"""What a person sees on the service dashboard, and which alerts, in each state of an app."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.test_alerts import APP, firing
from tests.support.dashboard import SERVICE, offered, panel, queries, shown
from tests.support.processes import ROOT, Service, free_port, query, script, service, wait_for
from tests.support.prometheus import INTERVAL, prometheus

WINDOW = f"{8 * INTERVAL:.0f}s"
PLAIN = "transparent"
Answer = dict[tuple[str, ...], float]


class Screen:
    """The service dashboard over one Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, title: str) -> Answer:
        return query(self.url, queries(SERVICE, WINDOW, "2m", 3)[title])

    def tile(self, title: str) -> tuple[str | None, str]:
        """The text in place of the number, if there is one, and the colour of the background."""
        value, *_ = self.ask(title).values()
        return shown(panel(title), value)

    def errors(self) -> Answer:
        """The column of the table that it is sorted by."""
        shown = self.ask("경로별 현황: 5xx").items()
        # As the column has it, without decimals.
        return {path: round(count) for path, count in shown if round(count)}


def test_an_app_that_has_never_run(tmp_path: Path) -> None:
    with prometheus(tmp_path, free_port(), wait="1s") as url:
        screen = Screen(url)
        wait_for(lambda: "FastAPIDown" in firing(url), "the alert fires")
        wait_for(lambda: screen.ask("알림"), "the alert is stored")
        # The alert makes it known to the variables, which find no metrics of it.
        assert offered(url, "job") == ["fastapi"]
        assert offered(url, "instance") == ["host.docker.internal:8000"]
        assert screen.tile("상태") == ("중단", "red")
        assert screen.tile("알림") == (None, "red")
        assert screen.tile("초당 요청 수") == ("-", PLAIN)
        assert screen.tile("오류 비율 (5xx)") == ("-", PLAIN)
        assert screen.tile("지연 시간 p95") == ("-", PLAIN)


def test_a_prometheus_that_knows_nothing_of_any_app(tmp_path: Path) -> None:
    with prometheus(tmp_path, free_port()) as url:
        nothing = queries(SERVICE)["상태"].replace('"fastapi"', '"()"')
        ((_, value),) = query(url, nothing).items()
        assert shown(panel("상태"), value) == ("앱 없음", "red")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Screen]]:
    folder = tmp_path_factory.mktemp("states")
    (folder / "served.py").write_text(APP)
    with (
        service(
            folder,
            command=(script("uvicorn"), "--no-access-log", "served:app"),
            environment={"PYTHONPATH": f"{ROOT}:{folder}"},
            cwd=folder,
        ) as app,
        prometheus(folder, app.port, wait="1s") as url,
    ):
        yield app, Screen(url)


def test_fresh_then_one_error_then_a_burst_then_killed(running: tuple[Service, Screen]) -> None:
    """In this order, because each state is what the one before has become."""
    app, screen = running

    # Fresh: no request yet.
    wait_for(lambda: screen.ask("상태") == {(): 100}, "the first scrape")
    assert screen.tile("상태") == ("정상", PLAIN)
    assert screen.ask("초당 요청 수") == {(): 0}
    assert set(screen.ask("인스턴스별 처리 중인 요청").values()) <= {0.0}
    assert screen.tile("오류 비율 (5xx)") == ("-", PLAIN)
    wait_for(lambda: screen.ask("알림: 없음"), "no alert of before the first scrape")
    assert screen.ask("알림: 없음") == {(): 0}
    assert screen.ask("경로·상태 코드별 서버 오류 (상위 5개)") == {}

    # One single error among good responses. increase() alone would show none.
    for _ in range(30):
        app.status("/works")
    wait_for(lambda: screen.ask("경로별 현황: 요청"), "the requests are seen")
    assert screen.errors() == {}
    app.status("/fails")
    wait_for(screen.errors, "the error is seen")
    assert screen.errors() == {("/fails",): 1}
    assert screen.ask("경로·상태 코드별 서버 오류 (상위 5개)") == {("/fails", "500"): 1}
    assert screen.ask("경로별 현황: 5xx 비율")["/fails",] == 1
    (share,) = screen.ask("오류 비율 (5xx)").values()
    assert 0 < share <= 1

    # A burst.
    def burst() -> bool:
        for _ in range(5):
            app.status("/fails")
            app.status("/works")
        return {"FastAPIErrors", "FastAPIPathErrors"} <= set(firing(screen.url))

    wait_for(burst, "both alerts fire")
    assert screen.tile("오류 비율 (5xx)") == (None, "red")
    assert screen.tile("상태") == ("정상", PLAIN)
    wait_for(lambda: screen.ask("알림"), "the alerts are stored")
    assert screen.tile("알림") == (None, "red")
    assert max(screen.ask("경로별 현황: 5xx"), key=screen.ask("경로별 현황: 5xx").__getitem__) == (
        "/fails",
    )

    # Killed: nothing of what it was is shown as if it were.
    app.process.kill()
    wait_for(lambda: screen.tile("상태") == ("중단", "red"), "it is down")
    wait_for(lambda: screen.tile("오류 비율 (5xx)") == ("-", PLAIN), "the window is over")
    assert screen.tile("초당 요청 수") == ("-", PLAIN)
    assert screen.tile("지연 시간 p95") == ("-", PLAIN)
    assert screen.ask("인스턴스별 처리 중인 요청") == {}
    assert screen.ask("실행 중인 워커와 시작 횟수: 실행 중") == {}
    wait_for(lambda: "FastAPIDown" in firing(screen.url), "the alert fires")
    # Where its errors were is still there to be read.
    assert screen.errors()
