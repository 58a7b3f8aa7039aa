"""Boxes as the master knows them: joining, listing, status."""
