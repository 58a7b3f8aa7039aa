"""Instances that are ready before anybody asks: how many of what, on which boxes."""
