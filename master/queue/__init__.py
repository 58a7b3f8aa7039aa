"""The queue as people see it: who waits, in which place, until when, and why."""
