"""Layers: who holds what, what is pinned, what is to go."""
