"""The meter provider that an application's metrics go to."""

from opentelemetry import metrics
from opentelemetry.metrics import MeterProvider

# The API has no public way to ask whether a provider was set; until one is, it hands out
# this stand-in. tests/sdk/test_provider.py fails when it moves.
from opentelemetry.metrics._internal import _ProxyMeterProvider

from telemetry.sdk.configuration import configure
from telemetry.sdk.reader import claim_reader


def meter_provider() -> MeterProvider:
    """The global meter provider, set up as the environment says where there was none."""
    provider = metrics.get_meter_provider()
    if isinstance(provider, _ProxyMeterProvider):
        configure()
        provider = metrics.get_meter_provider()
        if isinstance(provider, _ProxyMeterProvider):
            # A configuration file without metrics: there is nothing to show.
            claim_reader(provider)
    return provider
