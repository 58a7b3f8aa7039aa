"""People as administrators see them: who there is, approvals, groups."""
