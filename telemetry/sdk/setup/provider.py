"""The meter provider that an application's metrics go to."""

from opentelemetry import metrics
from opentelemetry.metrics import MeterProvider

from telemetry.compatibility import no_meter_provider_is_set
from telemetry.sdk.setup.environment import configure
from telemetry.sdk.setup.outlet import connect


def global_meter_provider() -> MeterProvider:
    """The global meter provider, set up as the environment says where there was none."""
    provider = metrics.get_meter_provider()
    if no_meter_provider_is_set(provider):
        configure()
        provider = metrics.get_meter_provider()
        if no_meter_provider_is_set(provider):
            # A configuration file without metrics: there is nothing to show.
            connect(provider, [])
    return provider
