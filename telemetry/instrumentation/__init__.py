"""What is measured: requests and memory, through the OpenTelemetry Metrics API only."""
