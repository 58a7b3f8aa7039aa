"""Who changed what: an append-only record of every change."""
