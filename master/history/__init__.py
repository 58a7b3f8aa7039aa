"""What starts were expected to take, what they took, and what the scheduler learns from it."""
