"""Filesets and homes: who may use them and where they lie."""
