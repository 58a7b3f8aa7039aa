"""Applications and their manifests."""
