"""One truth from several worker processes."""
