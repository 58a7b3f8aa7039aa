"""People: sign-in, sessions, API tokens."""
