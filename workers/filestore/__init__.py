"""The filestore role: filesets on disk, who may reach them, and their content as a person puts and gets it."""
