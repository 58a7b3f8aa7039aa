"""Parts of the portal's benchmark."""
