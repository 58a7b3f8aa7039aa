"""A fleet of real boxes on one machine, in network namespaces."""
