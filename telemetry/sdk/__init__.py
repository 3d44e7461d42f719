"""How the numbers leave the process: the only part that imports the OpenTelemetry SDK."""
