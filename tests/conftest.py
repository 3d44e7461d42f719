"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# The machine may be slow and busy: no example is given a time.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")
