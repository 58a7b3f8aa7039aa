"""Parts of `make bench-portal`: each a module with `measure(platform) -> list[Case]`."""
