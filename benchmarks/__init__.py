"""What the README says of speed and size, measured side by side: ``python -m benchmarks``."""
