"""Terminals: shells in containers that outlive a broken connection, and the browsers that look at them."""
