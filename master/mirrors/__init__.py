"""Images of registries elsewhere that a depository fetches once for the whole site."""
