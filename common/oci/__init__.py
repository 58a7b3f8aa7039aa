"""OCI content: digests, the content store on disk, chunk lists, manifests, archives. No network, no table."""
