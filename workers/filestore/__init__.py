"""The filestore role: holds filesets and exports them to instances' keys."""
