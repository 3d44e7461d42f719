"""One service from several worker processes."""
