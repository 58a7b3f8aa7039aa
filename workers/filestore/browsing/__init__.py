"""A person's home over HTTP, for a file page, programs and WebDAV; in a sandbox, as the fileset's own uid."""

# In a home's file system: the person's files, and beside them what is on its way in or out.
DATA, ASIDE = "data", "aside"
