"""The meter provider that an application's metrics go to."""

from opentelemetry import metrics
from opentelemetry.metrics import MeterProvider

# The API has no public way to ask whether a provider was set; until one is, it hands out
# this stand-in. tests/sdk/test_provider.py fails when it moves.
from opentelemetry.metrics._internal import _ProxyMeterProvider
from opentelemetry.sdk import metrics as sdk


def meter_provider() -> MeterProvider:
    """The global meter provider; the SDK's, newly set, where there was none."""
    provider = metrics.get_meter_provider()
    if isinstance(provider, _ProxyMeterProvider):
        metrics.set_meter_provider(sdk.MeterProvider())
        provider = metrics.get_meter_provider()
    return provider
