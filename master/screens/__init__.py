"""Screens that run now, small: one's own, or for operators everybody's."""
