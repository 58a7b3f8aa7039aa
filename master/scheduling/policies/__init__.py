"""Policies, one file each; `master.scheduling.policy` says what one is."""
