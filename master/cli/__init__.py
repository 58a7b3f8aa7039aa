"""The master's verbs of the command line."""
