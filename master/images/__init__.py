"""Images, tags and chunk lists; the token protocol of the depositories."""
