"""Starting everything: openraas up."""
