"""A person's files: their home in the browser, by WebDAV and by links. The bytes go between person and box."""
