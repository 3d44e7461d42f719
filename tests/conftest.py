"""What holds for all tests."""

import pytest
from hypothesis import HealthCheck, settings

# The machine may be slow and busy: no example is given a time.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--faults", type=float, default=0.0, help="seconds that tests/stack/test_faults.py goes on"
    )
