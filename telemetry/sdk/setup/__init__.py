"""From ``OTEL_*`` variables and configuration files to providers."""
