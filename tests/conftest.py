"""What holds for all tests."""

from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, settings

# The machine may be slow and busy: no example is given a time.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--faults", type=float, default=0.0, help="seconds that tests/stack/test_faults.py goes on"
    )


SLOW = {
    "test_a_block_of_300_ms_is_in_its_bucket_in_each_of_20_tries",
    "test_a_flood_of_scrapes_leaves_the_processor_to_the_application",
    "test_a_hundred_thousand_random_requests_add_a_handful_of_series",
    "test_exponential_histograms_add_up_at_the_coarser_scale",
    "test_nothing_of_a_request_reaches_the_exposition",
    "test_one_heartbeat_for_each_loop_that_ends_with_it",
    "test_while_nothing_is_in_progress_the_heartbeat_is_slower",
    "test_what_one_thread_remembers_does_not_spoil_what_another_one_publishes",
}
"""Half of the unit tests' time. They do not depend on the versions of packages: see noxfile.py."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if getattr(item, "originalname", item.name) in SLOW:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def own_list_of_exporters(monkeypatch: pytest.MonkeyPatch) -> None:
    """FastAPI has one list of exporters for the process: telemetry/compatibility/fastapi.py."""
    if find_spec("fastapi.telemetry"):
        monkeypatch.setattr("fastapi.telemetry._runtime._owned", [])
