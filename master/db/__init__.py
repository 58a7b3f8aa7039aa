"""SQL: where wishes live. Models stand with their subjects; `master.db.models` gathers them."""
