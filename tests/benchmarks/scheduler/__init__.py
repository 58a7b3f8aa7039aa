"""Cases of `make bench-scheduler`."""
