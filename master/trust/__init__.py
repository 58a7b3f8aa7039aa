"""Whom the parts of an installation trust: its authorities, and who is shut out."""
