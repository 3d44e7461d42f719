"""What docs/performance says, measured side by side: ``python -m benchmarks``."""
