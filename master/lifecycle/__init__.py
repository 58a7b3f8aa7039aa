"""The state machine, reports, wish lists and the reconciler."""
