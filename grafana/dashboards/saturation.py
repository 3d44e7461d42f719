"""The row "Saturation": what an instance may run out of."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from deploy.names import APP
from grafana.dashboards.panels import (
    Panel,
    Text,
    by_place,
    curves,
    fixed,
    heading,
    line,
    override,
    query,
    worst,
)
from grafana.dashboards.queries import (
    CHOSEN,
    MEMORY,
    RANGE,
    RATE,
    STEP,
    WHOLE,
    Queries,
    or_none,
    shortened,
)

INSTANCE = "by (job, instance)"
EVENT_LOOP_DELAY = 0.25
"""The limit of FastAPIEventLoopBlocked."""


def most(metric: str, window: str) -> str:
    """The greatest value of a gauge in a window, of each series."""
    window, at, end = window.partition(" @ ")
    return f"max_over_time({metric}{{{CHOSEN}}}[{window}]{at}{end})"


def counted(metric: str) -> str:
    """The series of a native histogram, or of the counts of a classic one."""
    return f"{metric}{{{CHOSEN}}} or {metric}_count{{{CHOSEN}}}"


def longest(metric: str) -> tuple[str, str]:
    """The longest time in each step by instance, 0 if there was none, and what ranks them."""
    by = "job, instance"
    greatest = APP.observed("histogram_quantile(1, {})", metric, by, RATE, CHOSEN)
    native, classic = (APP.total(f"{metric}{part}", by, WHOLE, CHOSEN) for part in ("", "_sum"))
    none = f"0 * count {INSTANCE} ({counted(metric)})"
    return f"(({greatest}) > 0 or {none})", f"(histogram_avg({native}) or {classic})"


def saturation(ask: Queries) -> Iterator[Panel]:
    """Requests, memory, CPU, event loop, threads, connections, collector, files, WebSockets."""
    graph = partial(curves, size=(8, 8))
    five: Any = {"overrides": by_place()}
    name = "{{job}} {{instance}}"
    yield heading(
        Text("포화도 (인스턴스나 워커가 많으면 상위 5개)", "Saturation (the worst 5 of many)")
    )
    yield graph(
        Text("인스턴스별 처리 중인 요청", "In progress by instance"),
        Text(
            "한 시점의 합계 가운데 구간별 최댓값. 수집 사이에 시작되어 끝난 요청은 포함되지 "
            "않습니다. 계속 늘면 처리가 유입을 따라가지 못한다는 뜻입니다.",
            "The most at one moment in each step, as seen at scrapes. If it only grows, more "
            "requests arrive than the app can handle.",
        ),
        *worst(
            f"max_over_time(sum {INSTANCE} ({ask.in_progress})[{STEP}:5s])",
            f"sum {INSTANCE} (max_over_time({ask.in_progress}[{RANGE}] @ end()))",
            name,
        ),
        **five,
        unit="none",
        decimals=0,
        soft_max=5,
    )
    yield graph(
        Text("인스턴스별 메모리 (RSS)", "Memory by instance (RSS)"),
        Text(
            "한 인스턴스의 모든 워커가 실제로 차지하는 물리 메모리. 컨테이너의 한도가 있으면 "
            "점선입니다.",
            "Physical memory that all workers of an instance use. The dashed line is the limit of "
            "the container, if there is one.",
        ),
        *worst(
            f"sum {INSTANCE} ({MEMORY})",
            f"sum {INSTANCE} (sum_over_time({MEMORY}[{RANGE}] @ end()))",
            name,
        ),
        query(f"min(app_memory_limit_bytes{{{CHOSEN}}})", Text("한도", "limit")),
        overrides=[*by_place(), line("^(한도|limit)$", "red", dashed=True)],
        unit="bytes",
        soft_max=64 * 2**20,
    )
    # contrib's metrics of the system have one of the same name and with other labels.
    cpu = f'process_cpu_time_seconds_total{{{CHOSEN}, cpu_mode=~"user|system"}}'
    yield graph(
        Text("워커당 CPU", "CPU per worker"),
        Text(
            "워커 하나가 평균적으로 사용한 CPU 코어 수. 워커 하나는 최대 1(코어 하나)까지 쓸 수 "
            "있습니다.",
            "CPU cores that a worker uses on average; one worker can use 1, a whole core.",
        ),
        *worst(
            f"sum {INSTANCE} (rate({cpu}[{RATE}])) / count {INSTANCE} ({MEMORY})",
            f"sum {INSTANCE} (increase({cpu}[{RANGE}] @ end()))",
            name,
        ),
        **five,
        unit="percentunit",
        soft_max=1,
        limit=0.9,
    )
    yield graph(
        Text("이벤트 루프 지연", "Event loop delay"),
        Text(
            "이벤트 루프가 막혀 다른 요청이 모두 기다린 가장 긴 시간(버킷의 상한). 점선은 "
            "FastAPIEventLoopBlocked의 기준인 0.25초입니다. 원인은 대개 async def 안의 블로킹 "
            "호출입니다.",
            "The longest time that the event loop kept everything else waiting (the bucket's upper "
            "bound). The dashed line is the limit of FastAPIEventLoopBlocked, 0.25 s. The cause is "
            "usually a blocking call within an async def.",
        ),
        *worst(*longest("app_event_loop_delay_seconds"), name),
        **five,
        unit="s",
        soft_max=0.3,
        limit=EVENT_LOOP_DELAY,
    )
    yield graph(
        Text("워커 스레드", "Worker threads"),
        Text(
            "def 엔드포인트가 실행되는 스레드 중 사용 중인 수, 빈 스레드를 기다리는 호출 수, "
            "스레드 수의 한도. 가장 바쁜 워커의 값이며, 어느 인스턴스인지는 위에서 선택해 "
            "찾습니다.",
            "Threads for def endpoints that are in use, calls that wait for one, and the limit of "
            "threads: of the busiest worker. Choose instances above to see which one has it.",
        ),
        *(
            query(f"max({most(f'app_thread_pool_{each}', RATE)})", legend)
            for each, legend in {
                "in_use": Text("사용 중", "in use"),
                "waiting": Text("대기", "waiting"),
                "size": Text("한도", "limit"),
            }.items()
        ),
        overrides=[
            line("^(사용 중|in use)$", "blue"),
            line("^(대기|waiting)$", "orange"),
            line("^(한도|limit)$", "red", dashed=True),
        ],
        unit="none",
        decimals=0,
        soft_max=5,
    )
    pool = "db_client_connection"
    used = f'{pool}_count{{{CHOSEN}, {pool}_state="used"}}'
    yield graph(
        Text("데이터베이스 커넥션 풀", "Database connection pools"),
        Text(
            "telemetry.observe_pool로 등록한 풀에서 사용 중인 커넥션의 비율과 커넥션을 기다리는 "
            "요청 수. 가장 바쁜 워커와 풀의 값입니다.",
            "Connections in use of pools given to telemetry.observe_pool, as a share of the limit, "
            "and requests that wait for one: of the busiest worker and pool.",
        ),
        *or_none(
            query(
                f"max({used} / ignoring ({pool}_state) {pool}_max{{{CHOSEN}}})",
                Text("사용률", "in use"),
            ),
            query(f"max({pool}_pending_requests{{{CHOSEN}}})", Text("대기", "waiting")),
            of=f"{pool}_max{{{CHOSEN}}}",
        ),
        overrides=[
            line("^(사용률|in use)$", "blue"),
            override(
                "^(대기|waiting)$",
                {"unit": "none", "custom.axisPlacement": "right", "color": fixed("orange")},
            ),
            line("^(없음|none)$", "text"),
        ],
        unit="percentunit",
        soft_max=1,
    )
    yield graph(
        Text("가비지 컬렉터 일시 정지", "Garbage collector pauses"),
        Text(
            "가비지 컬렉터가 프로세스를 멈춘 시간 중 가장 긴 것(버킷의 상한). 1ms 이상만 "
            "측정합니다.",
            "The longest time that the garbage collector stopped a process (the bucket's upper "
            "bound). Pauses from 1 ms on are measured.",
        ),
        *or_none(
            *worst(*longest("app_gc_pause_seconds"), name),
            of=counted("app_gc_pause_seconds"),
        ),
        overrides=[*by_place(), line("^(없음|none)$", "text")],
        unit="s",
        soft_max=0.05,
    )
    files = (
        f"process_unix_file_descriptor_count{{{CHOSEN}}} / app_file_descriptor_limit{{{CHOSEN}}}"
    )
    yield graph(
        Text("열린 파일", "Open files"),
        Text(
            "열린 파일 디스크립터(소켓 포함)의 한도 대비 비율. 워커별 최댓값입니다.",
            "Open file descriptors, sockets among them, as a share of their limit: the most of any "
            "worker.",
        ),
        *worst(
            f"max {INSTANCE} ({files})",
            f"max {INSTANCE} ({most('process_unix_file_descriptor_count', WHOLE)})",
            name,
        ),
        **five,
        unit="percentunit",
        soft_max=1,
        limit=0.9,
    )
    sockets = f'app_websockets_open{{{CHOSEN}, path=~"$path"}}'
    yield graph(
        Text("열린 WebSocket", "Open WebSockets"),
        Text(
            "경로별로 열려 있는 WebSocket 연결 수.",
            "WebSocket connections that are open, by path.",
        ),
        *or_none(
            *worst(
                shortened(f"sum by (path) ({sockets})"),
                shortened(f"sum by (path) (max_over_time({sockets}[{RANGE}] @ end()))"),
                "{{shown}}",
            ),
            of=sockets,
        ),
        overrides=[*by_place(), line("^(없음|none)$", "text")],
        unit="none",
        decimals=0,
        soft_max=5,
    )
